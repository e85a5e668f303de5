"""From one layout to another by the names of the points, neck and mid-hip made up where they are missing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.types import Layout

# Made-up points and what they are in the middle of: OpenPose's own definition of them.
_PARENTS = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}


def to_layout(
    points: Float[np.ndarray, "*batch points 3"], layout: Layout, target: Layout
) -> Float[np.ndarray, "*batch target 3"]:
    """(x, y, confidence) of `target`'s points; confidence 0 for those that `layout` has not.

    Neck and mid-hip are the means of shoulders and hips where `layout` lacks them. They are as sure as the less sure
    of the two, and nothing where one of them is not there.
    """
    place = {name: k for k, name in enumerate(layout.point_names)}
    out = np.zeros((*points.shape[:-2], len(target), 3))
    for k, name in enumerate(target.point_names):
        if name in place:
            out[..., k, :] = points[..., place[name], :]
        elif name in _PARENTS:
            a, b = (points[..., place[parent], :] for parent in _PARENTS[name])
            out[..., k, :2] = (a[..., :2] + b[..., :2]) / 2
            out[..., k, 2] = np.minimum(a[..., 2], b[..., 2])
    return out
