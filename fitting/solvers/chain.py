"""Elimination of some frames of a chain, one after another (Golub & Van Loan, 4th ed., 4.2.9 and 4.5).

With P_t the inverse of frame t's block when its turn comes and T_t its tie to the next frame,

    A_t+1 -= T_t P_t T_t'    T_t+1 -= d2 P_t T_t'    A_t+2 -= d2 P_t d2    (and the same for B and the right side)

two products of n x n matrices a frame where d2 is diagonal, four where it is a block. Independent problems stand side
by side in the first axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_CURVATURE = 1e-3  # of an unknown, per natural step squared


class Links(NamedTuple):
    """Ties of a window's frames (rows) to later ones (columns); zero where there is no such frame."""

    near: Float[Tensor, "problems frames n"]  # diagonal, to the next frame
    far: Float[Tensor, "problems frames n"]  # to the one after that
    near_blocks: Float[Tensor, "problems frames n n"] | None = None  # whole blocks beside the diagonals
    far_blocks: Float[Tensor, "problems frames n n"] | None = None

    def select(self, rows: Tensor) -> Links:
        return Links(self.near[rows], self.far[rows], *(None if part is None else part[rows] for part in self[2:]))

    def to(self, dtype: torch.dtype) -> Links:
        return Links(self.near.to(dtype), self.far.to(dtype), *(None if p is None else p.to(dtype) for p in self[2:]))

    def far_ties(self) -> tuple[Tensor | None, ...]:
        """Frame by frame the whole tie to the one after the next; None where it is diagonal."""
        if self.far_blocks is None:
            return (None,) * self.far.shape[1]
        return (self.far_blocks + torch.diag_embed(self.far)).unbind(1)


class Carry(NamedTuple):
    """What eliminated frames leave to the two that follow them."""

    own: Float[Tensor, "problems 2 n n"]
    border: Float[Tensor, "problems 2 n m"]
    tie: Float[Tensor, "problems n n"]  # of the first (rows) with the second (columns)

    @property
    def bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self)

    @staticmethod
    def nothing(problems: int, n: int, m: int, like: Tensor) -> Carry:
        zeros = like.new_zeros
        return Carry(zeros(problems, 2, n, n), zeros(problems, 2, n, m), zeros(problems, n, n))


class Forward(NamedTuple):
    """A right side after its way down a window."""

    solved: Float[Tensor, "problems frames n"]  # P times it
    carried: Float[Tensor, "problems 2 n"]
    common: Float[Tensor, "problems m"]  # to be taken from the shared unknowns' right side


@dataclass(frozen=True)
class Eliminated:
    """A window's frames after elimination."""

    links: Links
    inverse: Float[Tensor, "problems frames n n"]  # P
    tie: Float[Tensor, "problems frames n n"]  # T', of a frame (rows) with the next (columns)
    border: Float[Tensor, "problems frames n m"]  # B when its turn came

    @property
    def bytes(self) -> int:
        blocks = (self.inverse, self.tie, self.border, self.links.near_blocks, self.links.far_blocks)
        return sum(part.numel() * part.element_size() for part in blocks if part is not None)

    def to(self, dtype: torch.dtype) -> Eliminated:
        return Eliminated(self.links.to(dtype), self.inverse.to(dtype), self.tie.to(dtype), self.border.to(dtype))

    def select(self, rows: Tensor) -> Eliminated:
        return replace(
            self,
            links=self.links.select(rows),
            inverse=self.inverse[rows],
            tie=self.tie[rows],
            border=self.border[rows],
        )

    def forward(self, right: Float[Tensor, "problems frames n"], carried: Float[Tensor, "problems 2 n"]) -> Forward:
        """The right side on its way down; `carried` is what earlier frames leave to the window's first two."""
        right, carried = right.to(self.inverse), carried.to(self.inverse)
        one, two = columns(carried)
        parts = []
        far_ties = self.links.far_ties()
        bands = (columns(right), columns(self.links.far), far_ties, self.inverse.unbind(1), self.tie.unbind(1))
        for here, far, D, P, tie in zip(*bands, strict=True):
            solved = torch.bmm(P, here + one)
            parts.append(solved)
            pushed = far * solved if D is None else torch.bmm(D.mT, solved)
            one, two = torch.baddbmm(two, tie.mT, solved, alpha=-1), -pushed
        solved = torch.stack(parts, dim=1)
        common = (self.border.mT @ solved)[..., 0].sum(dim=1)
        return Forward(solved[..., 0], torch.stack([one, two], dim=1)[..., 0], common)

    def backward(
        self,
        solved: Float[Tensor, "problems frames n"],
        shared: Float[Tensor, "problems m"],
        following: Float[Tensor, "problems 2 n"],
    ) -> Float[Tensor, "problems frames n"]:
        """The window's unknowns, from the last frame to the first; `following` are those of the two frames after it."""
        solved, shared, following = (given.to(self.inverse) for given in (solved, shared, following))
        held = (self.border @ shared[:, None, :, None])[..., 0]
        one, two = columns(following)
        parts: list[Tensor] = []
        far_ties, far_columns = self.links.far_ties(), columns(self.links.far)
        bands = (columns(solved), columns(held), far_columns, far_ties, self.inverse.unbind(1), self.tie.unbind(1))
        for here, rest, far, D, P, tie in zip(*(band[::-1] for band in bands), strict=True):
            rest = torch.baddbmm(rest, tie, one)
            rest = rest.addcmul_(far, two) if D is None else rest.baddbmm_(D, two)
            one, two = torch.baddbmm(here, P, rest, alpha=-1), one
            parts.append(one)
        return torch.stack(parts[::-1], dim=1)[..., 0]


def eliminate(
    own: Float[Tensor, "problems frames n n"], border: Float[Tensor, "problems frames n m"], links: Links, carry: Carry
) -> tuple[Eliminated, Carry, Float[Tensor, "problems m m"]]:
    """Takes a window's frames out one after another; their share of the Schur complement comes last.

    In place: P takes the place of its block, since every further pass over blocks that large would be felt.
    """
    problems, count, n, m = border.shape
    left = Carry.nothing(problems, n, m, own)
    # What is pushed beyond the window is left to the next one.
    owns, borders = [*own.unbind(1), *left.own.unbind(1)], [*border.unbind(1), *left.border.unbind(1)]
    for k in (0, 1):
        owns[k] += carry.own[:, k]
        borders[k] += carry.border[:, k]
    tied, solved = own.new_empty(problems, count + 1, n, n), torch.empty_like(border)
    tied[:, 0] = carry.tie
    ties, near, far = tied.unbind(1), links.near.unbind(1), columns(links.far)
    for k, (PB, d, D) in enumerate(zip(solved.unbind(1), far, links.far_ties(), strict=True)):
        P, tie = owns[k].copy_(inverse(owns[k])), ties[k]
        tie.diagonal(dim1=-2, dim2=-1).add_(near[k])
        if links.near_blocks is not None:
            tie += links.near_blocks[:, k]
        torch.bmm(P, borders[k], out=PB)
        TP = torch.bmm(tie.mT, P)
        owns[k + 1].baddbmm_(TP, tie, alpha=-1)
        borders[k + 1].baddbmm_(tie.mT, PB, alpha=-1)
        if D is None:
            owns[k + 2].addcmul_(d * P, d.mT, value=-1)
            borders[k + 2].addcmul_(d, PB, value=-1)
            torch.mul(TP, -d.mT, out=ties[k + 1])
        else:
            owns[k + 2].baddbmm_(D.mT, torch.bmm(P, D), alpha=-1)
            borders[k + 2].baddbmm_(D.mT, PB, alpha=-1)
            torch.bmm(TP, -D, out=ties[k + 1])
    done = Eliminated(links, own, tied[:, :count], border)
    schur = border.flatten(1, 2).mT @ solved.flatten(1, 2)
    return done, left._replace(tie=tied[:, count].clone()), schur


def columns(vectors: Float[Tensor, "problems frames n"]) -> tuple[Float[Tensor, "problems n 1"], ...]:
    """Frame by frame."""
    return vectors[..., None].unbind(1)


def stiffen(blocks: Float[Tensor, "*batch n n"], damping: Tensor) -> Float[Tensor, "*batch n n"]:
    """Adds damping * diag(blocks) in place; damping has as many axes as *batch.

    An unknown that nothing depends on, such as the place of a head in a frame where nobody saw it, has no curvature:
    it gets the least there is, so that it stays where it is and the others can be solved for.
    """
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    diagonal += damping[..., None] * diagonal.clamp(min=LEAST_CURVATURE)
    return blocks


def inverse(blocks: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Of symmetric positive definite blocks, by Cholesky; NaN where they are not."""
    factor, failed = torch.linalg.cholesky_ex(blocks)
    if not failed.any():
        return torch.cholesky_inverse(factor)
    # A factor that was given up half-way may be singular, and that would be an error for the whole batch.
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    factor = torch.where((failed > 0)[..., None, None], eye, factor)
    return torch.cholesky_inverse(factor).masked_fill((failed > 0)[..., None, None], torch.nan)
