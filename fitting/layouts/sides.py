"""Left for right: what a detector saw if it took a person seen from behind for one seen from the front.

MediaPipe does so for runs of frames, the whole body at once; no robust kernel sees through it, so the fit tries both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from fitting.types import Layout, Observations


def other_side(layout: Layout) -> Int[np.ndarray, " points"]:
    """Index of every point's twin on the other side; its own in the middle."""
    twins = np.arange(len(layout))
    for left, right in layout.pairs:
        twins[left], twins[right] = right, left
    return twins


def swapped(observations: Observations, frames: Bool[np.ndarray, " frames"] | None = None) -> Observations:
    """With left and right keypoints exchanged in `frames`, by default in all; pictures and everything else as it is."""
    twins = other_side(observations.layout)
    chosen = np.ones(len(observations), dtype=bool) if frames is None else frames
    return replace(
        observations,
        keypoints=np.where(chosen[:, None, None], observations.keypoints[:, twins], observations.keypoints),
        confidence=np.where(chosen[:, None], observations.confidence[:, twins], observations.confidence),
    )
