"""What derivatives need of a body and no pose changes: which joints turn which points, and how far coefficients move
them in each joint's axes. jacobian.py puts it to use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.bodies.skinning import Skeleton, Skin, joint_of_entries, sparse

ROUNDING = 1e-6  # of the longest lever: shorter ones are what a regression left
MOSTLY = 0.75  # of all points and joints: so many whole ones are worth a product of their own


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
    """Which joints turn which points: as a whole, or in part, as the skin between two joints is by the second of them.
    Pairs are those of parts, sorted by joint; of a head, whose skin hangs on several joints nearly everywhere, all. A
    contour's candidates are one point, the one they make up."""

    points: int
    final: Int[Tensor, " entries"]  # the point that an entry is a part of
    whole: Float[Tensor, "points joints"]  # 1 where all entries of a point hang on a joint
    above: Int[Tensor, " joints"]  # its parent; len(joints) stands for none: the root turns about the world's axes
    point: Int[Tensor, " pairs"]
    joint: Int[Tensor, " pairs"]
    first: tuple[int, ...]  # of each joint's pairs; one more for the end
    entries: Float[Tensor, "pairs entries"]  # sparse, 1 where an entry of the point hangs on the joint, or is it


@dataclass(frozen=True)
class Reach:
    """What forces on points become on the way back to joints and coefficients; constant per body."""

    point: Int[Tensor, " entries"]  # the point of the body that an entry is a part of
    joint: Int[Tensor, " entries"]
    parent: Int[Tensor, " joints"]  # len(joints) stands for none
    hanging: Float[Tensor, "joints joints"]  # row a marks the joints that hang on a
    entries: Float[Tensor, "entries*3 all_coefficients"]  # the pose feature last, where there is one
    bones: Float[Tensor, "joints*3 coefficients"]  # without the pose feature


def make_reach(skeleton: Skeleton, skin: Skin, final: Int[Tensor, " candidates"]) -> Reach:
    """`final` tells for each of the skin's points which point of the body it is a part of."""
    joint, joints = joint_of_entries(skin), len(skeleton.parents)
    parent = torch.tensor([joints if parent < 0 else parent for parent in skeleton.parents]).to(joint)
    return Reach(
        point=final[skin.entry_point],
        joint=joint,
        parent=parent,
        hanging=subtree(skeleton.parents).to(skin.entry_weight),
        entries=entry_arms(skeleton, skin, joint).flatten(0, 1).contiguous(),
        bones=bone_arms(skeleton).flatten(0, 1).contiguous(),
    )


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


def bone_arms(skeleton: Skeleton) -> Float[Tensor, "joints 3 coefficients"]:
    """How far a joint moves from its parent at rest when a coefficient grows; the root from the origin."""
    d_joint = skeleton.directions.unflatten(1, (len(skeleton.parents), 3))
    above = torch.tensor(skeleton.parents, device=d_joint.device)
    from_parent = d_joint - d_joint[:, above.clamp(min=0)] * (above >= 0)[:, None]
    return from_parent.permute(1, 2, 0)


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


class Hanging(NamedTuple):
    below: Float[Tensor, "joints entries"]  # 1 where an entry hangs on a joint, or is it
    parts: Float[Tensor, "points joints"]  # how many entries of a point do
    whole: Bool[Tensor, "points joints"]  # all of them


def hang_entries(skeleton: Skeleton, skin: Skin, of_entry: Int[Tensor, " entries"], points: int) -> Hanging:
    """`of_entry` tells for each entry which point it is a part of."""
    below = subtree(skeleton.parents).to(skin.entry_weight)[:, joint_of_entries(skin)]
    parts = below.new_zeros(points, len(skeleton.parents)).index_add_(0, of_entry, below.mT)
    return Hanging(below, parts, (parts > 0) & (parts == torch.bincount(of_entry, minlength=points)[:, None]))


def make_pairs(skeleton: Skeleton, skin: Skin, final: Int[Tensor, " candidates"]) -> Pairs:
    """`final` tells for each of the skin's points which point of the body it is a part of."""
    joints, points = len(skeleton.parents), int(final.max()) + 1 if len(final) else 0
    of_entry = final[skin.entry_point]
    below, parts, whole = hang_entries(skeleton, skin, of_entry, points)
    if whole.sum() < MOSTLY * (parts > 0).sum():
        whole = torch.zeros_like(whole)
    joint, entry = torch.nonzero(below * ~whole[of_entry].mT, as_tuple=True)
    keys, place = torch.unique(joint * max(points, 1) + of_entry[entry], return_inverse=True)  # by joint, then point
    joint, point = keys // max(points, 1), keys % max(points, 1)
    above = torch.tensor([joints if parent < 0 else parent for parent in skeleton.parents]).to(joint)
    counts = torch.bincount(joint, minlength=joints)
    ones = skin.entry_weight.new_ones(len(entry))
    entries = sparse(torch.stack([place, entry]), ones, (len(keys), len(of_entry))).coalesce()
    first = (0, *counts.cumsum(0).tolist())
    return Pairs(points, of_entry, whole.to(below), above, point, joint, first, entries)


@cache
def subtree(parents: tuple[int, ...]) -> Float[Tensor, "joints joints"]:
    """Row a marks the joints that hang on a, itself included."""
    below = torch.eye(len(parents))
    for joint in range(len(parents) - 1, 0, -1):
        below[parents[joint]] += below[joint]
    return below
