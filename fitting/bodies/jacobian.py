"""Closed-form derivatives of a posed body's points, as seen by a linear functional of each (a pixel's two rows).

    turning joint a by a small rotation d (in its parent's frame) moves a point by  (R_parent d) x v_a,
        v_a = sum over the point's entries below a of  weight * (posed entry - place of a);
    coefficients move it by  sum over joints k of  R_k C_k,  C constant: the rest positions are linear in them and the
        joints' places are sums of rotated differences of rest joints;
    pose correctives are coefficients too, the entries of R - I, which move with  [d]x R.

Source: SMPL (Loper et al., 2015) differentiated; checked against automatic differentiation in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.bodies.skinning import Skeleton, Skin


@dataclass(frozen=True)
class Levers:
    """What moves each point when a coefficient grows, split by the joint that turns it; constant per body."""

    joint: Int[Tensor, "points slots"]  # which rotation a slot is turned by; len(joints) stands for none
    constant: Float[Tensor, "points slots*3 coefficients"]  # coefficients, then the pose feature where there is one
    below: Float[Tensor, "joints entries"]  # 1 where an entry's joint hangs on this one, itself included
    corrected: bool  # whether the last 9 * (joints - 1) coefficients are the pose feature


def make_levers(skeleton: Skeleton, skin: Skin) -> Levers:
    """The constants of a (restricted) body."""
    joints, points = len(skeleton.parents), skin.points
    entry_joint = torch.repeat_interleave(torch.arange(joints), torch.tensor(skin.joint_counts)).to(skin.entry_point)
    d_joint = skeleton.directions.unflatten(1, (joints, 3))  # coefficients, joints, 3
    d_rest = skin.directions.unflatten(1, (-1, 3))[:, skin.entry_rest]  # coefficients, entries, 3
    features = 0 if skin.pose_directions is None else len(skin.pose_directions)
    size = len(d_joint) + features
    table = d_joint.new_zeros(points, joints + 1, 3, size)
    weight = skin.entry_weight
    arm = ((d_rest - d_joint[:, entry_joint]) * weight[:, None]).permute(1, 2, 0)
    if skin.pose_directions is not None:
        corrective = skin.pose_directions.unflatten(1, (-1, 3))[:, skin.entry_rest] * weight[:, None]
        arm = torch.cat([arm, corrective.permute(1, 2, 0)], dim=2)
    table.index_put_((skin.entry_point, entry_joint), arm, accumulate=True)
    mass = weight.new_zeros(points, joints).index_put_((skin.entry_point, entry_joint), weight, accumulate=True)
    below = subtree(skeleton.parents).to(weight)
    # A joint's place is its parent's plus the parent's rotation of the difference of their rest places.
    hanging = mass @ below.mT  # points, joints: how much of a point hangs on a joint
    coefficients = len(d_joint)
    for joint, parent in enumerate(skeleton.parents):
        difference = d_joint[:, joint] if parent < 0 else d_joint[:, joint] - d_joint[:, parent]
        table[:, parent if parent >= 0 else joints, :, :coefficients] += hanging[:, joint, None, None] * difference.mT
    return Levers(*pack_slots(table), below=below[:, entry_joint], corrected=features > 0)


def subtree(parents: tuple[int, ...]) -> Float[Tensor, "joints joints"]:
    """Row a marks the joints that hang on a, itself included."""
    below = torch.eye(len(parents))
    for joint in range(len(parents) - 1, 0, -1):
        below[parents[joint]] += below[joint]
    return below


def pack_slots(table: Float[Tensor, "points turns 3 size"]) -> tuple[Tensor, Tensor]:
    """Leaves out the rotations that move nothing: as many slots as the busiest point needs."""
    used = (table.abs().amax(dim=(2, 3)) > 0).to(torch.int64)
    slots = int(used.sum(dim=1).max())
    order = torch.argsort(used, dim=1, descending=True, stable=True)[:, :slots]
    picked = torch.gather(table, 1, order[:, :, None, None].expand(-1, -1, *table.shape[2:]))
    return order, picked.flatten(1, 2)


@dataclass(frozen=True)
class Pose:
    """What the derivatives need of a posed skeleton and skin (batch = problems * frames), without scale and transl."""

    entries: Float[Tensor, "batch entries 3"]  # weight * posed rest position
    rotations: Float[Tensor, "batch joints 3 3"]  # in the world
    places: Float[Tensor, "batch joints 3"]
    local: Float[Tensor, "batch joints 3 3"]  # each joint's own rotation


def coefficient_rows(
    levers: Levers, columns: slice, functional: Float[Tensor, "batch points rows 3"], rotations: Tensor
) -> Float[Tensor, "batch points rows columns"]:
    """d (functional . point) / d coefficient, for some columns of the basis."""
    batch, points, rows, _ = functional.shape
    constant = levers.constant[:, :, columns]
    eye = torch.eye(3).to(rotations).expand(batch, 1, 3, 3)
    turns = torch.cat([rotations, eye], dim=1).transpose(0, 1)  # turns, batch, 3, 3
    by_point = functional.transpose(0, 1)  # points, batch, rows, 3
    # Slot by slot: every point is turned by few joints, most by the same one.
    parts = [by_point @ turns[levers.joint[:, slot]] for slot in range(levers.joint.shape[1])]
    turned = torch.cat(parts, dim=-1).flatten(1, 2)
    return torch.bmm(turned, constant).unflatten(1, (batch, rows)).transpose(0, 1)


def turn_rows(
    levers: Levers, parents: tuple[int, ...], skin: Skin, joints: range, functional: Tensor, pose: Pose
) -> Float[Tensor, "batch points rows steps"]:
    """d (functional . point) / d step of some joints, three columns each."""
    batch, points = functional.shape[:2]
    columns = []
    for joint in joints:
        parent = parents[joint]
        arms = pose.entries - pose.places[:, joint, None] * skin.entry_weight[:, None]
        arm = functional.new_zeros(batch, points, 3)
        arm.index_add_(1, skin.entry_point, arms * levers.below[joint][:, None])
        across = torch.linalg.cross(arm[:, :, None].expand_as(functional), functional)
        column = across if parent < 0 else across @ pose.rotations[:, None, parent]
        if levers.corrected and joint > 0:
            first = levers.constant.shape[2] - 9 * (len(parents) - joint)
            feature = coefficient_rows(levers, slice(first, first + 9), functional, pose.rotations)
            column = column + feature @ rotation_steps(pose.local[:, joint])[:, None]
        columns.append(column)
    return torch.cat(columns, dim=-1)


def rotation_steps(rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 9 3"]:
    """d vec(exp(d) R) / d d at 0, row by row: column k is vec([e_k]x R)."""
    generators = rotation.new_zeros(3, 3, 3)
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        generators[k, j, i], generators[k, i, j] = 1.0, -1.0
    return torch.einsum("kij,bjl->bilk", generators, rotation).flatten(1, 2)
