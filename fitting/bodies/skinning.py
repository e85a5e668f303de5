"""Linear blend skinning as pure functions: one for the whole mesh and for a handful of keypoints alike.

A point on the skin is a weighted sum over vertices (barycentric) of weighted sums over joints (skinning). Both sums are
linear, so a point splits into *entries*: (rest position, joint, weight). The whole mesh has one rest position per
vertex, carried by several joints; a restricted body has one rest position per entry, its vertices contracted before.

    point = sum over its entries of  weight * (R_joint (rest - J_joint) + P_joint)

with `J` the joint's place at rest, `R` and `P` its rotation and place when posed. Source: Loper et al., SMPL, 2015,
eq. 2-4, rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.compiled import takes

FEW_ENTRIES = 500
"""Entries per joint, over all frames, up to which a rotation for each is copied rather than looping over joints."""
FEW_JOINTS = 8
"""Joints that carry a skin, up to which many frames are posed joint by joint."""
FEW_IN_ALL = 1024
"""Entries of a skin, one for each rest position, up to which the same is done for many frames."""


@dataclass(frozen=True)
class Skeleton:
    """Joints at rest, linear in the coefficients (identity, then expression)."""

    parents: tuple[int, ...]  # -1 for the root; a parent stands before its children
    template: Float[Tensor, "joints 3"]
    directions: Float[Tensor, "coefficients joints*3"]


@dataclass(frozen=True)
class Skin:
    """Rest positions, linear in the coefficients and in the pose feature, and the entries that carry them."""

    template: Float[Tensor, "rests 3"]
    directions: Float[Tensor, "coefficients rests*3"]
    pose_directions: Float[Tensor, "features rests*3"] | None  # None where the body has no pose correctives
    entry_rest: Int[Tensor, " entries"]  # entries are sorted by joint
    entry_point: Int[Tensor, " entries"]
    entry_weight: Float[Tensor, " entries"]
    joint_counts: tuple[int, ...]  # how many entries each joint carries
    points: int

    @cached_property
    def is_rest_of_each(self) -> bool:
        """Whether every entry has a rest position of its own, in their order."""
        return torch.equal(self.entry_rest, torch.arange(len(self.template)).to(self.entry_rest))


@dataclass(frozen=True)
class Places:
    """Points on a body: weighted sums of vertices, or, where `joints` is not -1, joints of the skeleton."""

    vertices: Int[Tensor, "points corners"]
    weights: Float[Tensor, "points corners"]
    joints: Int[Tensor, " points"]


def restricted_skin(
    whole: Skin, skeleton: Skeleton, skinning: Float[Tensor, "vertices joints"], places: Places
) -> Skin:
    """Contracts points of a whole mesh's skin to entries. A point that is a joint is one entry, carried by it."""
    of_joint = places.joints >= 0
    carried = places.weights.to(skinning)[:, :, None] * skinning[places.vertices]  # points, corners, joints
    mass = carried.sum(dim=1)
    mass[of_joint] = torch.eye(mass.shape[1]).to(mass)[places.joints[of_joint]]
    joint, point = torch.nonzero(mass.T != 0, as_tuple=True)  # sorted by joint
    share = carried[point, :, joint] / mass[point, joint][:, None]  # entries, corners
    share[of_joint[point]] = 0
    fixed = torch.nonzero(of_joint[point])[:, 0]
    contract = _contraction(places.vertices[point], share)

    def entries_of(per_vertex: Tensor, per_joint: Tensor | None) -> Tensor:  # (C, V * 3) and (C, J * 3)
        rest = contract(per_vertex.unflatten(1, (-1, 3)))
        if per_joint is not None:
            rest[:, fixed] = per_joint.unflatten(1, (-1, 3))[:, joint[fixed]]
        return rest.flatten(1)

    return Skin(
        template=entries_of(whole.template.reshape(1, -1), skeleton.template.reshape(1, -1)).reshape(-1, 3),
        directions=entries_of(whole.directions, skeleton.directions),
        pose_directions=None if whole.pose_directions is None else entries_of(whole.pose_directions, None),
        entry_rest=torch.arange(len(joint)).to(joint),
        entry_point=point,
        entry_weight=mass[point, joint],
        joint_counts=tuple(torch.bincount(joint, minlength=skinning.shape[1]).tolist()),
        points=len(mass),
    )


def some_points(skin: Skin, kept: Bool[Tensor, " points"]) -> Skin:
    """A restricted skin, which has a rest position for every entry, with some of its points only."""
    entries = torch.nonzero(kept[skin.entry_point])[:, 0]
    number = kept.cumsum(dim=0) - 1
    carrier = joint_of_entries(skin)[entries]

    def of_entries(rows: Tensor) -> Tensor:  # (C, E * 3)
        return rows.unflatten(1, (-1, 3))[:, entries].flatten(1)

    return Skin(
        template=skin.template[entries],
        directions=of_entries(skin.directions),
        pose_directions=None if skin.pose_directions is None else of_entries(skin.pose_directions),
        entry_rest=torch.arange(len(entries)).to(entries),
        entry_point=number[skin.entry_point[entries]],
        entry_weight=skin.entry_weight[entries],
        joint_counts=tuple(torch.bincount(carrier, minlength=len(skin.joint_counts)).tolist()),
        points=int(kept.sum()),
    )


def _contraction(
    vertices: Int[Tensor, "entries corners"], share: Float[Tensor, "entries corners"]
) -> Callable[[Float[Tensor, "columns vertices 3"]], Float[Tensor, "columns entries 3"]]:
    """Weighted sums over corners as one sparse product: of a large basis only the vertices in use are touched."""
    entry, corner = torch.nonzero(share, as_tuple=True)
    used, place = torch.unique(vertices[entry, corner], return_inverse=True)
    matrix = sparse(torch.stack([entry, place]), share[entry, corner], (len(share), len(used)))

    def contract(per_vertex: Tensor) -> Tensor:
        columns = len(per_vertex)
        if len(used) == 0:
            return per_vertex.new_zeros(columns, len(share), 3)
        picked = per_vertex[:, used].transpose(0, 1).reshape(len(used), -1)
        return torch.sparse.mm(matrix, picked).unflatten(1, (columns, 3)).transpose(0, 1).contiguous()

    return contract


def sparse(indices: Int[Tensor, "2 values"], values: Float[Tensor, " values"], shape: tuple[int, int]) -> Tensor:
    """A sparse matrix of indices that are right by construction (torch warns unless one says so)."""
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False)


def whole_skin(
    template: Tensor, directions: Tensor, pose_directions: Tensor | None, skinning: Float[Tensor, "vertices joints"]
) -> Skin:
    """The skin of a whole mesh: its points are its vertices. `template` (V, 3), `directions` (C, V, 3),
    `pose_directions` (features, V, 3) or None."""
    joint, vertex = torch.nonzero(skinning.T != 0, as_tuple=True)
    return Skin(
        template=template,
        directions=directions.flatten(1),
        pose_directions=None if pose_directions is None else pose_directions.flatten(1),
        entry_rest=vertex,
        entry_point=vertex,
        entry_weight=skinning[vertex, joint],
        joint_counts=tuple(torch.bincount(joint, minlength=skinning.shape[1]).tolist()),
        points=len(template),
    )


def rest_positions(
    template: Float[Tensor, "rests 3"], directions: Tensor, coefficients: tuple[Tensor, ...]
) -> Float[Tensor, "problems frames rests 3"]:
    """Rest positions for coefficients given in groups (problems, frames or 1, size), in the order of the basis.

    A group that is shared by all frames is multiplied once and broadcast.
    """
    rest: Tensor = template
    first = 0
    for group in coefficients:
        basis = directions[first : first + group.shape[-1]]
        rest = rest + (group @ basis).unflatten(-1, (-1, 3))
        first += group.shape[-1]
    return rest


class PosedSkin(NamedTuple):
    """In the world, before scale and transl."""

    rotations: Float[Tensor, "problems frames joints 3 3"]
    places: Float[Tensor, "problems frames joints 3"]
    entries: Float[Tensor, "problems frames entries 3"]
    points: Float[Tensor, "problems frames points 3"]


def pose_skin(
    skeleton: Skeleton,
    skin: Skin,
    joints_rest: Float[Tensor, "#problems #frames joints 3"],
    rest: Float[Tensor, "#problems #frames rests 3"],
    local: Float[Tensor, "problems frames joints 3 3"],
) -> PosedSkin:
    """Joints, then entries, then points from rest positions and each joint's own rotation."""
    problems, frames = local.shape[:2]
    is_small = frames == 1 and len(skin.entry_point) <= FEW_IN_ALL
    if is_small and not torch.is_grad_enabled() and takes(problems, local.device):
        return compiled_pose(skeleton, skin, joints_rest, rest, local)
    rotations, places = pose_joints(skeleton.parents, joints_rest, local)
    entries = skin_entries(skin, rest, joints_rest, rotations, places)
    return PosedSkin(rotations, places, entries, gather_points(skin, entries))


def compiled_pose(
    skeleton: Skeleton, skin: Skin, joints_rest: Tensor, rest: Tensor, local: Float[Tensor, "problems 1 joints 3 3"]
) -> PosedSkin:
    """`pose_skin` of many bodies of one frame by compiled code."""
    from fitting.bodies.kernel_pose import pose

    problems, joints = len(local), len(skeleton.parents)
    moving = (joints_rest.expand(problems, 1, -1, -1), local, rest.expand(problems, 1, -1, -1))
    constant = (skin.entry_rest, joint_of_entries(skin), skin.entry_point, skin.entry_weight)
    made = PosedSkin(
        local.new_empty(problems, 1, joints, 3, 3),
        local.new_empty(problems, 1, joints, 3),
        local.new_empty(problems, 1, len(skin.entry_point), 3),
        local.new_zeros(problems, 1, skin.points, 3),
    )
    given = (some[:, 0].contiguous().numpy() for some in moving)
    pose(np.array(skeleton.parents), *given, *(t.numpy() for t in constant), *(some[:, 0].numpy() for some in made))
    return made


def pose_joints(
    parents: tuple[int, ...],
    rest: Float[Tensor, "#problems #frames joints 3"],
    rotations: Float[Tensor, "problems frames joints 3 3"],
) -> tuple[Float[Tensor, "problems frames joints 3 3"], Float[Tensor, "problems frames joints 3"]]:
    """World rotation and place of every joint; the root turns about its own place at rest. Level by level of the tree:
    a body of 55 joints has eleven."""
    order, above, back, levels = tree_plan(parents, rotations.device)
    away = rest[:, :, order]
    away = torch.cat([away[:, :, :1], away[:, :, 1:] - rest[:, :, above]], dim=2)
    away = away.expand(*rotations.shape[:2], -1, -1)
    # A joint's frame in its parent's, joints in the order of levels: rotation and place side by side.
    local = torch.cat([rotations[:, :, order], away[..., None]], dim=-1)
    posed = [local[:, :, :1]]
    for place, before in levels:
        parent = posed[-1][:, :, before]
        turned = parent[..., :3] @ local[:, :, place]
        posed.append(torch.cat([turned[..., :3], turned[..., 3:] + parent[..., 3:]], dim=-1))
    whole = torch.cat(posed, dim=2)[:, :, back]
    return whole[..., :3].contiguous(), whole[..., 3].contiguous()


class TreePlan(NamedTuple):
    """How a tree of joints is walked level by level."""

    order: Int[Tensor, " joints"]  # joints as they stand in levels
    above: Int[Tensor, " all_but_root"]  # the parent of each but the root, in that order
    back: Int[Tensor, " joints"]  # where each joint stands in that order
    levels: tuple[tuple[slice, Int[Tensor, " level"]], ...]  # but the root's: joints, and parents in the level before


@cache
def tree_plan(parents: tuple[int, ...], device: torch.device) -> TreePlan:
    levels = tree_levels(parents)
    order = [joint for level in levels for joint in level]
    steps, first = [], len(levels[0])
    for before, level in pairwise(levels):
        index = torch.tensor([before.index(parents[joint]) for joint in level], device=device)
        steps.append((slice(first, first + len(level)), index))
        first += len(level)

    def numbers(joints: list[int]) -> Tensor:
        return torch.tensor(joints, device=device, dtype=torch.long)

    back = [order.index(joint) for joint in range(len(parents))]
    return TreePlan(numbers(order), numbers([parents[joint] for joint in order[1:]]), numbers(back), tuple(steps))


@cache
def tree_levels(parents: tuple[int, ...]) -> tuple[list[int], ...]:
    """Joints by their distance from the root."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return tuple([joint for joint, d in enumerate(depth) if d == level] for level in range(max(depth) + 1))


def skin_entries(
    skin: Skin,
    rest: Float[Tensor, "#problems #frames rests 3"],
    joints_rest: Float[Tensor, "#problems #frames joints 3"],
    rotations: Float[Tensor, "problems frames joints 3 3"],
    places: Float[Tensor, "problems frames joints 3"],
) -> Float[Tensor, "problems frames entries 3"]:
    """What each entry adds to its point: weight * posed rest position.

    One matrix product per joint, with no copy of a rotation per point; all at once where there is little to copy.
    """
    size = rotations[:, :, 0, 0, 0].numel() * len(skin.entry_point)
    is_much = size > FEW_ENTRIES * len(skin.joint_counts)
    if is_much and len(skin.entry_point) <= FEW_IN_ALL:
        turn = turn_by_joint if sum(count > 0 for count in skin.joint_counts) <= FEW_JOINTS else turn_entries
        return turn(skin, rest, joints_rest, rotations, places)
    if not is_much:
        carrier = joint_of_entries(skin)
        local = rest[:, :, skin.entry_rest] - joints_rest[:, :, carrier]
        posed = (rotations[:, :, carrier] @ local[..., None])[..., 0] + places[:, :, carrier]
        return posed * skin.entry_weight[:, None]
    parts = []
    for joint, entries in entries_by_joint(skin):
        local = rest[:, :, skin.entry_rest[entries]] - joints_rest[:, :, joint, None]
        posed = local @ rotations[:, :, joint].mT + places[:, :, joint, None]
        parts.append(posed * skin.entry_weight[entries, None])
    return torch.cat(parts, dim=2)


def turn_entries(
    skin: Skin,
    rest: Float[Tensor, "#problems #frames rests 3"],
    joints_rest: Float[Tensor, "#problems #frames joints 3"],
    rotations: Float[Tensor, "problems frames joints 3 3"],
    places: Float[Tensor, "problems frames joints 3"],
) -> Float[Tensor, "problems frames entries 3"]:
    """`skin_entries` of few entries in many frames: axes stand first, for threes that lie side by side are slow."""
    carrier = joint_of_entries(skin)
    local = axes_first(rest)[..., skin.entry_rest] - axes_first(joints_rest)[..., carrier]
    R = rotations.permute(3, 4, 0, 1, 2).index_select(4, carrier)
    turned = axes_first(places).index_select(3, carrier)
    for axis in range(3):
        turned.addcmul_(R[:, axis], local[axis])
    return turned.mul_(skin.entry_weight).permute(1, 2, 3, 0).contiguous()


def turn_by_joint(
    skin: Skin,
    rest: Float[Tensor, "#problems #frames rests 3"],
    joints_rest: Float[Tensor, "#problems #frames joints 3"],
    rotations: Float[Tensor, "problems frames joints 3 3"],
    places: Float[Tensor, "problems frames joints 3"],
) -> Float[Tensor, "problems frames entries 3"]:
    """`skin_entries` of a few joints, as a head has, with no copy of a rotation per entry."""
    joints_rest, places = axes_first(joints_rest), axes_first(places)
    R = rotations.permute(3, 4, 0, 1, 2)
    parts = []
    for joint, entries in entries_by_joint(skin):
        here = slice(joint, joint + 1)
        local = axes_first(rest[:, :, entries if skin.is_rest_of_each else skin.entry_rest[entries]])
        local = local - joints_rest[..., here]
        posed = places[..., here]
        for axis in range(3):
            posed = torch.addcmul(posed, R[:, axis, ..., here], local[axis])
        parts.append(posed * skin.entry_weight[entries])
    return torch.cat(parts, dim=3).permute(1, 2, 3, 0).contiguous()


def axes_first(vectors: Float[Tensor, "problems frames some 3"]) -> Float[Tensor, "3 problems frames some"]:
    return vectors.permute(3, 0, 1, 2)


def entries_by_joint(skin: Skin) -> Iterator[tuple[int, slice]]:
    """Where the entries of every joint that carries any stand."""
    first = 0
    for joint, count in enumerate(skin.joint_counts):
        if count:
            yield joint, slice(first, first + count)
        first += count


def joint_of_entries(skin: Skin) -> Int[Tensor, " entries"]:
    counts = torch.tensor(skin.joint_counts).to(skin.entry_point)
    return torch.repeat_interleave(torch.arange(len(counts)).to(counts), counts)


def gather_points(
    skin: Skin, entries: Float[Tensor, "problems frames entries 3"]
) -> Float[Tensor, "problems frames points 3"]:
    """Points of the skin: the sums over their entries."""
    points = entries.new_zeros(*entries.shape[:2], skin.points, 3)
    return points.index_add(2, skin.entry_point, entries)
