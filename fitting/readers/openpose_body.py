"""Which of OpenPose's bodies a file has: by the number of points, and by where they lie where 25 may mean two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.layouts import BODY25, BODY25B, COCO18, COCO19
from fitting.types import InputError, Layout

_BY_COUNT = {18: COCO18, 19: COCO19, 25: BODY25}


def body_layout_of(path: Path, bodies: Sequence[Float[np.ndarray, "points 3"]]) -> Layout:
    """One layout for all; OpenPose's own default, BODY_25, where nobody has a body.

    Raises InputError for a count that is none of OpenPose's, or for several in one input.
    """
    counts = sorted({len(body) for body in bodies if len(body)})
    if len(counts) > 1:
        raise InputError(f"{path}: people of {' and of '.join(map(str, counts))} body points in one input: one model")
    if not counts:
        return BODY25
    if counts[0] not in _BY_COUNT:
        raise InputError(
            f"{path}: expected 25, 19 or 18 body points, found {counts[0]}: run OpenPose with --model_pose BODY_25"
        )
    if counts[0] != 25:
        return _BY_COUNT[counts[0]]
    return BODY25B if is_25b(np.stack([body for body in bodies if len(body)])) else BODY25


def is_25b(bodies: Float[np.ndarray, "people 25 3"]) -> bool:
    """Whether bodies of 25 points are BODY_25B's, which has the left side first and no neck.

    Both readings say that some point lies in the middle of others: BODY_25's neck and mid-hip between shoulders and
    hips, BODY_25B's nose between the eyes and between the ears. The reading whose middles are nearer is right;
    everybody in the input has a vote, in longer sides of the person.
    """
    as_25 = _middles(bodies, ((1, 2, 5), (8, 9, 12)))
    as_25b = _middles(bodies, ((0, 1, 2), (0, 3, 4), (17, 5, 6)))
    both = np.isfinite(as_25) & np.isfinite(as_25b)
    if both.any():
        return bool(np.median(as_25[both] - as_25b[both]) > 0)
    return bool(np.isfinite(as_25b).any() and not np.isfinite(as_25).any())


def _middles(
    bodies: Float[np.ndarray, "people 25 3"], triplets: tuple[tuple[int, int, int], ...]
) -> Float[np.ndarray, " people"]:
    """Mean distance of each first point from the middle of the other two; NaN where no triplet was seen."""
    points = np.where(bodies[..., 2:] > 0, bodies[..., :2], np.nan)
    with np.errstate(invalid="ignore"):
        low, high = (f(np.nan_to_num(points, nan=n), axis=1) for f, n in ((np.min, np.inf), (np.max, -np.inf)))
    size = np.maximum((high - low).max(axis=1), 1e-9)
    apart = [np.linalg.norm(points[:, a] - (points[:, b] + points[:, c]) / 2, axis=-1) for a, b, c in triplets]
    known = np.isfinite(apart)
    total = np.where(known, apart, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1) / size, np.nan)
