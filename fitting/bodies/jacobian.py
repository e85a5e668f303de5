"""Closed-form derivatives of a posed body's points, as seen by a linear functional of each (a pixel's two rows).

    turning joint a by a small rotation d (in its parent's frame) moves a point by  (R_parent d) x v_a,
        v_a = sum over the point's entries below a of  weight * (posed entry - place of a);
    coefficients move it by  sum over joints k of  R_k C_k,  C constant: the rest positions are linear in them and the
        joints' places are sums of rotated differences of rest joints;
    pose correctives are coefficients too, the entries of R - I, which move with  [d]x R.

Points that hang on a joint as a whole are one product with all joints. Of pairs (point, joint that turns a part of it)
3-vectors have the batch as their last axis: the same products took eight times as long as small matrices. Source: SMPL
(Loper et al., 2015) differentiated; checked against automatic differentiation in float64, and against the loop over
joints that this was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from fitting.bodies.levers import Levers, Pairs
from fitting.bodies.skinning import sparse

MANY = 32  # coefficients


@dataclass(frozen=True)
class Pose:
    """What the derivatives need of a posed skeleton and skin (batch = problems * frames), without scale and transl."""

    entries: Float[Tensor, "batch entries 3"]  # weight * posed rest position
    masses: Float[Tensor, "#batch entries"]  # the weights; per frame where entries are picked from a contour's table
    rotations: Float[Tensor, "batch joints 3 3"]  # in the world
    places: Float[Tensor, "batch joints 3"]
    local: Float[Tensor, "batch joints 3 3"]  # each joint's own rotation

    @property
    def turns(self) -> Float[Tensor, "batch turns 3 3"]:
        """`rotations`, and last one that turns nothing: what is above the root."""
        none = torch.eye(3).to(self.rotations).expand(len(self.rotations), 1, 3, 3)
        return torch.cat([self.rotations, none], dim=1)


def turned_rows(
    joint: Int[Tensor, "points slots"],
    functional: Float[Tensor, "batch points rows 3"],
    rotations: Float[Tensor, "batch joints 3 3"],
) -> Float[Tensor, "points lever rows batch"]:
    """The functional in the axes of every joint that carries a part of its point."""
    batch, points, rows, _ = functional.shape
    turns = with_identity(rotations)
    along = functional.permute(1, 3, 2, 0).contiguous()  # points, 3, rows, batch
    turned = functional.new_empty(points, joint.shape[1], 3, rows, batch)
    for slot in range(joint.shape[1]):
        R = turns[joint[:, slot]][:, :, :, None]  # points, 3, 3, 1, batch
        part = turned[:, slot]
        torch.mul(along[:, 0, None], R[:, 0], out=part)
        part.addcmul_(along[:, 1, None], R[:, 1]).addcmul_(along[:, 2, None], R[:, 2])
    return turned.flatten(1, 2)


def coefficient_rows(
    levers: Levers,
    columns: slice,
    turned: Float[Tensor, "points lever rows batch"],
    pick: Float[Tensor, "batch table"] | None,
) -> Float[Tensor, "batch points rows columns"]:
    """d (functional . point) / d coefficient, for some columns of the basis; `pick`: how much of each row of its table
    a contour takes."""
    points, _, rows, batch = turned.shape
    fixed, constant = len(levers.fixed), levers.fixed[:, :, columns]
    if constant.shape[2] < MANY:
        # Few coefficients first: with as few columns the same products take four times as long.
        found = turned.new_empty(points, constant.shape[2], rows * batch)
        torch.bmm(constant.mT.contiguous(), turned[:fixed].flatten(2), out=found[:fixed])
        found = found.unflatten(2, (rows, batch)).permute(0, 2, 3, 1)
    else:
        found = turned.new_empty(points, rows * batch, constant.shape[2])
        torch.bmm(turned[:fixed].flatten(2).mT, constant, out=found[:fixed])
        found = found.unflatten(1, (rows, batch))
    if pick is not None:
        slide(found[fixed:], levers.sliding[..., columns], turned[fixed:], pick)
    return found.permute(2, 0, 1, 3)


def slide(
    found: Float[Tensor, "sliding rows batch columns"],
    constant: Float[Tensor, "sliding table lever columns"],
    turned: Float[Tensor, "sliding lever rows batch"],
    pick: Float[Tensor, "batch table"],
) -> None:
    """Fills in a contour's points: frames that look at the same two rows of the table together."""
    lower = (pick > 0).to(torch.uint8).argmax(dim=1)
    for row in torch.unique(lower).tolist():
        frames, table = (lower == row).nonzero()[:, 0], slice(row, row + 2)
        weighted = (
            turned[..., frames][:, None] * pick[frames, table].mT[:, None, None]
        )  # sliding, 2, lever, rows, frames
        some = torch.bmm(weighted.flatten(3).flatten(1, 2).mT, constant[:, table].flatten(1, 2))
        found[:, :, frames] = some.unflatten(1, (turned.shape[2], len(frames)))


def turn_rows(
    pairs: Pairs, joints: range, functional: Float[Tensor, "batch points rows 3"], pose: Pose
) -> Float[Tensor, "batch points rows steps"]:
    """d (functional . point) / d step of some joints in a row, three columns each; without pose correctives."""
    if pairs.whole.any():
        found = whole_rows(pairs, slice(joints.start, joints.stop), functional, pose)
    else:
        found = functional.new_zeros(*functional.shape[:3], 3 * len(joints))
    add_parts(found, pairs, joints, functional, pose)
    return found


def whole_rows(pairs: Pairs, joints: slice, functional: Tensor, pose: Pose) -> Tensor:
    """Of whole points, one product: a turn w about a place P is the motion w x point + P x w of all space."""
    parts = torch.cat([pose.entries, pose.masses[..., None].expand(len(pose.entries), -1, 1)], dim=2)
    points = parts.new_zeros(len(parts), pairs.points, 4).index_add_(1, pairs.final, parts)
    along = points[:, :, None, 3:] * functional
    wrench = torch.cat([torch.linalg.cross(points[:, :, None, :3].expand_as(along), functional), along], dim=3)
    axes = pose.turns[:, pairs.above[joints]]
    motion = torch.cat([axes, torch.linalg.cross(pose.places[:, joints, :, None].expand_as(axes), axes, dim=2)], dim=2)
    found = (wrench.flatten(1, 2) @ motion.transpose(1, 2).flatten(2)).unflatten(1, functional.shape[1:3])
    return found.mul_(pairs.whole[:, joints].repeat_interleave(3, dim=1)[:, None])


def add_parts(found: Tensor, pairs: Pairs, joints: range, functional: Tensor, pose: Pose) -> None:
    """Fills in points that a joint turns in part."""
    batch, points, rows, _ = functional.shape
    span = slice(pairs.first[joints.start], pairs.first[joints.stop])
    point, joint = pairs.point[span], pairs.joint[span]
    if len(point) == 0:
        return
    some = pairs.entries if len(point) == len(pairs.point) else rows_of(pairs.entries, span)
    arm = torch.sparse.mm(some, pose.entries.permute(1, 2, 0).flatten(1)).unflatten(1, (3, batch))
    mass = torch.sparse.mm(some, pose.masses.mT.contiguous())[:, None]
    arm -= mass * pose.places.permute(1, 2, 0)[joint]
    along = functional.permute(1, 2, 3, 0)[point]  # pairs, rows, 3, batch
    across = torch.linalg.cross(arm[:, None].expand_as(along), along, dim=2)
    R = with_identity(pose.rotations)[pairs.above[joint]]  # pairs, 3, 3, batch
    turned = across[:, :, 0, None] * R[:, None, 0]
    turned.addcmul_(across[:, :, 1, None], R[:, None, 1]).addcmul_(across[:, :, 2, None], R[:, None, 2])
    columns = 3 * (joint - joints.start)[:, None] + torch.arange(3).to(joint)  # pairs, 3
    cells = (point[:, None, None] * rows + torch.arange(rows).to(point)[:, None]) * found.shape[3] + columns[:, None]
    found.view(batch, -1)[:, cells.flatten()] = turned.flatten(0, 2).mT


def corrective_rows(
    levers: Levers,
    joints: range,
    turned: Float[Tensor, "points lever rows batch"],
    pick: Float[Tensor, "batch table"] | None,
    local: Float[Tensor, "batch joints 3 3"],
) -> Float[Tensor, "batch points rows steps"]:
    """What turning joints does through the pose correctives alone."""
    first = levers.fixed.shape[2] - 9 * (local.shape[1] - 1)
    moved = range(max(joints.start, 1), joints.stop)  # the root has no correctives
    steps = rotation_steps(local[:, moved.start : moved.stop])  # batch, joints, 9, 3
    columns = slice(first + 9 * (moved.start - 1), first + 9 * (moved.stop - 1))
    feature = coefficient_rows(levers, columns, turned, pick).unflatten(3, (len(moved), 9))
    found = feature.permute(0, 3, 1, 2, 4).flatten(2, 3) @ steps  # batch, joints, points * rows, 3
    found = found.unflatten(2, feature.shape[1:3]).permute(0, 2, 3, 1, 4).flatten(3)
    return pad(found, (3 * (moved.start - joints.start), 0))


def rows_of(matrix: Tensor, span: slice) -> Tensor:
    """Some rows of a coalesced sparse matrix."""
    row, column = matrix.indices()
    inside = (row >= span.start) & (row < span.stop)
    where = torch.stack([row[inside] - span.start, column[inside]])
    return sparse(where, matrix.values()[inside], (span.stop - span.start, matrix.shape[1]))


def with_identity(rotations: Float[Tensor, "batch joints 3 3"]) -> Float[Tensor, "turns 3 3 batch"]:
    """Rotations with the batch last, and one more that turns nothing."""
    turns = rotations.permute(1, 2, 3, 0)
    return torch.cat([turns, torch.eye(3).to(turns)[None, :, :, None].expand(1, 3, 3, turns.shape[3])])


def rotation_steps(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 9 3"]:
    """d vec(exp(d) R) / d d at 0, row by row: column k is vec([e_k]x R)."""
    generators = rotation.new_zeros(3, 3, 3)
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        generators[k, j, i], generators[k, i, j] = 1.0, -1.0
    return torch.einsum("kij,...jl->...ilk", generators, rotation).flatten(-3, -2)
