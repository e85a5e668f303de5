"""The matrix of a clip: frames in a chain, each tied to the next two, all tied to what they share.

        | A_1 d1  d2          B_1 |      A_t  a frame's own block, n x n
        | d1  A_2 d1  d2      B_2 |      d1, d2  diagonal ties to the next frame and the one after: smoothness
    H = | d2  d1  A_3 d1  d2  B_3 |      B_t  its tie to the shared unknowns, n x m
        |          ...            |      C    the shared unknowns' own block, m x m
        | B_1'B_2'B_3'   ...   C  |

Factored exactly by block elimination down the chain (`chain.py`) and a Schur complement for the shared block. Frames
come in windows: of a long clip only so many are kept in memory; the others wait in a temporary file (`shelf.py`) or are
built again from what was carried into them. Independent problems stand side by side in the first axis. Frames' own
blocks come in the precision of the unknowns; ties, sums over frames and the elimination are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.solvers import compiled
from fitting.solvers.chain import (
    Carry,
    Eliminated,
    Forward,
    Links,
    Passed,
    Right,
    eliminate,
    inverse,
    stiffen,
    stiffness,
)
from fitting.solvers.shelf import Shelf

KEPT_BYTES = 1 << 30  # in memory: eliminated windows held for the way back, and what a long clip needs in any case
VECTORS = 20  # as long as the unknowns, that solver and objective hold meanwhile


class Blocks(NamedTuple):
    """Some frames of an arrow."""

    own: Float[Tensor, "problems frames n n"]
    border: Float[Tensor, "problems frames n m"]
    corner: Float[Tensor, "problems m m"]  # what these frames add to C, float64


class Step(NamedTuple):
    """The solution of (H + damping diag(H)) x = right, and diag(H)."""

    x: Float[Tensor, "problems unknowns"]
    diagonal: Float[Tensor, "problems unknowns"]


@dataclass(frozen=True)
class Arrow:
    """H, its frames made when asked for."""

    frames: int
    width: int  # n
    shared: int  # m
    window: int  # frames in memory at once
    next: Float[Tensor, "problems links n"]  # d1, from each frame to the one after
    second: Float[Tensor, "problems pairs n"]  # d2, from each frame to the one after that
    corner: Float[Tensor, "problems m m"]  # the part of C that belongs to no frame
    blocks: Callable[[slice], Blocks]
    ties: Callable[[slice], tuple[Tensor, Tensor]] | None = None  # whole blocks beside d1 and d2, zero behind the last
    own: Float[Tensor, "problems frames n"] | None = None  # what ties add to the diagonals of `blocks`
    precision: torch.dtype = torch.float64  # of the unknowns

    def windows(self) -> list[slice]:
        starts = range(0, self.frames, self.window)
        return [slice(first, min(first + self.window, self.frames)) for first in starts]

    def links(self, window: slice) -> Links:
        """Ties of a window's frames, zeros behind the last."""
        count = window.stop - window.start
        bands = (band[:, window.start : window.stop] for band in (self.next, self.second))
        near, far = (torch.nn.functional.pad(band, (0, 0, 0, count - band.shape[1])) for band in bands)
        own = torch.zeros_like(near) if self.own is None else self.own[:, window]
        return Links(own, near, far, *(self.ties(window) if self.ties is not None else ()))

    def select(self, rows: Tensor) -> Arrow:
        """Some of the problems, by number."""
        ties = self.ties
        return replace(
            self,
            next=self.next[rows],
            second=self.second[rows],
            corner=self.corner[rows],
            own=None if self.own is None else self.own[rows],
            blocks=lambda window: Blocks(*(part[rows] for part in self.blocks(window))),
            ties=None if ties is None else lambda window: (ties(window)[0][rows], ties(window)[1][rows]),
        )

    def factor(self, damping: Float[Tensor, " problems"]) -> FactoredFrame | FactoredChain:
        """H + damping diag(H), one damping per problem, ready to be solved with.

        What it gives has `solve(right)` (float64, at the price of a substitution; a problem whose matrix is not
        positive definite gives NaN), `diagonal` of H without the damping, and `select(rows)`: some of the problems.
        """
        return FactoredFrame(self, damping) if self.frames == 1 else FactoredChain(self, damping)

    def solve(self, right: Float[Tensor, "problems unknowns"], damping: Float[Tensor, " problems"]) -> Step:
        factored = self.factor(damping)
        return Step(factored.solve(right), factored.diagonal)


class FactoredFrame:
    """Problems of one frame: dense matrices side by side."""

    def __init__(self, arrow: Arrow, damping: Float[Tensor, " problems"]) -> None:
        own, border, corner = arrow.blocks(slice(0, 1))
        n = arrow.width
        # Only the lower triangle is looked at.
        matrix = arrow.corner.new_empty(len(own), n + arrow.shared, n + arrow.shared)
        matrix[:, :n, :n], matrix[:, n:, :n], matrix[:, n:, n:] = own[:, 0], border[:, 0].mT, arrow.corner + corner
        self.diagonal = matrix.diagonal(dim1=-2, dim2=-1).clone()
        # Read as an upper one, for which LAPACK takes less time.
        self.factor, self.failed = torch.linalg.cholesky_ex(stiffen(matrix, damping).mT, upper=True)

    def solve(self, right: Float[Tensor, "problems unknowns"]) -> Float[Tensor, "problems unknowns"]:
        solved = torch.cholesky_solve(right.to(self.factor)[..., None], self.factor, upper=True)[..., 0]
        return solved.masked_fill((self.failed > 0)[:, None], torch.nan)

    def select(self, rows: Tensor) -> FactoredFrame:
        chosen = object.__new__(FactoredFrame)
        chosen.diagonal, chosen.factor, chosen.failed = self.diagonal[rows], self.factor[rows], self.failed[rows]
        return chosen


class FactoredChain:
    """A clip's matrix, factored in float64 on the way down with the first right side. What the way back needs is kept
    in the precision of the unknowns: in float32 it is half as large, and as exact as the matrix was."""

    def __init__(self, arrow: Arrow, damping: Float[Tensor, " problems"]) -> None:
        self.arrow, self.damping = arrow, damping
        self.carried: list[Carry] = []  # into each window
        self.kept = Shelf(0)
        self.schur_inverse: Tensor | None = None
        self._diagonal: Tensor | None = None

    @property
    def diagonal(self) -> Float[Tensor, "problems unknowns"]:
        """Known for nothing after the first `solve`."""
        if self._diagonal is None:
            unknowns = self.arrow.frames * self.arrow.width + self.arrow.shared
            self.solve(self.damping.new_zeros(len(self.damping), unknowns))
        assert self._diagonal is not None
        return self._diagonal

    def select(self, rows: Tensor) -> FactoredChain:
        chosen = FactoredChain(self.arrow.select(rows), self.damping[rows])
        if self.schur_inverse is not None and self._diagonal is not None:
            chosen.carried = [Carry(*(part[rows] for part in carry)) for carry in self.carried]
            chosen.kept = self.kept.select(rows)
            chosen.schur_inverse, chosen._diagonal = self.schur_inverse[rows], self._diagonal[rows]
        return chosen

    def solve(self, right: Float[Tensor, "problems unknowns"]) -> Float[Tensor, "problems unknowns"]:
        right = right.to(self.arrow.corner)
        border = self.arrow.frames * self.arrow.width
        local, common = right[:, :border].unflatten(1, (self.arrow.frames, self.arrow.width)), right[:, border:]
        windows = self.arrow.windows()
        down = self._further(local) if self.carried else self._factor(local)
        solved = []
        for forward in down:
            solved.append(forward.solved)
            common = common - forward.common
        assert self.schur_inverse is not None
        shared = (self.schur_inverse @ common[..., None])[..., 0]
        parts: list[Tensor] = []
        following = local.new_zeros(len(right), 2, self.arrow.width)
        for number in reversed(range(len(windows))):
            parts.append(self._window(number).backward(solved[number], shared, following).to(right))
            following = torch.cat([parts[-1], following], dim=1)[:, :2]
        return torch.cat([torch.cat(parts[::-1], dim=1).flatten(1), shared], dim=1)

    def _factor(self, local: Float[Tensor, "problems frames n"]) -> Iterator[Forward]:
        """The first way down, window by window."""
        arrow = self.arrow
        carry = Carry.nothing(len(arrow.corner), arrow.width, arrow.shared, arrow.corner)
        corner, schur, diagonals = arrow.corner, torch.zeros_like(arrow.corner), []
        held = VECTORS * 8 * len(corner) * arrow.frames * arrow.width + len(arrow.windows()) * carry.bytes
        self.kept = Shelf(KEPT_BYTES - held)
        carried = local.new_zeros(len(local), 2, arrow.width)
        for window in arrow.windows():
            self.carried.append(carry)
            blocks, links = arrow.blocks(window), arrow.links(window)
            diagonals.append((blocks.own.diagonal(dim1=-2, dim2=-1).double() + links.own).flatten(1))
            passed = self._eliminate(blocks, links, carry, Right(local[:, window], carried))
            assert passed.forward is not None
            carry, carried = passed.carry, passed.forward.carried
            corner, schur = corner + blocks.corner, schur + passed.schur
            self.kept.put(window.start, passed.done, window.stop == arrow.frames)
            yield passed.forward
        self._diagonal = torch.cat([*diagonals, corner.diagonal(dim1=-2, dim2=-1)], dim=1)
        self.schur_inverse = inverse(stiffen(corner.clone(), self.damping) - schur)

    def _further(self, local: Float[Tensor, "problems frames n"]) -> Iterator[Forward]:
        """The way down of another right side."""
        carried = local.new_zeros(len(local), 2, self.arrow.width)
        for number, window in enumerate(self.arrow.windows()):
            forward = self._window(number).forward(Right(local[:, window], carried))
            carried = forward.carried
            yield forward

    def _window(self, number: int) -> Eliminated:
        window = self.arrow.windows()[number]
        known = self.kept.get(window.start, self.damping.device)
        if known is not None:
            return known
        return self._eliminate(self.arrow.blocks(window), self.arrow.links(window), self.carried[number]).done

    def _eliminate(self, blocks: Blocks, links: Links, carry: Carry, right: Right | None = None) -> Passed:
        diagonal = blocks.own.diagonal(dim1=-2, dim2=-1).double() + links.own
        stiffer = links._replace(own=links.own + stiffness(diagonal, self.damping[:, None]))
        precision = self.arrow.precision
        if compiled.takes_chains(len(diagonal), self.arrow.frames, stiffer):
            return compiled.eliminate(blocks.own, blocks.border, stiffer, carry, right, precision)
        return eliminate(blocks.own, blocks.border, stiffer, carry, right, precision, right is not None)


Factored = FactoredFrame | FactoredChain
