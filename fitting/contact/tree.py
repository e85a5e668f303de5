"""Boxes that overlap, by warp's own bounding volume hierarchy, on the CPU or the GPU that the points are on."""

from __future__ import annotations

import inspect

import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

wp.config.log_level = 40  # `quiet` does not silence the banner
wp.init()
ROOM = 8  # pairs per face at first; more are found again with more room


def _overlaps(tree, lower, upper, parts, looked_at, count, pairs):  # type: ignore[no-untyped-def]
    a = wp.tid()
    query = wp.bvh_query_aabb(tree, lower[a], upper[a])
    b = wp.int32(0)
    while wp.bvh_query_next(query, b):
        if b > a and looked_at[parts[a], parts[b]] != wp.uint8(0):
            apart = wp.bool(False)
            for k in range(3):  # a leaf may hold several boxes
                if lower[a][k] > upper[b][k] or lower[b][k] > upper[a][k]:
                    apart = wp.bool(True)
            if not apart:
                place = wp.atomic_add(count, 0, 1)
                if place < pairs.shape[0]:
                    pairs[place, 0] = a
                    pairs[place, 1] = b


# Its types are said here and not above, so that whoever checks annotations while a program runs does not meet them.
_overlaps = inspect.unwrap(_overlaps)
_overlaps.__annotations__ = {
    "tree": wp.uint64,
    "lower": wp.array(dtype=wp.vec3),
    "upper": wp.array(dtype=wp.vec3),
    "parts": wp.array(dtype=wp.int32),
    "looked_at": wp.array2d(dtype=wp.uint8),
    "count": wp.array(dtype=wp.int32),
    "pairs": wp.array2d(dtype=wp.int32),
}
KERNEL = wp.kernel(_overlaps)


def overlapping_boxes(
    lower: Float[Tensor, "faces 3"],
    upper: Float[Tensor, "faces 3"],
    parts: Int[Tensor, " faces"],
    looked_at: Bool[Tensor, "parts parts"],
) -> Int[Tensor, "pairs 2"]:
    """Pairs a < b of faces whose boxes overlap and whose parts are looked at, sorted. Float32."""
    count = len(parts)
    if count == 0:
        return parts.new_zeros(0, 2)
    low, high = (wp.from_torch(bound.contiguous(), dtype=wp.vec3) for bound in (lower, upper))
    tree = wp.Bvh(low, high)
    part, looked = wp.from_torch(parts.int().contiguous()), wp.from_torch(looked_at.to(torch.uint8).contiguous())
    room = ROOM * count
    while True:
        total = torch.zeros(1, dtype=torch.int32, device=parts.device)
        pairs = torch.zeros(room, 2, dtype=torch.int32, device=parts.device)
        arguments = [tree.id, low, high, part, looked, wp.from_torch(total), wp.from_torch(pairs)]
        wp.launch(KERNEL, dim=count, inputs=arguments, device=low.device)
        wp.synchronize_device(low.device)
        found = int(total)
        if found <= room:
            key = (pairs[:found, 0].long() * count + pairs[:found, 1]).sort().values  # each pair is found once
            return torch.stack([key // count, key % count], dim=1)
        room = found
