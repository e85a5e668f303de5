"""How forces on a posed body's points change as its joints turn: the second derivative that Gauss-Newton leaves out.

With a force F on every point (the slope of a cost by the point's place), turning joint a and then joint b below it by
small rotations w_a, w_b in world axes moves a point by w_a x (w_b x d), d from b's place to the point. Summed over the
points below b that costs

    F . (w_a x (w_b x d)) = w_a' (d F' - (F . d) I) w_b

so one 3 x 3 moment for each joint has all of it. Checked against automatic differentiation in float64. What pose
correctives and coefficients add is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.contour import final_points
from fitting.bodies.jacobian import Pose
from fitting.bodies.levers import subtree
from fitting.bodies.skinning import joint_of_entries

if TYPE_CHECKING:
    from fitting.bodies.body import SkinnedBody


class Part(NamedTuple):
    """Some joints that turn: three unknowns each, or a vector that all of them are decoded from."""

    joints: list[int]
    steps: Float[Tensor, "batch joints*3 size"] | None  # how they turn when the vector grows

    @property
    def size(self) -> int:
        return 3 * len(self.joints) if self.steps is None else self.steps.shape[-1]


def turn_bends(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"], parts: Sequence[Part]
) -> Float[Tensor, "batch steps steps"]:
    """d2 (sum of force . point) / d step d step of the parts end to end, R <- exp(d) R from the left. The curve of what
    decodes a vector is left out."""
    left, right = sides(body, pose, forces)
    order = hanging(body.skeleton.parents).to(forces)
    ends = list(accumulate(part.size for part in parts))
    places = [slice(end - part.size, end) for end, part in zip(ends, parts, strict=True)]
    found = forces.new_zeros(len(forces), ends[-1], ends[-1])
    for upper, row in zip(parts, places, strict=True):
        for lower, column in zip(parts, places, strict=True):
            below = order[upper.joints][:, lower.joints]
            if below.any():
                rows, columns = left[:, upper.joints].flatten(1, 2), right[:, :, lower.joints].flatten(2)
                half = (rows @ columns) * below.repeat_interleave(3, dim=0).repeat_interleave(3, dim=1)
                half = half if lower.steps is None else half @ lower.steps
                half = half if upper.steps is None else upper.steps.mT @ half
                found[:, row, column] += half
                found[:, column, row] += half.mT
    return found


def sides(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"]
) -> tuple[Float[Tensor, "batch joints 3 3"], Float[Tensor, "batch 3 joints 3"]]:
    """w_a' and M_b w_b for the axes that each joint turns about, M_b the moment of what hangs on b."""
    above = list(body.skeleton.parents)  # -1, the last, stands for none
    axes = pose.turns[:, above]
    return axes.mT.contiguous(), (joint_moments(body, pose, forces) @ axes).transpose(1, 2).contiguous()


@cache
def hanging(parents: tuple[int, ...]) -> Float[Tensor, "joints joints"]:
    """1 where a joint hangs on another, half for itself: the other half comes from the transpose."""
    return subtree(parents) - 0.5 * torch.eye(len(parents))


def joint_moments(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch joints 3 3"]:
    """d F' - (F . d) I, summed over what hangs on each joint."""
    F = forces[:, final_points(body.contour, body.skin.points)[body.skin.entry_point]]
    arms = (pose.entries[..., None] * F[..., None, :]).flatten(2)
    every = torch.cat([arms, pose.masses[..., None] * F], dim=2)
    joints = len(body.skeleton.parents)
    sums = every.new_zeros(len(every), joints, 12).index_add_(1, joint_of_entries(body.skin), every)
    below = subtree(body.skeleton.parents).to(forces) @ sums
    found = below[..., :9].unflatten(2, (3, 3)) - pose.places[..., None] * below[..., None, 9:]
    trace = found.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return found - trace[..., None, None] * torch.eye(3).to(forces)
