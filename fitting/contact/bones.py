"""Bones with flesh round them: what limbs that are in each other to the middle still tell apart.

There the nearest ways out of the vertices lead to both sides, and their pushes cancel. Two capsules have one way out,
along the line between the nearest places of their bones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.contact.masks import Mask
from fitting.types import Surface

FLESH = 0.6  # of the mean distance between a bone and its skin: inside a slim person too
ENDS = 0.2  # of a bone's length at either end, whose skin is not asked
APART = 1.3  # times the sum of their radii: bones nearer than that at rest do not cross


@dataclass(frozen=True)
class Crossed:
    """Pairs of bones, by the joint at their end, whose capsules are in each other, and where they are nearest."""

    first: Int[Tensor, " pairs"]
    second: Int[Tensor, " pairs"]
    along_first: Float[Tensor, " pairs"]  # 0 at the bone's beginning, 1 at its end
    along_second: Float[Tensor, " pairs"]
    radius_first: Float[Tensor, " pairs"]  # metres
    radius_second: Float[Tensor, " pairs"]


def find_crossed(joints: Float[Tensor, "joints 3"], mask: Mask) -> Crossed:
    """Of one body. Bones of parts that the mask does not look at, or that are near each other at rest, do not cross."""
    first, second, reach = compared(mask)
    s, t, distance = nearest_on_bones(joints.detach(), first, second, mask.surface)
    inside = distance < reach.sum(dim=0).to(distance)
    return Crossed(first[inside], second[inside], s[inside], t[inside], *reach[:, inside].to(distance))


@lru_cache(maxsize=4)
def compared(mask: Mask) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Float[Tensor, "2 pairs"]]:
    """Bones, by the joint at their end, that are looked at, and their radii. A bone belongs to the part of the joint at
    its beginning."""
    surface = mask.surface
    parents = torch.as_tensor(surface.parents, device=mask.parts.device)
    looked_at = mask.parts[parents][:, parents] & (parents >= 0)[:, None] & (parents >= 0)
    first, second = torch.nonzero(looked_at.triu(1), as_tuple=True)
    radius = radii(surface)
    reach = torch.stack([radius[first], radius[second]])
    distance = nearest_on_bones(surface.rest_joints, first, second, surface)[2]
    far = distance > (APART * reach.sum(dim=0)).clamp(min=mask.near)
    return first[far], second[far], reach[:, far]


def radii(surface: Surface) -> Float[Tensor, " joints"]:
    """Of the flesh round every bone of the mean body, by the joint at its end; 0 where no skin belongs to it."""
    joints = surface.rest_joints
    found = torch.zeros_like(joints[:, 0])
    for end, parent in enumerate(surface.parents):
        own = surface.rest[surface.vertex_parts == parent]
        start, along = joints[parent], joints[end] - joints[parent]
        share = (own - start) @ along / along.square().sum().clamp(min=1e-12)
        away = (own - start - share[:, None] * along).norm(dim=1)[(share > ENDS) & (share < 1 - ENDS)]
        if parent >= 0 and len(away):
            found[end] = FLESH * away.mean()
    return found


def nearest_on_bones(
    joints: Float[Tensor, "joints 3"], first: Int[Tensor, " pairs"], second: Int[Tensor, " pairs"], surface: Surface
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Where two bones are nearest to each other, as shares of their lengths, and how near (Ericson, 2005, 5.1.9)."""
    parents = torch.as_tensor(surface.parents, device=joints.device)
    p, q = joints[parents[first]], joints[parents[second]]
    u, v = joints[first] - p, joints[second] - q
    a, b, e = (u * u).sum(-1).clamp(min=1e-12), (u * v).sum(-1), (v * v).sum(-1).clamp(min=1e-12)
    c, f = (u * (p - q)).sum(-1), (v * (p - q)).sum(-1)
    s = ((b * f - c * e) / (a * e - b * b).clamp(min=1e-12)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    s = ((b * t - c) / a).clamp(0, 1)
    return s, t, (p + s[:, None] * u - q - t[:, None] * v).norm(dim=-1)


def hanging_on(surface: Surface) -> Bool[Tensor, "joints joints"]:
    """Row k: the joints that turn what is fixed to joint k, itself included."""
    above = torch.eye(len(surface.parents), dtype=torch.bool, device=surface.faces.device)
    for joint, parent in enumerate(surface.parents):
        if parent >= 0:
            above[joint] |= above[parent]
    return above
