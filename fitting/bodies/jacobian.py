"""Closed-form derivatives of a posed body's points, as seen by a linear functional of each (a pixel's two rows).

    turning joint a by a small rotation d (in its parent's frame) moves a point by  (R_parent d) x v_a,
        v_a = sum over the point's entries below a of  weight * (posed entry - place of a);
    coefficients move it by  sum over joints k of  R_k C_k,  C constant: the rest positions are linear in them and the
        joints' places are sums of rotated differences of rest joints;
    pose correctives are coefficients too, the entries of R - I, which move with  [d]x R.

Only pairs (point, joint above it) are computed, and 3-vectors have the batch as their last axis: the same products
took eight times as long as small matrices. Source: SMPL (Loper et al., 2015) differentiated; checked against automatic
differentiation in float64, and against the loop over joints that this was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from fitting.bodies.skinning import Skeleton, Skin, joint_of_entries, sparse


@dataclass(frozen=True)
class Levers:
    """What moves each point when a coefficient grows, split by the joint that turns it; constant per body.

    A fixed point has one row of constants, a point of a contour one for each row of its table, all turned by the same
    joints. Fixed points stand first.
    """

    joint: Int[Tensor, "points slots"]  # which rotation a slot is turned by; len(joints) stands for none
    fixed: Float[Tensor, "fixed lever coefficients"]  # coefficients, then the pose feature where there is one
    sliding: Float[Tensor, "sliding table lever coefficients"]
    corrected: bool  # whether the last 9 * (joints - 1) coefficients are the pose feature


@dataclass(frozen=True)
class Pairs:
    """Which joints turn which points, sorted by joint. A contour's candidates are one point, the one they make up."""

    points: int
    point: Int[Tensor, " pairs"]
    joint: Int[Tensor, " pairs"]
    parent: Int[Tensor, " pairs"]  # len(joints) stands for none: the root turns about the world's axes
    first: tuple[int, ...]  # of each joint's pairs; one more for the end
    entries: Float[Tensor, "pairs entries"]  # sparse, 1 where an entry of the point hangs on the joint, or is it


@dataclass(frozen=True)
class Pose:
    """What the derivatives need of a posed skeleton and skin (batch = problems * frames), without scale and transl."""

    entries: Float[Tensor, "batch entries 3"]  # weight * posed rest position
    masses: Float[Tensor, "#batch entries"]  # the weights; per frame where entries are picked from a contour's table
    rotations: Float[Tensor, "batch joints 3 3"]  # in the world
    places: Float[Tensor, "batch joints 3"]
    local: Float[Tensor, "batch joints 3 3"]  # each joint's own rotation


# ------------------------------------------------------------------ what is constant


def make_levers(skeleton: Skeleton, skin: Skin, final: Int[Tensor, " candidates"]) -> Levers:
    """The constants of a (restricted) body. `final` tells for each of the skin's points which keypoint it is a part of;
    those of a contour stand last, row by row of its table."""
    entry_joint = joint_of_entries(skin)
    hanging = masses(skin) @ subtree(skeleton.parents).to(skin.entry_weight).mT
    joint, slot_of = slots_of(skeleton.parents, skin, final)
    slots = joint.shape[1]
    arms = entry_arms(skeleton, skin, entry_joint)  # entries, 3, coefficients
    constant = arms.new_zeros(skin.points * slots, 3, arms.shape[2])
    constant.index_add_(0, skin.entry_point * slots + slot_of[skin.entry_point, entry_joint], arms)
    # A joint's place is its parent's plus the parent's rotation of the difference of their rest places.
    d_joint = skeleton.directions.unflatten(1, (len(skeleton.parents), 3))  # coefficients, joints, 3
    for k, parent in enumerate(skeleton.parents):
        difference = d_joint[:, k] if parent < 0 else d_joint[:, k] - d_joint[:, parent]
        some = hanging[:, k].nonzero()[:, 0]
        cells = some * slots + slot_of[some, parent]  # the last column, -1, stands for none
        constant[cells, :, : len(d_joint)] += hanging[some, k, None, None] * difference.mT
    rows = constant.unflatten(0, (skin.points, slots)).flatten(1, 2)
    points = len(joint)
    table = (skin.points - points) // max(repeated(final, points), 1) + 1
    fixed = points - repeated(final, points)
    sliding = rows[fixed:].unflatten(0, (table, -1)).transpose(0, 1) if points > fixed else rows[:0, None]
    return Levers(joint, rows[:fixed].contiguous(), sliding.contiguous(), skin.pose_directions is not None)


def repeated(final: Int[Tensor, " candidates"], points: int) -> int:
    """How many points have more than one candidate."""
    return int((torch.bincount(final, minlength=points) > 1).sum())


def entry_arms(
    skeleton: Skeleton, skin: Skin, entry_joint: Int[Tensor, " entries"]
) -> Float[Tensor, "entries 3 coefficients"]:
    """How far an entry moves from its joint when a coefficient grows, in the joint's axes, times its weight."""
    d_joint = skeleton.directions.unflatten(1, (len(skeleton.parents), 3))
    arms = skin.directions.unflatten(1, (-1, 3))[:, skin.entry_rest] - d_joint[:, entry_joint]
    if skin.pose_directions is not None:
        arms = torch.cat([arms, skin.pose_directions.unflatten(1, (-1, 3))[:, skin.entry_rest]])
    return (arms * skin.entry_weight[:, None]).permute(1, 2, 0)


def slots_of(
    parents: tuple[int, ...], skin: Skin, final: Int[Tensor, " candidates"]
) -> tuple[Int[Tensor, "points slots"], Int[Tensor, "candidates turns"]]:
    """Which joints turn a part of each keypoint, and the slot of each; turn len(parents) stands for none."""
    touched = masses(skin) != 0
    hanging = (touched.to(skin.entry_weight) @ subtree(parents).to(skin.entry_weight).mT) > 0
    used = torch.cat([touched, torch.zeros_like(touched[:, :1])], dim=1)
    for k, parent in enumerate(parents):
        used[:, parent] |= hanging[:, k]
    points = int(final.max()) + 1 if len(final) else 0
    by_point = used.new_zeros(points, used.shape[1], dtype=torch.int64).index_add_(0, final, used.long()) > 0
    order = torch.argsort(by_point.long(), dim=1, descending=True, stable=True)
    slots = int(by_point.sum(dim=1).max()) if points else 0
    return order[:, :slots], (by_point.cumsum(dim=1) - 1)[final]


def masses(skin: Skin) -> Float[Tensor, "candidates joints"]:
    """How much of each of the skin's points each joint carries."""
    table = skin.entry_weight.new_zeros(skin.points, len(skin.joint_counts))
    return table.index_put_((skin.entry_point, joint_of_entries(skin)), skin.entry_weight, accumulate=True)


def make_pairs(skeleton: Skeleton, skin: Skin, final: Int[Tensor, " candidates"]) -> Pairs:
    """`final` tells for each of the skin's points which point of the body it is a part of."""
    joints, points = len(skeleton.parents), int(final.max()) + 1 if len(final) else 0
    below = subtree(skeleton.parents).to(skin.entry_weight)[:, joint_of_entries(skin)]  # joints, entries
    joint, entry = torch.nonzero(below, as_tuple=True)
    point = final[skin.entry_point[entry]]
    keys, place = torch.unique(joint * max(points, 1) + point, return_inverse=True)  # sorted by joint, then point
    joint, point = keys // max(points, 1), keys % max(points, 1)
    table = torch.tensor([joints if parent < 0 else parent for parent in skeleton.parents]).to(joint)
    counts = torch.bincount(joint, minlength=joints)
    ones = skin.entry_weight.new_ones(len(entry))
    entries = sparse(torch.stack([place, entry]), ones, (len(keys), len(skin.entry_point))).coalesce()
    return Pairs(points, point, joint, table[joint], (0, *counts.cumsum(0).tolist()), entries)


def subtree(parents: tuple[int, ...]) -> Float[Tensor, "joints joints"]:
    """Row a marks the joints that hang on a, itself included."""
    below = torch.eye(len(parents))
    for joint in range(len(parents) - 1, 0, -1):
        below[parents[joint]] += below[joint]
    return below


# ------------------------------------------------------------------ derivatives


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
    found = turned.new_empty(points, rows * batch, constant.shape[2])
    torch.bmm(turned[:fixed].flatten(2).mT, constant, out=found[:fixed])
    if pick is not None:
        table = pick.amax(dim=0).nonzero()[:, 0]  # the rows that any frame looks at
        weighted = turned[fixed:, None] * pick.mT[table, None, None]  # points, table, slots * 3, rows, batch
        some = levers.sliding[:, table][..., columns].flatten(1, 2)
        torch.bmm(weighted.flatten(3).flatten(1, 2).mT, some, out=found[fixed:])
    return found.unflatten(1, (rows, batch)).permute(2, 0, 1, 3)


def turn_rows(
    pairs: Pairs, joints: range, functional: Float[Tensor, "batch points rows 3"], pose: Pose
) -> Float[Tensor, "batch points rows steps"]:
    """d (functional . point) / d step of some joints in a row, three columns each; without pose correctives."""
    batch, points, rows, _ = functional.shape
    span = slice(pairs.first[joints.start], pairs.first[joints.stop])
    point, joint = pairs.point[span], pairs.joint[span]
    some = pairs.entries if len(point) == len(pairs.point) else rows_of(pairs.entries, span)
    arm = torch.sparse.mm(some, pose.entries.permute(1, 2, 0).flatten(1)).unflatten(1, (3, batch))
    mass = torch.sparse.mm(some, pose.masses.mT.contiguous())[:, None]
    arm -= mass * pose.places.permute(1, 2, 0)[joint]
    along = functional.permute(1, 2, 3, 0).contiguous()[point]  # pairs, rows, 3, batch
    across = torch.linalg.cross(arm[:, None].expand_as(along), along, dim=2)
    R = with_identity(pose.rotations)[pairs.parent[span]]  # pairs, 3, 3, batch
    turned = across[:, :, 0, None] * R[:, None, 0]
    turned.addcmul_(across[:, :, 1, None], R[:, None, 1]).addcmul_(across[:, :, 2, None], R[:, None, 2])
    found = functional.new_zeros(batch, points, rows, 3 * len(joints))
    columns = 3 * (joint - joints.start)[:, None] + torch.arange(3).to(joint)  # pairs, 3
    cells = (point[:, None, None] * rows + torch.arange(rows).to(point)[:, None]) * found.shape[3] + columns[:, None]
    found.view(batch, -1)[:, cells.flatten()] = turned.flatten(0, 2).mT
    return found


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
