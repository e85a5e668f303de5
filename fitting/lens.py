"""What covariances of unknowns mean in the picture, and how the volume of a posterior changes with depth.

A joint maximum of shape, expressions and places of many frames does not lie in the middle of what is believed: where
the pixels say more about each unknown, the posterior is narrower and there is less of it. Nearer heads are such places:
everything in metres is seen larger. With H the precision, the volume at x is det H(x)^-1/2, and to first order

    mean = peak - H^-1 g,    g = d/dx 1/2 log det H(x) = 1/2 tr(H^-1 dH/dx) = tr(H^-1 J' W dJ/dx)

for H = J'WJ + beliefs that do not move with x (Tierney & Kadane, 1986; the effect itself: Neyman & Scott, 1948). Every
derivative of a pixel goes as 1 / depth, so that along a frame's depth z

    g_z = -N / z,    N = tr(W J H^-1 J'):  how many unknowns the frame's pixels determine.

The other components of g move nothing that could be measured on known truth.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import world_to_camera
from fitting.curvature import item_weights, unit_vector
from fitting.pixels import PixelJacobian, differentiate_pixels
from fitting.problem import Problem
from fitting.terms import Scene


class Sight(NamedTuple):
    """Of some frames in a row."""

    variance: Float[Tensor, "problems frames points"]  # of the body's own keypoints, pixels^2, mean over u and v
    slope: Float[Tensor, "problems frames"]  # g along each frame's world z (towards the viewer), per metre


def look(part: Problem, own: Tensor, cross: Tensor, shared: Tensor) -> Sight:
    """`part` is some frames of a problem; covariances in natural steps: own (problems, frames, n, n), cross (problems,
    frames, n, m), shared (problems, m, m). Landmark offsets move no keypoint of the body, but the volume."""
    scene = part.scene(part.base)
    jacobian = differentiate_pixels(part, scene)
    units = torch.cat([unit_vector(part, part.local), unit_vector(part, part.shared)])
    J = jacobian.columns * units[: jacobian.columns.shape[-1]]
    k = J.shape[-1] - jacobian.own
    side, common = cross[..., :k], shared[:, None, :k, :k].expand(-1, part.frames, -1, -1)
    whole = torch.cat([torch.cat([own, side], dim=3), torch.cat([side.mT, common], dim=3)], dim=2)
    variance = ((J.flatten(2, 3) @ whole).view_as(J) * J).sum(dim=(-2, -1))
    with_offsets = variance
    if jacobian.offsets is not None:
        with_offsets = variance + offsets_share(jacobian, units[-1], J, cross, shared)
    depth = world_to_camera(scene.posed.points)[..., 2].clamp(min=1e-3)
    return Sight(variance / 2, (pixel_weights(part, scene) * with_offsets / depth).sum(dim=-1))


def offsets_share(
    jacobian: PixelJacobian, unit: Tensor, J: Tensor, cross: Tensor, shared: Tensor
) -> Float[Tensor, "problems frames points"]:
    """What each point's own offset adds to the variance of its pixel: 2 tr(J C G') + tr(G D G')."""
    assert jacobian.offsets is not None
    k, points = J.shape[-1] - jacobian.own, J.shape[2]
    G = jacobian.offsets * unit
    common = shared[:, None, :k, k:].expand(-1, J.shape[1], -1, -1)
    tie = torch.cat([cross[..., k:], common], dim=2).unflatten(3, (points, 2)).permute(0, 1, 3, 2, 4)
    pairs = shared[:, k:, k:].unflatten(1, (points, 2)).unflatten(3, (points, 2))
    alone = pairs.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # problems, points, 2, 2
    return ((2 * (J @ tie) + G @ alone[:, None]) * G).sum(dim=(-2, -1))


def pixel_weights(part: Problem, scene: Scene) -> Float[Tensor, "problems frames points"]:
    """What a squared pixel of every point counts, over all terms that measure single points."""
    total = torch.zeros_like(scene.pixels[..., 0])
    for term in part.terms.values():
        if term.structure != "pixels":
            continue
        rows = term.pixel_rows(scene)
        residuals = term.residuals(scene)
        if rows.first is None and rows.second is None and residuals is not None:
            total = total + item_weights(term, residuals) * rows.scale[..., None].square()
    return total
