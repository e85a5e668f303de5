"""How forces on a posed body's points change as its joints turn: the second derivative that Gauss-Newton leaves out.

With a force F on every point (the slope of a cost by the point's place), turning joint a and then joint b below it by
small rotations w_a, w_b in world axes moves a point by w_a x (w_b x d), d from b's place to the point. Summed over the
points below b that costs

    F . (w_a x (w_b x d)) = w_a' (d F' - (F . d) I) w_b

so one 3 x 3 moment for each joint has all of it. Checked against automatic differentiation in float64. What pose
correctives and coefficients add is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.contour import final_points
from fitting.bodies.jacobian import Pose
from fitting.bodies.levers import subtree
from fitting.bodies.skinning import joint_of_entries

if TYPE_CHECKING:
    from fitting.bodies.body import SkinnedBody


def turn_bends(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"], joints: list[int]
) -> Float[Tensor, "batch steps steps"]:
    """d2 (sum of force . point) / d step d step of some joints, three steps each, R <- exp(d) R from the left."""
    moments = joint_moments(body, pose, forces)[:, joints]
    above = [body.skeleton.parents[joint] for joint in joints]
    axes = torch.cat([pose.rotations, torch.eye(3).to(forces).expand(len(forces), 1, 3, 3)], dim=1)[:, above]
    left = axes.transpose(2, 3).flatten(1, 2)  # steps, 3
    right = (moments @ axes).transpose(1, 2).flatten(2)  # 3, steps
    # Half of the diagonal blocks, for the other half comes from the transpose.
    order = subtree(body.skeleton.parents).to(forces)[joints][:, joints] - 0.5 * torch.eye(len(joints)).to(forces)
    half = (left @ right) * order.repeat_interleave(3, dim=0).repeat_interleave(3, dim=1)
    return half + half.mT


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
