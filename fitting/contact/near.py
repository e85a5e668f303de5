"""Boxes round the parts of a body, and what reaches into them: little of a person who stands."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.contact.masks import Mask
from fitting.types import Surface

Boxes = tuple[Float[Tensor, "... 3"], Float[Tensor, "... 3"]]  # lower and upper corners


def part_boxes(points: Float[Tensor, "vertices 3"], surface: Surface) -> Boxes:
    """Round every part's faces; a part without faces has none."""
    vertex, part = surface.members.unbind(dim=1)
    corners, at = points[vertex], part[:, None].expand(-1, 3)
    empty = corners.new_full((len(surface.part_names), 3), torch.inf)
    return empty.scatter_reduce(0, at, corners, "amin"), (-empty).scatter_reduce(0, at, corners, "amax")


def near_other_parts(boxes: Boxes, part: Int[Tensor, " boxes"], around: Boxes, mask: Mask) -> Int[Tensor, " near"]:
    """Which boxes reach into that round another part that theirs is compared with; `around` is `part_boxes`."""
    low, high = around
    meet = mask.parts & overlap((low, high), (low[:, None], high[:, None]))
    most = int(meet.sum(dim=1).max())
    if most == 0:
        return part[:0]
    is_other, others = meet.to(torch.uint8).topk(most, dim=1)
    low, high = low[others].where(is_other[..., None] > 0, torch.inf), high[others]
    some = torch.nonzero(meet.any(dim=1)[part])[:, 0]
    some = some[overlap(at(boxes, some), at((low.amin(dim=1), high.amax(dim=1)), part[some]))]
    lower, upper = at(boxes, some)
    reach = overlap((lower[:, None], upper[:, None]), at((low, high), part[some]))
    return some[reach.any(dim=1)]


def at(boxes: Boxes, rows: Tensor) -> Boxes:
    return boxes[0][rows], boxes[1][rows]


def overlap(a: Boxes, b: Boxes) -> Bool[Tensor, "..."]:
    """Axis by axis: torch is slow at reducing over three."""
    (x, y, z), (u, v, w) = ((first[0] <= second[1]).unbind(dim=-1) for first, second in ((a, b), (b, a)))
    return x & y & z & u & v & w


def boxes_of_pairs(
    pairs: Int[Tensor, "pairs 2"], points: Float[Tensor, "vertices 3"], surface: Surface, margin: float
) -> Boxes:
    """Round all faces that cross, and `margin` around, one box for every two parts."""
    parts = surface.face_parts[pairs].sort(dim=1).values
    _, kind = torch.unique(parts[:, 0] * len(surface.part_names) + parts[:, 1], return_inverse=True)
    corners = points[surface.faces[pairs].flatten(1)]  # pairs, 6, 3
    rows = kind[:, None].expand(-1, 3)
    empty = corners.new_full((int(kind.max()) + 1 if len(kind) else 0, 3), torch.inf)
    lower = empty.scatter_reduce(0, rows, corners.amin(dim=1), "amin") - margin
    return lower, (-empty).scatter_reduce(0, rows, corners.amax(dim=1), "amax") + margin


def in_any(places: Float[Tensor, "places 3"], boxes: Boxes) -> Int[Tensor, " inside"]:
    """Which places lie in one of some boxes."""
    lower, upper = boxes
    whole = (lower.amin(dim=0), upper.amax(dim=0))
    some = torch.nonzero(overlap((places, places), whole))[:, 0]
    few = places[some, None]
    return some[overlap((few, few), boxes).any(dim=1)]


def least_and_greatest(corners: tuple[Tensor, Tensor, Tensor]) -> Boxes:
    """Boxes round triangles."""
    a, b, c = corners
    return torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
