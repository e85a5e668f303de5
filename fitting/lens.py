"""What covariances of unknowns mean in the picture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import unit_vector
from fitting.pixels import differentiate_pixels
from fitting.problem import Problem


def pixel_variance(
    part: Problem, own: Tensor, cross: Tensor, shared: Tensor
) -> Float[Tensor, "problems frames points"]:
    """Of the body's own keypoints, pixels^2, mean over u and v. `part` is some frames of a problem; covariances in
    natural steps: own (problems, frames, n, n), cross (problems, frames, n, m), shared (problems, m, m). The detector's
    landmark offsets move no keypoint of the body."""
    columns = differentiate_pixels(part, part.scene(part.base)).whole()
    units = torch.cat([unit_vector(part, part.local), unit_vector(part, part.shared)])
    J = columns * units[: columns.shape[-1]]
    k = columns.shape[-1] - own.shape[-1]
    side, common = cross[..., :k], shared[:, None, :k, :k].expand(-1, part.frames, -1, -1)
    whole = torch.cat([torch.cat([own, side], dim=3), torch.cat([side.mT, common], dim=3)], dim=2)
    return ((J.flatten(2, 3) @ whole).view_as(J) * J).sum(dim=-1).mean(dim=-1)
