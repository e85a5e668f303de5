"""Keyfit's own params.npz: one person; the others' files lie beside it under their own names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.options import CodesOptions
from fitting.codes.source import Source
from fitting.track import Track
from fitting.types import Codes, InputError

FORMAT = "params.npz"
# Arrays of params.npz that are not blocks of parameters.
NOT_BLOCKS = {"K", "keypoints", "confidence", "projected", "world_from_camera", "image_sizes", "timestamps"}
FIRST_PERSON = "000"


def accepts(source: Source) -> bool:
    """By its two words, so that a file made by hand will do: docs/formats.md."""
    return source.suffix == ".npz" and {"model", "valid"} <= source.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person, in the order of their names. Raises InputError."""
    path = source.path
    return [track_of(source.content, path), *(track_of(Source(p).content, p) for p in others(path))]


def others(path: Path) -> list[Path]:
    """params_001.npz, params_002.npz, ... beside params.npz."""
    found: list[Path] = []
    while (beside := path.with_name(f"{path.stem}_{len(found) + 1:03d}{path.suffix}")).is_file():
        found.append(beside)
    return found


def track_of(arrays: dict[str, Any], path: Path) -> Track:
    missing = [name for name in ("model", "valid") if name not in arrays]
    if missing:
        raise InputError(f"start {path}: no {missing[0]!r} inside, so it is not a params.npz of Keyfit")
    valid = np.atleast_1d(arrays["valid"]).astype(bool)
    frames = len(valid)
    values = {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if name not in NOT_BLOCKS
        and not name.endswith("_sd")
        and not name.startswith("start_")
        and isinstance(array, np.ndarray)
        and array.ndim == 2
        and array.dtype.kind == "f"
        and len(array) == frames
    }
    K = arrays.get("K")
    if K is not None and K.shape != (frames, 3, 3):
        raise InputError(f"start {path}: K is {K.shape}, expected {(frames, 3, 3)}")
    names = arrays.get("names")
    fps = float(arrays["fps"]) if "fps" in arrays else float("nan")
    return Track(
        Codes(values, str(arrays["model"]), valid, None if K is None else K.astype(np.float64)),
        tuple(map(str, names)) if names is not None else tuple(f"{k:06d}" for k in range(frames)),
        FORMAT,
        person=str(arrays.get("person", FIRST_PERSON)),
        image_sizes=arrays.get("image_sizes"),
        fps=fps if np.isfinite(fps) else None,
        source=tuple(map(str, arrays["source"])) if "source" in arrays else None,
    )
