"""Which frames of a result not to trust, from the result alone."""

from __future__ import annotations

import numpy as np

from fitting.types import Solution

FACTOR = 3.0  # times the clip's median error
SHORT = 3  # frames: a scene is longer, a detection that strays and comes back is not
AROUND = 7  # frames before and after, among which a stray one stands apart
AWAY = 0.5  # of the subject's size


def suspicious(solution: Solution) -> tuple[int, ...]:
    """Frames of a clip whose landmarks are probably not this person's: no head of this shape explains them as well as
    the others, or they jump away and are back within three frames. Empty for photos: nothing to compare with."""
    if not solution.observations.is_clip or not solution.valid.any():
        return ()
    known = np.where(solution.valid, solution.error_percent, np.nan)
    unexplained = np.flatnonzero(known > FACTOR * np.nanmedian(known))
    return tuple(sorted({*unexplained.tolist(), *strays(solution)}))


def strays(solution: Solution) -> list[int]:
    """Frames of short scenes, between cuts, that are somewhere else than most frames around them."""
    edges = [0, *solution.cuts, len(solution)]
    short = [k for a, b in zip(edges, edges[1:], strict=False) if b - a <= SHORT for k in range(a, b)]
    short = [k for k in short if solution.valid[k]]
    if len(edges) == 2 or not short:
        return []
    seen = solution.observations.confidence > 0
    weights = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    centre = np.einsum("fp,fpd->fd", weights, np.where(seen[..., None], solution.observations.keypoints, 0.0))
    found = []
    for k in short:
        around = np.arange(max(k - AROUND, 0), min(k + AROUND + 1, len(solution)))
        usual = np.median(centre[around[solution.valid[around]]], axis=0)
        size = 100 * solution.error_px[k] / solution.error_percent[k]
        if np.linalg.norm(centre[k] - usual) > AWAY * size:
            found.append(k)
    return found
