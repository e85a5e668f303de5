"""Steps of a clip that keep every frame's keypoints on course.

Where frames share a shape, the shape, every frame's rotation and every frame's place may change together at almost no
cost: a long and narrow valley. A straight step leaves it by the second order of turns times shape, metres on the lever
between a head's root and its face. What that does to a frame is mostly a rigid motion, and that is undone exactly: the
frame is turned and moved until its keypoints lie, as well as they can, where the first order sees them. It is the same
step to first order.
"""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.problem import Problem, width

SPAN = 0.05  # of the step: central differences that say where keypoints are heading
LEAST_WEIGHT = 1e-6  # of an unseen keypoint
ROUND = 1e-9  # square metres that keep a frame's moments from being singular: a line of points turns about itself


class Places(NamedTuple):
    """Where a frame's keypoints are, and where the body's root is that it turns about; world, metres."""

    points: Float[Tensor, "problems frames points 3"]
    root: Float[Tensor, "problems frames 3"]


def steer(
    problem: Problem, start: Float[Tensor, "problems unknowns"], end: Float[Tensor, "problems unknowns"]
) -> Float[Tensor, "problems unknowns"]:
    """`end` with every frame's rotation and place such that its keypoints lie where the first order at `start` expects
    them; `end` itself where those two are not free.

    By least squares weighted by confidence; of the rotation one Gauss-Newton step (it is small). In float64.
    """
    start, end = start.double(), end.double()
    if not {"global_orient", "transl"} <= problem.local.keys():
        return end
    steered = end.clone()
    for window in problem.windows():
        columns = problem.columns(window)
        part = problem.during(window)
        steered[:, columns] = steer_window(part, start[:, columns], end[:, columns])
    return steered


def steer_window(problem: Problem, start: Tensor, end: Tensor) -> Tensor:
    """`steer` with all frames in memory at once."""
    border = problem.frames * width(problem.local)
    own = end[:, :border].unflatten(1, (problem.frames, width(problem.local))).clone()
    turned, moved = (own[..., problem.local[name]] for name in ("global_orient", "transl"))
    units = {block.name: block.unit for block in problem.free}
    goal, now = heading(problem, start, end), places(problem, end)
    weight = problem.evidence.confidence.to(goal)[..., None].clamp(min=LEAST_WEIGHT)
    weight = weight / weight.sum(dim=2, keepdim=True)
    centre, aim = ((weight * points).sum(dim=2, keepdim=True) for points in (now.points, goal))
    turn = roma.rotvec_to_rotmat(smallest_turn(now.points - centre, goal - aim, weight))
    before = roma.rotvec_to_rotmat(turned * units["global_orient"])
    turned.copy_(roma.rotmat_to_rotvec(turn @ before) / units["global_orient"])
    root = now.root[:, :, None]
    landed = (turn @ (centre - root).mT).mT + root
    moved.add_((aim - landed)[:, :, 0] / units["transl"])
    return torch.cat([own.flatten(1), end[:, border:]], dim=1)


def heading(problem: Problem, start: Tensor, end: Tensor) -> Float[Tensor, "problems frames points 3"]:
    """Where the first order at `start` sees the keypoints at `end`."""
    ahead = SPAN * (end - start)
    there, back = (places(problem, start + side * ahead).points for side in (1, -1))
    return (there + back) / 2 + (there - back) / (2 * SPAN)


def places(problem: Problem, x: Tensor) -> Places:
    parameters = problem.body.full(problem.retract(x))
    posed = problem.body.pose(parameters)
    return Places(problem.points(posed, parameters).double(), posed.joints[:, :, 0].double())


def smallest_turn(
    points: Float[Tensor, "*batch points 3"], goal: Float[Tensor, "*batch points 3"], weight: Tensor
) -> Float[Tensor, "*batch 3"]:
    """w that minimises the weighted squares of points + w x points - goal, both about their centres."""
    eye = torch.eye(3).to(points)
    squares = (points.square().sum(dim=-1, keepdim=True) * weight).sum(dim=-2)[..., None]
    moments = squares * eye - (points * weight).mT @ points
    torque = (weight * torch.linalg.cross(points, goal)).sum(dim=-2)
    return torch.linalg.solve(moments + ROUND * eye, torque)
