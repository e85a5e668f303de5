"""Which unknowns move which keypoints: a hand's pose moves a sixth of them. Jacobians and products are made for those
alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.camera import focal_slopes
from fitting.problem import Problem
from fitting.types import Block, Body, Parameters, Posed

FEW = (0.01, 0.75)  # of all points: what moves more, or next to none, is taken to move all


@dataclass(frozen=True)
class Limb:
    """Blocks that move the same keypoints."""

    names: tuple[str, ...]
    moved: Bool[Tensor, " points"]
    whole: Body

    @cached_property
    def points(self) -> Int[Tensor, " some"]:
        return torch.nonzero(self.moved)[:, 0]

    @cached_property
    def body(self) -> Body:
        """With nothing but these keypoints."""
        return self.whole if self.moved.all() else self.whole.only(self.moved)

    def columns(
        self,
        parameters: Parameters,
        posed: Posed,
        functional: Float[Tensor, "rows 1 points 2 3"],
        K: Tensor,
        factor: Float[Tensor, "rows points 2"],
    ) -> tuple[Float[Tensor, "rows some 2 _"], ...]:
        """d factor * pixel / d step of its points, block by block; `functional` has the factors already."""
        if self.body is not self.whole:
            posed, functional = self.whole.part(posed, self.moved), functional[:, :, self.points]
        found = self.body.differentiate(parameters, posed, functional, list(self.names))
        if "focal" in self.names:
            own = factor if self.body is self.whole else factor[:, self.points]
            found["focal"] = (focal_slopes(posed.points, K) * own[:, None])[..., None]
        return tuple(found[name][:, 0] for name in self.names)


def limbs_of(problem: Problem) -> list[Limb]:
    """The free blocks: first those that move most keypoints, which are taken to move all, then the others, put together
    where they move the same ones. What turns joints stands first in each.
    """
    own = {block.name for block in problem.body.blocks}
    every = torch.ones_like(problem.evidence.points, dtype=torch.bool)
    moved = {b.name: problem.body.moves(b.name) if b.name in own else every for b in problem.free}
    limbs = grouped([b for b in problem.free if is_few(moved[b.name])], moved)
    limbs = [limb for limb in limbs if is_few(union(limb, moved))]
    few = [b.name for limb in limbs for b in limb]
    trunk = [b for b in problem.free if b.name not in few]
    found = [Limb(in_order(trunk, problem.body), every, problem.body)] if trunk else []
    return found + [Limb(in_order(limb, problem.body), union(limb, moved), problem.body) for limb in limbs]


def in_order(blocks: Sequence[Block], body: Body) -> tuple[str, ...]:
    return tuple(block.name for block in sorted(blocks, key=lambda block: not body.turns(block.name)))


def is_few(moved: Bool[Tensor, " points"]) -> bool:
    return FEW[0] <= float(moved.float().mean()) <= FEW[1]


def union(blocks: Sequence[Block], moved: dict[str, Tensor]) -> Bool[Tensor, " points"]:
    return torch.stack([moved[block.name] for block in blocks]).any(dim=0)


def grouped(blocks: Sequence[Block], moved: dict[str, Tensor]) -> list[list[Block]]:
    """Blocks that move some of the same points, directly or through others."""
    found: list[list[Block]] = []
    for block in blocks:
        touching = [limb for limb in found if (moved[block.name] & union(limb, moved)).any()]
        found = [limb for limb in found if limb not in touching]
        found.append([*(b for limb in touching for b in limb), block])
    return found
