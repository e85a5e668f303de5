"""How much a clip's landmarks tremble: what a detector adds in every frame anew, told from motion by its shape in time.

The fourth difference of white noise of variance s^2 has variance (1 + 16 + 36 + 16 + 1) s^2 = 70 s^2, while a motion
that lasts some frames is smooth in it. Frames with events (a blink, a plosive) are left out by taking a low quantile
over
frames; within a frame the median over landmarks does the same for single ones that jump.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.terms.base import Evidence

GAIN = 70.0
CALM = 0.25  # quantile over frames: the calm quarter
# The median of |v|^2 of a plane normal vector is 2 ln 2 times the variance of a coordinate.
MEDIAN_OF_SQUARE = 2 * 0.6931471805599453


def landmark_noise(evidence: Evidence) -> Float[Tensor, " problems"]:
    """Standard deviation of a landmark's coordinate, share of the subject's size; NaN where a problem has not five seen
    frames in a row."""
    size, frames = evidence.subject_px, evidence.seen.shape[1]
    noise = torch.full_like(size[:, 0], torch.nan)
    if frames < 5:
        return noise
    known = evidence.confidence > 0
    all_five = known[:, :-4] & known[:, 1:-3] & known[:, 2:-2] & known[:, 3:-1] & known[:, 4:]
    links = evidence.linked
    together = links[:, :-3] & links[:, 1:-2] & links[:, 2:-1] & links[:, 3:]
    x = evidence.keypoints / size[..., None, None]
    fourth = x[:, :-4] - 4 * x[:, 1:-3] + 6 * x[:, 2:-2] - 4 * x[:, 3:-1] + x[:, 4:]
    squared = fourth.square().sum(dim=-1).masked_fill(~(all_five & together[..., None]), torch.nan)
    in_frame = squared.nanmedian(dim=-1).values  # problems, frames - 4
    for k, values in enumerate(in_frame):
        values = values[torch.isfinite(values)]
        if len(values):
            noise[k] = (values.quantile(CALM) / (GAIN * MEDIAN_OF_SQUARE)).sqrt()
    return noise
