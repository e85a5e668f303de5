"""Elimination of some frames of a chain, one after another (Golub & Van Loan, 4th ed., 4.2.9 and 4.5).

With P_t the inverse of frame t's block when its turn comes and T_t its tie to the next frame,

    A_t+1 -= T_t P_t T_t'    T_t+1 -= d2 P_t T_t'    A_t+2 -= d2 P_t d2    (and the same for B and the right side)

Independent problems stand side by side in the first axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_CURVATURE = 1e-3  # of an unknown, per natural step squared
TOGETHER = 8  # frames whose share of the Schur complement is one product: where it is large, adding to it is what costs


class Links(NamedTuple):
    """Ties of a window's frames (rows) to later ones (columns); zero where there is no such frame. Float64: where only
    ties hold frames, over a long gap, single precision would leave them indefinite."""

    own: Float[Tensor, "problems frames n"]  # what ties add to the diagonals of the frames' own blocks
    near: Float[Tensor, "problems frames n"]  # diagonal, to the next frame
    far: Float[Tensor, "problems frames n"]  # to the one after that
    near_blocks: Float[Tensor, "problems frames n n"] | None = None  # whole blocks beside the diagonals
    far_blocks: Float[Tensor, "problems frames n n"] | None = None

    def select(self, rows: Tensor) -> Links:
        return Links(*(part[rows] for part in self[:3]), *(None if part is None else part[rows] for part in self[3:]))

    def to(self, dtype: torch.dtype) -> Links:
        return Links(*(p.to(dtype) for p in self[:3]), *(None if p is None else p.to(dtype) for p in self[3:]))

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


class Right(NamedTuple):
    """A right side on its way down."""

    here: Float[Tensor, "problems frames n"]
    carried: Float[Tensor, "problems 2 n"]  # what earlier frames leave to the window's first two


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

    def select(self, rows: Tensor) -> Eliminated:
        return replace(
            self,
            links=self.links.select(rows),
            inverse=self.inverse[rows],
            tie=self.tie[rows],
            border=self.border[rows],
        )

    def forward(self, right: Right) -> Forward:
        """A further right side's way down."""
        here, carried = (given.to(self.inverse) for given in right)
        one, two = columns(carried)
        parts = []
        far_ties = self.links.far_ties()
        bands = (columns(here), columns(self.links.far), far_ties, self.inverse.unbind(1), self.tie.unbind(1))
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


class Passed(NamedTuple):
    """What is left of a window after elimination, and what it leaves behind."""

    done: Eliminated
    carry: Carry
    schur: Float[Tensor, "problems m m"]  # to be taken from the shared unknowns' block; zero if not asked for
    forward: Forward | None  # of the right side that came along


def eliminate(
    own: Float[Tensor, "problems frames n n"],
    border: Float[Tensor, "problems frames n m"],
    links: Links,
    carry: Carry,
    right: Right | None = None,
    precision: torch.dtype = torch.float64,
    with_schur: bool = True,
) -> Passed:
    """Takes a window's frames out one after another, in float64; what is kept of them is kept in `precision`.

    A frame's row [A | B | right side] is one matrix, so that a frame costs two large products. The right side comes
    along for nothing (and with the Schur complement).
    """
    problems, count, n, m = border.shape
    rows = Rows(own, border, links.own, right)
    done = Eliminated(
        links.to(precision),
        *(border.new_empty(problems, count, n, size, dtype=precision) for size in (n, n, m)),
    )
    work = Work.blank(problems, n, rows.width, carry.tie)
    tie, solved, schur = carry.tie.clone(), [], carry.tie.new_zeros(problems, rows.width - n, rows.width - n)
    far, far_ties = columns(links.far), links.far_ties()
    rows.load(0, work.rows[:, :2])
    rows.carry(carry, work.rows[:, :2])
    for first in range(0, count, TOGETHER):
        some = slice(first, min(first + TOGETHER, count))
        size = some.stop - first
        rows.load(first + 2, work.rows[:, 2 : size + 2])
        for k in range(size):
            tie.diagonal(dim1=-2, dim2=-1).add_(links.near[:, first + k])
            if links.near_blocks is not None:
                tie += links.near_blocks[:, first + k]
            tie = work.take_out(k, tie, far[first + k], far_ties[first + k])
        done.inverse[:, some], done.tie[:, some] = work.inverses[:, :size], work.rows[:, :size, :, :n]
        done.border[:, some] = work.rows[:, :size, :, n : n + m]
        solved.append(work.solutions[:, :size, :, -1].clone())
        if with_schur:
            schur.baddbmm_(*work.borders(size))
        work.rows[:, :2] = work.rows[:, size : size + 2].clone()
    left = work.rows[:, :2]
    forward = None if right is None else Forward(torch.cat(solved, dim=1), left[..., -1].clone(), schur[:, :m, m])
    behind = Carry(left[..., :n].clone(), left[..., n : n + m].clone(), tie)
    return Passed(done, behind, schur[:, :m, :m], forward)


class Work(NamedTuple):
    """Some frames under elimination, and the two behind them: [A | B | right side] of each, A replaced by the tie to
    the next when it is done with."""

    rows: Float[Tensor, "problems some_and_2 n width"]
    solutions: Float[Tensor, "problems some n width"]  # P [tie | B | right side]
    inverses: Float[Tensor, "problems some n n"]  # P

    @staticmethod
    def blank(problems: int, n: int, width: int, like: Tensor) -> Work:
        shapes = ((TOGETHER + 2, n, width), (TOGETHER, n, width), (TOGETHER, n, n))
        return Work(*(like.new_empty(problems, *shape) for shape in shapes))

    def take_out(self, k: int, tie: Tensor, d: Float[Tensor, "problems n 1"], D: Tensor | None) -> Tensor:
        """Eliminates frame k, tied to the next by `tie` and to the one after that by diagonals d and maybe D; gives the
        tie of those two."""
        here, next, second, solution = self.rows[:, k], self.rows[:, k + 1], self.rows[:, k + 2], self.solutions[:, k]
        n = here.shape[1]
        P = inverse(here[..., :n])
        self.inverses[:, k], here[..., :n] = P, tie
        torch.bmm(P, here, out=solution)
        next.baddbmm_(tie.mT, solution, alpha=-1)
        if D is None:
            second[..., :n].addcmul_(d * P, d.mT, value=-1)
            second[..., n:].addcmul_(d, solution[..., n:], value=-1)
            return torch.mul(solution[..., :n].mT, -d.mT, out=tie)
        second[..., :n].baddbmm_(D.mT, torch.bmm(P, D), alpha=-1)
        second[..., n:].baddbmm_(D.mT, solution[..., n:], alpha=-1)
        return torch.bmm(solution[..., :n].mT, -D)

    def borders(self, size: int) -> tuple[Tensor, Tensor]:
        """B' and P B of the first frames, one below the other, right sides included."""
        n = self.rows.shape[2]
        left, right = (part[:, :size].flatten(1, 2)[..., n:] for part in (self.rows, self.solutions))
        return left.mT, right


class Rows:
    """[A | B | right side] of every frame, in float64 when its turn comes; zero behind the window."""

    def __init__(self, own: Tensor, border: Tensor, stiffness: Tensor, right: Right | None) -> None:
        self.own, self.border, self.stiffness, self.right = own, border, stiffness, right
        self.count, self.n, self.m = border.shape[1:]
        self.width = self.n + self.m + (right is not None)

    def load(self, first: int, rows: Float[Tensor, "problems some n width"]) -> None:
        some = slice(first, min(first + rows.shape[1], self.count))
        size = max(some.stop - first, 0)
        rows[:, size:].zero_()
        if size == 0:
            return
        rows = rows[:, :size]
        rows[..., : self.n], rows[..., self.n : self.n + self.m] = self.own[:, some], self.border[:, some]
        rows.diagonal(dim1=-2, dim2=-1).add_(self.stiffness[:, some])
        if self.right is not None:
            rows[..., -1] = self.right.here[:, some]

    def carry(self, carry: Carry, rows: Float[Tensor, "problems 2 n width"]) -> None:
        rows[..., : self.n] += carry.own
        rows[..., self.n : self.n + self.m] += carry.border
        if self.right is not None:
            rows[..., -1] += self.right.carried


def columns(vectors: Float[Tensor, "problems frames n"]) -> tuple[Float[Tensor, "problems n 1"], ...]:
    """Frame by frame."""
    return vectors[..., None].unbind(1)


def stiffen(blocks: Float[Tensor, "*batch n n"], damping: Tensor) -> Float[Tensor, "*batch n n"]:
    """Adds damping * diag(blocks) in place; damping has as many axes as *batch."""
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    diagonal += stiffness(diagonal, damping)
    return blocks


def stiffness(diagonal: Float[Tensor, "*batch n"], damping: Tensor) -> Float[Tensor, "*batch n"]:
    """What damping adds to a diagonal.

    An unknown that nothing depends on, such as the place of a head in a frame where nobody saw it, has no curvature:
    it gets the least there is, so that it stays where it is and the others can be solved for.
    """
    return damping[..., None] * diagonal.clamp(min=LEAST_CURVATURE)


def inverse(blocks: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Of symmetric positive definite blocks, by Cholesky; NaN where they are not."""
    # The lower triangle read as an upper one: LAPACK takes a tenth less for both.
    factor, failed = torch.linalg.cholesky_ex(blocks.mT, upper=True)
    if not failed.any():
        return torch.cholesky_inverse(factor, upper=True)
    # A factor that was given up half-way may be singular, and that would be an error for the whole batch.
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    factor = torch.where((failed > 0)[..., None, None], eye, factor)
    return torch.cholesky_inverse(factor, upper=True).masked_fill((failed > 0)[..., None, None], torch.nan)
