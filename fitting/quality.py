"""Which frames of a result not to trust, from the result alone."""

from __future__ import annotations

import numpy as np

from fitting.types import Solution

FACTOR = 3.0  # times the clip's median error
SHORT = 3  # frames: a scene is longer, a detection that strays and comes back is not


def suspicious(solution: Solution) -> tuple[int, ...]:
    """Frames of a clip whose landmarks are probably not this person's: no head of this shape explains them as well as
    the others, or they jump away and are back within three frames. Empty for photos: nothing to compare with."""
    if not solution.observations.is_clip or not solution.valid.any():
        return ()
    known = np.where(solution.valid, solution.error_percent, np.nan)
    unexplained = np.flatnonzero(known > FACTOR * np.nanmedian(known))
    return tuple(sorted({*unexplained.tolist(), *strays(solution)}))


def strays(solution: Solution) -> list[int]:
    """Frames of short scenes: between two cuts, or between a cut and either end of the clip."""
    edges = [0, *solution.cuts, len(solution)]
    scenes = [range(first, last) for first, last in zip(edges, edges[1:], strict=False)]
    if len(scenes) == 1:
        return []
    return [k for scene in scenes if len(scene) <= SHORT for k in scene if solution.valid[k]]
