"""Derivatives of a posed body's points by all that moves, side by side, made a few frames at a time.

A Jacobian is as large as all else together. Made for many frames at once it is out of the cache before the first
product reads it; made for a few, the coefficients' part is one product of small factors that are kept for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.jacobian import coefficient_rows
from fitting.bodies.levers import Levers


@dataclass(frozen=True)
class Columns:
    """`levers` are arranged: a column each for what moves, zero for what is no coefficient and stands in `others`."""

    width: int
    others: tuple[tuple[slice, Float[Tensor, "batch points rows _"]], ...]
    levers: Levers | None = None  # None where no coefficient moves
    turned: Float[Tensor, "points lever rows batch"] | None = None
    pick: Float[Tensor, "batch table"] | None = None

    def few(
        self, frames: slice, weight: Float[Tensor, "some points #rows"] | None = None
    ) -> Float[Tensor, "some points rows columns"]:
        """Of some of the batch, times a weight. Points stand first in memory, columns last: any frame's rows are evenly
        apart."""
        if self.levers is None or self.turned is None:
            like = self.others[0][1][frames]
            some, points, rows = like.shape[:3]
            found = like.new_zeros(points, rows, some, self.width).permute(2, 0, 1, 3)
        else:
            pick, turned = None if self.pick is None else self.pick[frames], self.turned[..., frames]
            if weight is not None:  # of the small factors: they have a tenth of the numbers
                turned = turned * weight.permute(1, 2, 0)[:, None]
            found = coefficient_rows(self.levers, slice(None), turned, pick)
        for place, values in self.others:
            found[..., place] = values[frames] if weight is None else values[frames] * weight[..., None]
        return found

    def are_coefficients(self, columns: slice) -> bool:
        """Whether all of some columns are made of constants, the same in every frame."""
        others = any(place.stop > columns.start and place.start < columns.stop for place, _ in self.others)
        return self.levers is not None and len(self.levers.sliding) == 0 and not others

    def gram(
        self, columns: slice, weight: Float[Tensor, "batch points #rows"]
    ) -> Float[Tensor, "some_columns some_columns"]:
        """J' W J of coefficients, W the squares of `weight`, summed over the batch: by the moments of the small
        factors, which takes a tenth of the time."""
        assert self.levers is not None and self.turned is not None
        weighted = (self.turned * weight.permute(1, 2, 0)[:, None]).flatten(2)
        constants = self.levers.fixed[..., columns]
        moved = torch.bmm(torch.bmm(weighted, weighted.mT), constants)
        return constants.flatten(0, 1).mT @ moved.flatten(0, 1)

    def beside(self, place: slice, values: Float[Tensor, "batch points rows _"]) -> Columns:
        return replace(self, others=(*self.others, (place, values)))


def arranged(levers: Levers, spans: Mapping[str, slice], places: Mapping[str, slice], width: int) -> Levers:
    """The constants of some blocks at their places among `width` columns."""

    def columns(constants: Tensor) -> Tensor:
        found = constants.new_zeros(*constants.shape[:-1], width)
        for name, span in spans.items():
            found[..., places[name]] = constants[..., span]
        return found

    return Levers(levers.joint, columns(levers.fixed), columns(levers.sliding), corrected=False)
