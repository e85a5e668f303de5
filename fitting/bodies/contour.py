"""Points of a contour slide over the surface with the head's signed yaw: between the rows of a table of candidates."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.types import Contour


def slide_contour(
    points: Float[Tensor, "problems frames candidates 3"],
    contour: Contour,
    head: Float[Tensor, "problems frames 3 3"],
) -> Float[Tensor, "problems frames points 3"]:
    """Replaces the contour's candidates at the end by their interpolation at the head's signed yaw.

    yaw = atan2(-R20, |(R00, R10)|), positive when the subject turns to his left: `facts` of FLAME's dynamic contour,
    here between neighbouring rows instead of rounded, so that it is continuous. The yaw decides where on the skin a
    point lies, not how it moves with the head: no gradient goes through it.
    """
    rows, count = contour.vertices.shape[:2]
    static = points[:, :, : points.shape[2] - rows * count]
    table = points[:, :, points.shape[2] - rows * count :].unflatten(2, (rows, count))
    return torch.cat([static, torch.einsum("pfr,pfrnd->pfnd", contour_pick(contour, head), table)], dim=2)


def contour_pick(contour: Contour, head: Float[Tensor, "problems frames 3 3"]) -> Float[Tensor, "problems frames rows"]:
    """How much of each row of the table a frame takes: linear between the two rows round its yaw."""
    R = head.detach()
    yaw = torch.rad2deg(torch.atan2(-R[..., 2, 0], torch.hypot(R[..., 0, 0], R[..., 1, 0])))
    yaw = yaw.clamp(contour.yaw[0], contour.yaw[-1]).contiguous()
    above = torch.searchsorted(contour.yaw, yaw).clamp(1, len(contour.yaw) - 1)
    share = ((yaw - contour.yaw[above - 1]) / (contour.yaw[above] - contour.yaw[above - 1])).to(head)
    pick = torch.zeros(*yaw.shape, len(contour.yaw)).to(head)
    pick.scatter_(2, above[..., None], share[..., None])
    return pick.scatter_(2, above[..., None] - 1, 1 - share[..., None])


def final_points(contour: Contour | None, candidates: int) -> Int[Tensor, " candidates"]:
    """Which keypoint each point of a restricted skin is a part of: the fixed ones their own, then the candidates."""
    every = torch.arange(candidates)
    if contour is None:
        return every
    rows, count = contour.vertices.shape[:2]
    static = candidates - rows * count
    every[static:] = static + torch.arange(count).repeat(rows)
    return every.to(contour.vertices.device)


def candidates(contour: Contour | None, kept: Bool[Tensor, " points"]) -> Bool[Tensor, " candidates"]:
    """The points of a restricted skin that some of the body's are made of: none of a contour, or all."""
    if contour is None:
        return kept
    rows, count = contour.vertices.shape[:2]
    static, sliding = kept[:-count], kept[-count:]
    assert bool(sliding.all()) or not bool(sliding.any()), "a part of a contour"
    return torch.cat([static, sliding.repeat(rows)])
