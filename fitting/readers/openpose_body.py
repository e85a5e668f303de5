"""Which of OpenPose's bodies a file has: by the number of points, and by where they lie where 25 may mean two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.layouts import BODY25, BODY25B, COCO18, COCO19
from fitting.layouts.persons import body_boxes
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

    Read the right way, the points of a head lie close together and those of a foot close to its ankle. Read the other
    way, shoulders or ankles are taken for ears. The reading whose points lie closer is right, in longer sides of the
    person, over everybody and every pair that was seen.
    """
    as_25, as_25b = (_mean_distance(bodies, _close_pairs(layout)) for layout in (BODY25, BODY25B))
    return bool(as_25b < as_25)  # infinite where no pair was seen


def _close_pairs(layout: Layout) -> list[tuple[int, int]]:
    """Points of the head with each other, of each foot with its ankle."""
    place = {name: k for k, name in enumerate(layout.point_names)}
    feet = [
        (place[f"{side}_ankle"], place[f"{side}_{point}"])
        for side in ("left", "right")
        for point in ("big_toe", "small_toe", "heel")
    ]
    return [*combinations(layout.groups["head"], 2), *feet]


def _mean_distance(bodies: Float[np.ndarray, "people 25 3"], pairs: list[tuple[int, int]]) -> float:
    people = bodies[(bodies[..., 2] > 0).any(axis=1)]
    boxes = body_boxes(people)
    size = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0), 1e-9)[:, None]
    a, b = (people[:, list(ends)] for ends in zip(*pairs, strict=True))
    both = (a[..., 2] > 0) & (b[..., 2] > 0)
    apart = np.linalg.norm(a[..., :2] - b[..., :2], axis=-1) / size
    return float(apart[both].mean()) if both.any() else float("inf")
