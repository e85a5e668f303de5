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

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from fitting.bodies.jacobian import Pose
from fitting.bodies.levers import subtree
from fitting.compiled import takes

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
    """d2 (sum of force . point) / d step d step of the parts end to end, R <- exp(d) R from the left: its lower
    triangle. The curve of what decodes a vector is left out."""
    if takes(len(forces), forces.device):
        return compiled_bends(body, pose, forces, parts)
    left, right = sides(body, pose, forces)
    order = hanging(body.skeleton.parents).to(forces)
    ends = list(accumulate(part.size for part in parts))
    places = [slice(end - part.size, end) for end, part in zip(ends, parts, strict=True)]
    found = forces.new_zeros(len(forces), ends[-1], ends[-1])
    for upper, row in zip(parts, places, strict=True):
        for lower, column in zip(parts, places, strict=True):
            below = order[upper.joints][:, lower.joints]
            if not below.any():
                continue
            rows, columns = left[:, upper.joints].flatten(1, 2), right[:, :, lower.joints].flatten(2)
            if lower.steps is not None and upper is not lower and (below == below[:, :1]).all():
                columns, below = columns @ lower.steps, below[:, :1]  # all of it hangs on the same: it is a limb
                lower = Part(lower.joints, None)
            mask = below.repeat_interleave(3, dim=0)
            mask = mask if below.shape[1] == 1 else mask.repeat_interleave(3, dim=1)
            if row == column:
                found[:, row, column] = both_halves(upper, (columns.mT @ rows.mT).mul_(mask.mT))
            elif row.start < column.start:
                found[:, column, row] += chain(lower, (columns.mT @ rows.mT).mul_(mask.mT), upper)
            else:
                found[:, row, column] += chain(upper, (rows @ columns).mul_(mask), lower)
    return found


def compiled_bends(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"], parts: Sequence[Part]
) -> Float[Tensor, "batch steps steps"]:
    """`turn_bends` by compiled code."""
    from fitting.bodies.kernel_bends import add_bends

    part, number = (np.full(len(body.skeleton.parents), -1) for _ in range(2))
    for k, one in enumerate(parts):
        part[one.joints], number[one.joints] = k, np.arange(len(one.joints))
    steps = stacked([one.steps for one in parts if one.steps is not None], forces)
    size, rows = np.array([(one.size, 0 if one.steps is None else one.steps.shape[1]) for one in parts]).T.copy()
    found = forces.new_zeros(len(forces), size.sum(), size.sum())
    pulled = (pose.entries, pose.masses, forces, body.reach.point, body.reach.joint)
    arrays = [t.contiguous().numpy() for t in (*pulled, pose.rotations, pose.places)]
    row = np.where(rows > 0, rows.cumsum() - rows, -1)
    plan = (np.array(body.skeleton.parents), part, number, size.cumsum() - size, size)
    add_bends(*arrays, *plan, steps.numpy(), row, found.numpy())
    return found


def stacked(steps: Sequence[Float[Tensor, "batch _ _"]], like: Tensor) -> Float[Tensor, "batch rows most"]:
    """Steps of several vectors one below the other, as wide as the longest of these; no rows where there are none."""
    most = max((some.shape[2] for some in steps), default=0)
    nothing = like.new_zeros(len(like), 0, most)
    return torch.cat([nothing, *(pad(some, (0, most - some.shape[2])) for some in steps)], dim=1)


def both_halves(part: Part, half: Float[Tensor, "batch steps steps"]) -> Float[Tensor, "batch size size"]:
    """A part's own bend from that of joints (rows) that hang on joints (columns), half of what each is to itself."""
    if part.steps is not None:
        half = chain(part, half, part)
        return half + half.mT
    if part.joints != sorted(part.joints):
        return half + half.mT
    # Parents stand before children: all else of the transpose lies above the diagonal, where nobody looks.
    own = half.unflatten(2, (-1, 3)).unflatten(1, (-1, 3)).diagonal(dim1=1, dim2=3)  # batch, 3, 3, joints
    own.copy_(own + own.transpose(1, 2))
    return half


def chain(left: Part, half: Float[Tensor, "batch _ _"], right: Part) -> Float[Tensor, "batch _ _"]:
    """By turns of joints as by what they are decoded from."""
    half = half if right.steps is None else half @ right.steps
    return half if left.steps is None else left.steps.mT @ half


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
    """d F' - (F . d) I, summed over what hangs on each joint. Axes stand first: products of threes are slow where they
    are what lies side by side."""
    F = forces.permute(2, 0, 1).index_select(2, body.reach.point)  # 3, batch, entries
    every = F.new_empty(4, *F.shape)
    torch.mul(pose.entries.permute(2, 0, 1)[:, None], F, out=every[:3])
    torch.mul(pose.masses, F, out=every[3])
    below = subtree(body.skeleton.parents).to(forces)[:, body.reach.joint]
    sums = every @ below.mT  # 4, 3, batch, joints
    found = sums[:3] - pose.places.permute(2, 0, 1)[:, None] * sums[3]
    trace = found[0, 0] + found[1, 1] + found[2, 2]
    for axis in range(3):
        found[axis, axis] -= trace
    return found.permute(2, 3, 0, 1).contiguous()
