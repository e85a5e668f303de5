"""Keyfit's own params.npz from any codes: what a fit starts from, and what every other format can be made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.camera import WORLD_FROM_CAMERA
from fitting.exports.target import Export, Target
from fitting.track import Track
from fitting.writers.facts import CONVENTIONS, person_name, versions
from fitting.writers.npz import write_npz

FORMAT = "keyfit-params 1"
PLACE = ("transl", "global_orient")  # which here are a camera's


def write(track: Track, target: Target) -> list[Path]:
    """Blocks, camera and what the rows are worth; no keypoints, since nothing was fitted. Raises OutputError."""
    known = {n: rows for n, rows in track.values.items() if track.has_camera or n not in PLACE}
    arrays = {name: np.asarray(rows, dtype=np.float32) for name, rows in known.items()}
    arrays |= {
        "names": np.array(track.names),
        "valid": track.valid,
        "source": np.array(track.source),
        "world_from_camera": WORLD_FROM_CAMERA,
        "fps": np.array(np.nan if track.fps is None else track.fps),
        "model": np.array(track.codes.model),
        "model_sha256": np.array("" if target.body is None else target.body.sha256),
        "person": np.array(track.person),
        "conventions": np.array(CONVENTIONS),
        "versions": np.array(versions()),
        "format": np.array(FORMAT),
    }
    if track.codes.K is not None:
        arrays["K"] = np.asarray(track.codes.K, dtype=np.float64)
    if track.image_sizes is not None:
        arrays["image_sizes"] = np.asarray(track.image_sizes, dtype=np.int64)
    return [write_npz(target.folder / person_name("params.npz", track.person), arrays)]


EXPORT = Export(write, names_persons=True)
