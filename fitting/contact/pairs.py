"""Pairs of triangles that cross. Boxes that overlap are found by warp where it is installed, else by a sweep; the exact
test is the same for both, and so is the result."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.contact.masks import Mask
from fitting.contact.near import Boxes, least_and_greatest, near_other_parts, part_boxes
from fitting.contact.sweep import overlapping_boxes


def crossing_pairs(points: Float[Tensor, "vertices 3"], mask: Mask, quick: bool = True) -> Int[Tensor, "pairs 2"]:
    """Triangles a < b of one body that cross, of pairs that the mask looks at, sorted. `quick`: with warp if it is
    there."""
    points = points.detach().float()
    return pairs_between(points, part_boxes(points, mask.surface), mask, quick)


def pairs_between(
    points: Float[Tensor, "vertices 3"], around: Boxes, mask: Mask, quick: bool
) -> Int[Tensor, "pairs 2"]:
    """`crossing_pairs` where the boxes round parts are known."""
    surface = mask.surface
    first, second, third = surface.faces.unbind(dim=1)
    lower, upper = least_and_greatest((points[first], points[second], points[third]))
    some = near_other_parts((lower, upper), surface.face_parts, around, mask)
    boxes = lower[some], upper[some], surface.face_parts[some], mask.parts
    if quick and find_spec("warp") is not None:
        from fitting.contact import tree  # warp takes a second to import

        pairs = some[tree.overlapping_boxes(*boxes)]
    else:
        pairs = some[torch.as_tensor(overlapping_boxes(*(box.cpu().numpy() for box in boxes))).to(some)]
    a, b = surface.faces[pairs[:, 0]], surface.faces[pairs[:, 1]]
    pairs = pairs[mask.far(surface.rest[a].mean(dim=1), surface.rest[b].mean(dim=1))]
    a, b = points[surface.faces[pairs]].double().unbind(dim=1)
    return pairs[triangles_cross(a, b)]


def triangles_cross(a: Float[Tensor, "pairs 3 3"], b: Float[Tensor, "pairs 3 3"]) -> Bool[Tensor, " pairs"]:
    """Whether an edge of one goes through the other. Triangles in one plane do not cross."""
    crosses = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    for edges, face in ((a, b), (b, a)):
        for k in range(3):
            crosses |= segment_crosses(edges[:, k], edges[:, (k + 1) % 3], face)
    return crosses


def segment_crosses(start: Tensor, end: Tensor, face: Float[Tensor, "pairs 3 3"]) -> Bool[Tensor, " pairs"]:
    """Moeller & Trumbore, 1997, without the division: all of it as signed volumes."""
    along, first, second = end - start, face[:, 1] - face[:, 0], face[:, 2] - face[:, 0]
    across = torch.linalg.cross(along, second)
    volume = (across * first).sum(dim=1)
    sign = volume.sign()
    offset = start - face[:, 0]
    u = (offset * across).sum(dim=1) * sign
    other = torch.linalg.cross(offset, first)
    v = (along * other).sum(dim=1) * sign
    t = (second * other).sum(dim=1) * sign
    size = volume.abs()
    return (size > 0) & (u >= 0) & (v >= 0) & (u + v <= size) & (t >= 0) & (t <= size)
