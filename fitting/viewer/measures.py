"""What a report tells of a person: where frames come from and why, jitter, costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from fitting.viewer.folder import Person

Value = TypeVar("Value")


@dataclass(frozen=True)
class Stretch:
    """Frames `first` to `last` that were not fitted: where their rows come from, and why."""

    first: int
    last: int
    source: str
    why: str


def stretches(person: Person) -> list[Stretch]:
    """Runs of frames that have no fit of their own, in order."""
    sources = person.words("source")
    reasons = [None if source == "fitted" else (source, why_not(person, k)) for k, source in enumerate(sources)]
    return [Stretch(a, b, reason[0], reason[1]) for a, b, reason in runs(reasons) if reason is not None]


def why_not(person: Person, k: int) -> str:
    if k < len(person.rows) and person.rows[k].get("suspicious"):
        return "its landmarks are probably not this person's"
    confidence = person.arrays.get("confidence")
    if confidence is not None and not (confidence[k] > 0).any():
        return "no landmarks: nobody was detected"
    return "too few landmarks, or too unsure"


def runs(values: Sequence[Value]) -> Iterator[tuple[int, int, Value]]:
    """(first, last, value) of equal neighbours."""
    start = 0
    for k in range(1, len(values) + 1):
        if k == len(values) or values[k] != values[start]:
            yield start, k - 1, values[start]
            start = k


def jitter_px(points: Float[np.ndarray, "frames points 2"]) -> Float[np.ndarray, " frames"]:
    """Root mean square of second differences over the points, pixels; NaN at the ends and where a point is missing."""
    found = np.full(len(points), np.nan)
    if len(points) >= 3:
        second = points[2:] - 2 * points[1:-1] + points[:-2]
        square = (second**2).sum(axis=-1)
        known = np.isfinite(square)
        total = np.where(known, square, 0).sum(axis=1)
        found[1:-1] = np.where(known.any(axis=1), np.sqrt(total / np.maximum(known.sum(axis=1), 1)), np.nan)
    return found


def measured_points(person: Person) -> Float[np.ndarray, "frames points 2"]:
    """NaN where the point was not seen, or the body has no place for it."""
    points = np.array(person.arrays["keypoints"], dtype=np.float64)
    used = np.isfinite(person.arrays["projected"]).all(axis=-1)
    points[~((person.arrays["confidence"] > 0) & used)] = np.nan
    return points


def costs(person: Person) -> dict[str, tuple[float, float]]:
    """Term -> (at the start, at the end), summed over the frames that were fitted; largest start first."""
    totals: dict[str, list[float]] = {}
    for row in person.rows:
        for place, key in enumerate(("cost_start", "cost_end")):
            for term, value in (row.get(key) or {}).items():
                totals.setdefault(term, [0.0, 0.0])[place] += value or 0.0
    ranked = sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))
    return {term: (start, end) for term, (start, end) in ranked}


def worst_frames(person: Person, count: int) -> list[int]:
    """Frames by falling error; those that are not fitted have none."""
    error = np.asarray(person.arrays["error_percent"], dtype=np.float64)
    order = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")
    return [int(k) for k in order[:count] if np.isfinite(error[k])]
