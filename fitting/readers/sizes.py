"""Sizes of pictures that are not there, or that do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.types import InputError


def guessed_size(points: Float[np.ndarray, "*batch 2"]) -> tuple[int, int]:
    """(width, height) of a picture that has all finite points in its middle, and half their extent to spare."""
    kept = points[np.isfinite(points).all(axis=-1)].reshape(-1, 2)
    if not len(kept):
        return 1, 1
    low, high = kept.min(axis=0), kept.max(axis=0)
    width, height = np.ceil(np.maximum(low + high, high + (high - low) / 2)) + 1
    return int(max(width, 1)), int(max(height, 1))


def require_one_size(path: Path, sizes: Int[np.ndarray, "frames 2"]) -> None:
    """Raises InputError where the frames of a clip differ: one camera took them all."""
    other = np.flatnonzero((sizes != sizes[:1]).any(axis=1))
    if len(other):
        first, second = ("x".join(map(str, sizes[k])) for k in (0, other[0]))
        raise InputError(
            f"{path}: the frames of a clip have one size, but frame 0 is {first} and frame {other[0]} {second}: "
            "cut or scale them alike, or say `read.sequence: photos`"
        )
