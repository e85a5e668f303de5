"""What covariances of unknowns mean in the picture, and how the volume of a posterior changes with its unknowns.

A joint maximum of shape, expressions and places of many frames does not lie in the middle of what is believed: where
the pixels say more about each unknown, the posterior is narrower and there is less of it. Nearer heads are such places:
everything in metres is seen larger. With H the precision, the volume at x is det H(x)^-1/2, and to first order

    mean = peak - H^-1 g,    g = d/dx 1/2 log det H(x) = 1/2 tr(H^-1 dH/dx) = <W J H^-1, dJ/dx>

for H = J'WJ + beliefs that do not move with x (Tierney & Kadane, 1986, eq. 2.6 with g(x) = x; the effect itself: Neyman
& Scott, 1948). The last form needs no second derivatives: W J H^-1 is pulled back through the Jacobian as it is made.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import item_weights, unit_vector
from fitting.pixels import PixelJacobian, differentiate_pixels
from fitting.problem import Problem, width
from fitting.terms import Scene


class Sight(NamedTuple):
    """Of some frames in a row."""

    variance: Float[Tensor, "problems frames points 2"]  # of the body's own keypoints, pixels^2
    slope: Float[Tensor, "problems unknowns"]  # g: the frames' own unknowns, then what they add to the shared ones'


def look(part: Problem, own: Tensor, cross: Tensor, shared: Tensor) -> Sight:
    """`part` is some frames of a problem; covariances in natural steps: own (problems, frames, n, n), cross (problems,
    frames, n, m), shared (problems, m, m). Landmark offsets move no keypoint of the body, but the volume."""
    x = part.zero().requires_grad_()
    with torch.enable_grad():
        scene = part.scene(part.retract(x))
        jacobian = differentiate_pixels(part, scene)
    with torch.no_grad():
        units = torch.cat([unit_vector(part, part.local), unit_vector(part, part.shared)]).to(x)
        J = jacobian.columns * units[: jacobian.columns.shape[-1]]
        k = J.shape[-1] - jacobian.own
        side, common = cross[..., :k], shared[:, None, :k, :k].expand(-1, part.frames, -1, -1)
        whole = torch.cat([torch.cat([own, side], dim=3), torch.cat([side.mT, common], dim=3)], dim=2)
        JC = (J.flatten(2, 3) @ whole).view_as(J)
        weight = pixel_weights(part, scene)[..., None, None]
        pulled = [jacobian.columns]
        pulls = [JC]
        if jacobian.offsets is not None:
            pulled.append(jacobian.offsets)
            pulls = with_offsets(jacobian, units, J, JC, cross, shared)
        scales = (units[: J.shape[-1]], units[-1:])
        pulls = [weight * pull * scale for pull, scale in zip(pulls, scales, strict=False)]
    (slope,) = torch.autograd.grad(pulled, x, pulls)
    return Sight((JC * J).sum(dim=-1), slope)


def with_offsets(
    jacobian: PixelJacobian, units: Tensor, J: Tensor, JC: Tensor, cross: Tensor, shared: Tensor
) -> list[Tensor]:
    """J times the covariance, for the columns of J and for those of each point's own offset, which are zero elsewhere."""
    assert jacobian.offsets is not None
    k, points = J.shape[-1] - jacobian.own, J.shape[2]
    own_point = jacobian.offsets * units[-1]
    common = shared[:, None, :k, k:].expand(-1, J.shape[1], -1, -1)
    tie = torch.cat([cross[..., k:], common], dim=2).unflatten(3, (points, 2)).permute(0, 1, 3, 2, 4)
    pairs = shared[:, k:, k:].unflatten(1, (points, 2)).unflatten(3, (points, 2))
    alone = pairs.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # problems, points, 2, 2
    return [JC + own_point @ tie.mT, J @ tie + own_point @ alone[:, None]]


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
