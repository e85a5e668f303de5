"""How large a shaped body is by its mean: what beliefs about lengths can be counted in.

The size is the root mean square distance of a (restricted) body's points at rest from their middle. Points at rest are
linear in the shape, so its square is a quadratic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.skinning import Skin

SMALLEST = 0.01  # of the mean body: a shape that is no body any more still has a size


@dataclass(frozen=True)
class Sizes:
    """size(betas)^2 = 1 + linear . betas + betas . square betas; constant per body."""

    linear: Float[Tensor, " betas"]
    square: Float[Tensor, "betas betas"]

    def of(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch"]:
        return self._squared(betas).sqrt()

    def slope(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch betas"]:
        """d log size / d betas."""
        return (0.5 * self.linear + betas @ self.square) / self._squared(betas)[..., None]

    def _squared(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch"]:
        return (1 + betas @ self.linear + ((betas @ self.square) * betas).sum(dim=-1)).clamp(min=SMALLEST**2)


def make_sizes(skin: Skin, betas: int) -> Sizes:
    """`betas`: how many coefficients, the first ones of the basis, are a person's shape."""
    weight, rest = skin.entry_weight[:, None], skin.entry_rest
    template = gather(skin, weight * skin.template[rest])
    directions = skin.directions[:betas].unflatten(1, (-1, 3))[:, rest]
    moved = torch.stack([gather(skin, weight * each) for each in directions.unbind(0)])
    whole = template.square().sum()
    linear, square = torch.einsum("bpd,pd->b", moved, template), torch.einsum("bpd,cpd->bc", moved, moved)
    return Sizes(2 * linear / whole, square / whole)


def gather(skin: Skin, entries: Float[Tensor, "entries 3"]) -> Float[Tensor, "points 3"]:
    """The skin's points from their entries, about their middle."""
    points = entries.new_zeros(skin.points, 3).index_add(0, skin.entry_point, entries)
    return points - points.mean(dim=0)
