"""The place on a triangle that is nearest to a point."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def nearest_places(
    points: Float[Tensor, "points 1 3"], triangles: Float[Tensor, "points triangles 3 3"]
) -> tuple[Float[Tensor, "points triangles 3"], Float[Tensor, "points triangles"]]:
    """Weights of the triangles' corners and distances. Inside by the plane's equations, else the nearest of the three
    edges; a weight is exactly 0 where the place is on an edge."""
    a, b, c = triangles.unbind(dim=-2)
    tried = [in_plane(points, a, b, c)]
    for k, (start, end) in enumerate(((a, b), (b, c), (c, a))):
        along = end - start
        share = ((points - start) * along).sum(dim=-1) / along.square().sum(dim=-1).clamp(min=1e-20)
        share = share.clamp(0, 1)
        ends = [torch.zeros_like(share)] * 3
        ends[k], ends[(k + 1) % 3] = 1 - share, share
        tried.append(torch.stack(ends, dim=-1))
    weights = torch.stack(tried, dim=-2)  # points, triangles, 4, 3
    places = weights @ triangles
    distance = (places - points[..., None, :]).norm(dim=-1)
    distance = distance.masked_fill((weights < 0).any(dim=-1), float("inf"))
    best = distance.argmin(dim=-1, keepdim=True)
    return weights.gather(-2, best[..., None].expand(*best.shape, 3))[..., 0, :], distance.gather(-1, best)[..., 0]


def in_plane(points: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Float[Tensor, "points triangles 3"]:
    """Barycentric coordinates of the foot on the triangle's plane; a negative one is outside (Ericson, 2005, 3.4)."""
    first, second, offset = b - a, c - a, points - a
    ff, fs, ss = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    of, os = (offset * first).sum(-1), (offset * second).sum(-1)
    area = ff * ss - fs * fs
    safe = area.clamp(min=1e-30)
    v, w = (ss * of - fs * os) / safe, (ff * os - fs * of) / safe
    flat = area <= 1e-30
    return torch.stack([(1 - v - w).masked_fill(flat, -1), v, w], dim=-1)
