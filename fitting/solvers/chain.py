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
    solved = border.new_empty(problems, count, n, dtype=torch.float64)
    here, next, second = rows.blank(), rows.blank(), rows.blank()
    for k, row in enumerate((here, next)):
        rows.load(k, row)
        rows.carry(k, carry, row)
    tie, schur = carry.tie.clone(), Schur(problems, n, rows.width - n if with_schur else 0, carry.tie)
    for k, (d, D) in enumerate(zip(columns(links.far), links.far_ties(), strict=True)):
        rows.load(k + 2, second)
        P = inverse(here[..., :n])
        tie.diagonal(dim1=-2, dim2=-1).add_(links.near[:, k])
        if links.near_blocks is not None:
            tie += links.near_blocks[:, k]
        done.inverse[:, k], done.tie[:, k], done.border[:, k] = P, tie, here[..., n : n + m]
        here[..., :n] = tie  # A is done with
        solution = torch.bmm(P, here)
        next.baddbmm_(tie.mT, solution, alpha=-1)
        if with_schur:
            schur.add(here[..., n:], solution[..., n:])
        if D is None:
            second[..., :n].addcmul_(d * P, d.mT, value=-1)
            second[..., n:].addcmul_(d, solution[..., n:], value=-1)
            torch.mul(solution[..., :n].mT, -d.mT, out=tie)
        else:
            second[..., :n].baddbmm_(D.mT, torch.bmm(P, D), alpha=-1)
            second[..., n:].baddbmm_(D.mT, solution[..., n:], alpha=-1)
            torch.bmm(solution[..., :n].mT, -D, out=tie)
        solved[:, k] = solution[..., -1]
        here, next, second = next, second, here
    left = torch.stack([here, next], dim=1)
    share = schur.total()
    forward = None if right is None else Forward(solved, left[..., -1], share[:, :m, m])
    return Passed(done, Carry(left[..., :n], left[..., n : n + m], tie), share[:, :m, :m], forward)


class Schur:
    """The sum of B' P B over frames, some of them at a time."""

    def __init__(self, problems: int, n: int, width: int, like: Tensor) -> None:
        self.sum = like.new_zeros(problems, width, width)
        self.left, self.right = like.new_empty(2, problems, TOGETHER * n, width)
        self.n, self.count = n, 0

    def add(self, border: Float[Tensor, "problems n width"], solution: Float[Tensor, "problems n width"]) -> None:
        place = slice(self.count * self.n, (self.count + 1) * self.n)
        self.left[:, place], self.right[:, place] = border, solution
        self.count += 1
        if self.count == TOGETHER:
            self._flush()

    def total(self) -> Float[Tensor, "problems width width"]:
        if self.count:
            self._flush()
        return self.sum

    def _flush(self) -> None:
        filled = slice(0, self.count * self.n)
        self.sum.baddbmm_(self.left[:, filled].mT, self.right[:, filled])
        self.count = 0


class Rows:
    """[A | B | right side] of every frame, in float64 when its turn comes; zero behind the window."""

    def __init__(self, own: Tensor, border: Tensor, stiffness: Tensor, right: Right | None) -> None:
        self.own, self.border, self.stiffness, self.right = own, border, stiffness, right
        self.problems, self.count, self.n, self.m = border.shape
        self.width = self.n + self.m + (right is not None)

    def blank(self) -> Float[Tensor, "problems n width"]:
        return self.border.new_empty(self.problems, self.n, self.width, dtype=torch.float64)

    def load(self, k: int, row: Float[Tensor, "problems n width"]) -> None:
        if k >= self.count:
            row.zero_()
            return
        row[..., : self.n], row[..., self.n : self.n + self.m] = self.own[:, k], self.border[:, k]
        row.diagonal(dim1=-2, dim2=-1).add_(self.stiffness[:, k])
        if self.right is not None:
            row[..., -1] = self.right.here[:, k]

    def carry(self, k: int, carry: Carry, row: Float[Tensor, "problems n width"]) -> None:
        row[..., : self.n] += carry.own[:, k]
        row[..., self.n : self.n + self.m] += carry.border[:, k]
        if self.right is not None:
            row[..., -1] += self.right.carried[:, k]


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
    factor, failed = torch.linalg.cholesky_ex(blocks)
    if not failed.any():
        return torch.cholesky_inverse(factor)
    # A factor that was given up half-way may be singular, and that would be an error for the whole batch.
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    factor = torch.where((failed > 0)[..., None, None], eye, factor)
    return torch.cholesky_inverse(factor).masked_fill((failed > 0)[..., None, None], torch.nan)
