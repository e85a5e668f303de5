"""The camera of a regressor that saw a square crop, in the full image: weak perspective, DECA's convention.

In the crop's -1..1, x to the right and y up, a point (X, Y, Z) of the model lies at s (X + tx), s (Y + ty). The crop
has 224 pixels; its corners 0 and 223 are the corners of the square in the full image, so k = 223 / side, and

    u = cx - side / 2 + 112 (1 + s (X + tx)) / k,    v = cy - side / 2 + 112 (1 - s (Y + ty)) / k.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.types import InputError

CROP = 224


def crop_to_weak(
    camera: Float[np.ndarray, "*batch 3"], crop: Float[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """[s, tx, ty] and the square's [middle x, middle y, side] -> [pixels per metre, pixel x, y of the origin]."""
    s, tx, ty = np.moveaxis(camera, -1, 0)
    cx, cy, side = np.moveaxis(crop, -1, 0)
    half = CROP / 2 * side / (CROP - 1)
    sigma = s * half
    return np.stack([sigma, cx - side / 2 + half + sigma * tx, cy - side / 2 + half - sigma * ty], axis=-1)


def weak_to_crop(
    weak: Float[np.ndarray, "*batch 3"], crop: Float[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """The inverse of `crop_to_weak`."""
    sigma, u, v = np.moveaxis(weak, -1, 0)
    cx, cy, side = np.moveaxis(crop, -1, 0)
    half = CROP / 2 * side / (CROP - 1)
    tx, ty = (u - (cx - side / 2 + half)) / sigma, -(v - (cy - side / 2 + half)) / sigma
    return np.stack([sigma / half, tx, ty], axis=-1)


def tform_to_crop(tform: np.ndarray, path: Path) -> Float[np.ndarray, " 3"]:
    """DECA's `tform` (3, 3), full image -> crop pixels, or its transposed inverse, as the demo keeps it."""
    matrix = np.asarray(tform, dtype=np.float64).reshape(-1, 3, 3)[0]
    if np.abs(matrix[2, :2]).max() > 1e-6:  # the shift stands in the last row: transposed
        matrix = np.linalg.inv(matrix.T)
    scale = matrix[0, 0]
    if scale <= 0 or abs(matrix[0, 1]) > 1e-3 * scale or abs(matrix[1, 1] - scale) > 1e-3 * scale:
        raise InputError(f"{path}: tform is no upright square crop: {matrix.round(4).tolist()}")
    side = (CROP - 1) / scale
    return np.array([-matrix[0, 2] / scale + side / 2, -matrix[1, 2] / scale + side / 2, side])
