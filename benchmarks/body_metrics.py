"""How far a fitted skeleton is from the true one, in millimetres, as the literature measures it.

MPJPE: mean distance of joints after both roots are laid on each other. PA-MPJPE: after the similarity (rotation, scale,
translation) that lays the fit best on the truth, frame by frame. C. Ionescu et al., Human3.6M, 2014, sec. 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Accuracy:
    """Millimetres; percentiles over joints of all frames."""

    mpjpe: float
    mpjpe_p90: float
    pa_mpjpe: float
    pa_mpjpe_p90: float
    pa_frame_p90: float  # 90th percentile over frames of a frame's mean


def measure(
    fitted: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"], root: int = 0
) -> Accuracy:
    """Both in metres, joints in the same order."""
    rooted = joint_errors(fitted - fitted[:, root, None], truth - truth[:, root, None])
    aligned = joint_errors(align(fitted, truth), truth)
    return Accuracy(
        mpjpe=float(rooted.mean()),
        mpjpe_p90=float(np.percentile(rooted, 90)),
        pa_mpjpe=float(aligned.mean()),
        pa_mpjpe_p90=float(np.percentile(aligned, 90)),
        pa_frame_p90=float(np.percentile(aligned.mean(axis=1), 90)),
    )


def joint_errors(
    fitted: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames joints"]:
    """Millimetres."""
    return 1000 * np.linalg.norm(fitted - truth, axis=-1)


def align(
    fitted: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames joints 3"]:
    """The fit after the similarity that brings it nearest to the truth: S. Umeyama, PAMI 13(4), 1991, eq. 40-42."""
    centre, goal = fitted.mean(axis=1, keepdims=True), truth.mean(axis=1, keepdims=True)
    a, b = fitted - centre, truth - goal
    u, spread, vt = np.linalg.svd(b.transpose(0, 2, 1) @ a)
    sign = np.ones_like(spread)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    R = u * sign[:, None] @ vt
    scale = (spread * sign).sum(axis=1) / (a**2).sum(axis=(1, 2))
    return scale[:, None, None] * (a @ R.transpose(0, 2, 1)) + goal
