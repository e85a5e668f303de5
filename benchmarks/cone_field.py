"""SMPLify-X's penalty on self-penetration, plain and slow: cones on triangles that cross (Ballan et al., 2012; Tzionas
et al., 2016, eq. 7-9, with the constants of SMPLify-X).

Of two triangles that cross, each has a cone at its circumcentre, as wide as its circumcircle, along its normal. A
vertex of the other, h along the axis and d away from it, counts where a = d / (r - r h / height) < 1, at
((1 - a) psi(h))^4, where psi grows as the vertex goes in: 1 - height - h below, a parabola about the plane, 0 above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.contact import Mask, crossing_pairs
from fitting.problem import Problem

HEIGHT = 1e-4  # metres: SMPLify-X's df_cone_height
WEIGHTS = (0.01, 1.0)  # of its last two stages


def cone_field(points: Float[Tensor, "vertices 3"], faces: Tensor, pairs: Int[Tensor, "pairs 2"]) -> Tensor:
    """Differentiable in the places of both triangles of every pair; which cross is not."""
    triangles = points[faces]
    total = points.new_zeros(())
    for receiver, intruder in (pairs.unbind(dim=1), pairs.flip(1).unbind(dim=1)):
        centre, radius, normal = cones(triangles[receiver])
        offset = triangles[intruder] - centre[:, None]  # pairs, 3 vertices, 3
        h = (offset * normal[:, None]).sum(dim=-1)
        across = (offset - h[..., None] * normal[:, None]).square().sum(dim=-1).clamp(min=1e-16).sqrt()
        width = radius[:, None] - radius[:, None] / HEIGHT * h + 1e-6
        a = across / width
        inside = (a < 1) & (width > 0)
        total = total + ((1 - a) * psi(h)).pow(4).where(inside, 0.0).sum()
    return total


def cones(triangles: Float[Tensor, "pairs 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Circumcentres, circumradii and unit normals."""
    a, b, c = triangles.unbind(dim=1)
    u, v = b - a, c - a
    w = torch.linalg.cross(u, v)
    area = w.square().sum(dim=-1, keepdim=True).clamp(min=1e-20)
    uu, vv = u.square().sum(dim=-1, keepdim=True), v.square().sum(dim=-1, keepdim=True)
    out = (uu * torch.linalg.cross(v, w) + vv * torch.linalg.cross(w, u)) / (2 * area)
    return a + out, out.norm(dim=-1), w / area.sqrt()


def psi(h: Tensor) -> Tensor:
    middle = -(1 - 2 * HEIGHT) / (4 * HEIGHT**2) * h.square() - h / (2 * HEIGHT) + (3 - 2 * HEIGHT) / 4
    return torch.where(h <= -HEIGHT, 1 - HEIGHT - h, torch.where(h < HEIGHT, middle, 0.0))


@dataclass(frozen=True)
class WithCones:
    """A problem of one frame and the field, as solvers that need gradients alone see it."""

    problem: Problem
    mask: Mask
    weight: float

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        unknowns = x.detach().requires_grad_()
        with torch.enable_grad():
            body = self.problem.body.mesh
            points = body.pose(self.problem.retract(unknowns)).points[0, 0]
            pairs = crossing_pairs(points, self.mask)
            field = cone_field(points, self.mask.surface.faces, pairs)
            value = self.problem.objective(unknowns) + 0.5 * self.weight * field  # theirs has no 1/2 before its sums
        return value.detach().double(), torch.autograd.grad(value.sum(), unknowns)[0]
