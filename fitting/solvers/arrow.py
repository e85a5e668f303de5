"""The matrix of a clip: frames in a chain, each tied to the next two, all tied to what they share.

        | A_1 d1  d2          B_1 |      A_t  a frame's own block, n x n
        | d1  A_2 d1  d2      B_2 |      d1, d2  diagonal ties to the next frame and the one after: smoothness
    H = | d2  d1  A_3 d1  d2  B_3 |      B_t  its tie to the shared unknowns, n x m
        |          ...            |      C    the shared unknowns' own block, m x m
        | B_1'B_2'B_3'   ...   C  |

Solved exactly by block elimination down the chain and a Schur complement for the shared block (Golub & Van Loan, 4th
ed., 4.2.9 and 4.5): with P_t the inverse of frame t's block when its turn comes and T_t its tie to the next frame,

    A_t+1 -= T_t P_t T_t'    T_t+1 -= d2 P_t T_t'    A_t+2 -= d2 P_t d2    (and the same for B and the right side)

two products of n x n matrices a frame, since d2 is diagonal. Frames come in windows: of a long clip only so many are
kept in memory, the others are built again on the way back from what was carried into them on the way down.
Independent problems stand side by side in the first axis. All in float64: on a CPU it costs little more, and the sums
over a long clip need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Blocks(NamedTuple):
    """Some frames of an arrow, float64."""

    own: Float[Tensor, "problems frames n n"]
    border: Float[Tensor, "problems frames n m"]
    corner: Float[Tensor, "problems m m"]  # what these frames add to C


class Carry(NamedTuple):
    """What eliminated frames leave to the two that follow them."""

    own: Float[Tensor, "problems 2 n n"]
    border: Float[Tensor, "problems 2 n m"]
    right: Float[Tensor, "problems 2 n"]
    tie: Float[Tensor, "problems n n"]  # between the two

    @staticmethod
    def nothing(problems: int, n: int, m: int, like: Tensor) -> Carry:
        zeros = like.new_zeros
        return Carry(zeros(problems, 2, n, n), zeros(problems, 2, n, m), zeros(problems, 2, n), zeros(problems, n, n))


class Eliminated(NamedTuple):
    """A window's frames after elimination: what the way back needs, one entry per frame."""

    inverse: list[Tensor]  # P
    tie: list[Tensor]  # T, to the next frame
    border: list[Tensor]  # B when its turn came
    solved: list[Tensor]  # P B
    right: list[Tensor]  # the right side when its turn came


class Step(NamedTuple):
    """The solution of (H + damping diag(H)) x = right, and diag(H)."""

    x: Float[Tensor, "problems unknowns"]
    diagonal: Float[Tensor, "problems unknowns"]


class FrameCovariance(NamedTuple):
    """Of one frame's unknowns, of these with the shared ones, and of the shared ones."""

    frame: int
    own: Float[Tensor, "problems n n"]
    cross: Float[Tensor, "problems n m"]
    shared: Float[Tensor, "problems m m"]


LEAST_CURVATURE = 1e-3  # of an unknown, per natural step squared
KEPT_BYTES = 1 << 30  # of eliminated windows held for the way back


@dataclass(frozen=True)
class Arrow:
    """H, its frames made when asked for: `blocks(window)`."""

    frames: int
    width: int  # n
    shared: int  # m
    window: int  # frames in memory at once
    next: Float[Tensor, "problems links n"]  # d1, from each frame to the one after
    second: Float[Tensor, "problems pairs n"]  # d2, from each frame to the one after that
    corner: Float[Tensor, "problems m m"]  # the part of C that belongs to no frame
    blocks: Callable[[slice], Blocks]

    def windows(self) -> list[slice]:
        starts = range(0, self.frames, self.window)
        return [slice(first, min(first + self.window, self.frames)) for first in starts]

    def solve(self, right: Float[Tensor, "problems unknowns"], damping: Float[Tensor, " problems"]) -> Step:
        """One damping per problem. A problem whose matrix is not positive definite gives NaN."""
        problems, n, m = len(right), self.width, self.shared
        local = right[:, : self.frames * n].double().unflatten(1, (self.frames, n))
        common = right[:, self.frames * n :].double()
        carry = Carry.nothing(problems, n, m, self.corner)
        corner, schur = self.corner, common.new_zeros(problems, m, m)
        carried, diagonals, kept, bytes_kept = [], [], {}, 0
        for window in self.windows():
            carried.append(carry)
            blocks = self.blocks(window)
            diagonals.append(blocks.own.diagonal(dim1=-2, dim2=-1))
            done, carry = self._eliminate(window, blocks, local[:, window], carry, damping)
            corner = corner + blocks.corner
            schur, common = self._reduce(done, schur, common)
            if bytes_kept < KEPT_BYTES or window.stop == self.frames:
                kept[window.start] = done
                bytes_kept += 8 * problems * (window.stop - window.start) * n * (2 * n + 2 * m)
        diagonal = torch.cat([torch.cat(diagonals, dim=1).flatten(1), corner.diagonal(dim1=-2, dim2=-1)], dim=1)
        found = (inverse(stiffen(corner.clone(), damping) - schur) @ common[..., None])[..., 0]

        parts: list[Tensor] = []
        following = local.new_zeros(problems, 2, n)
        for window, came in reversed(list(zip(self.windows(), carried, strict=True))):
            known = kept.pop(window.start, None)
            if known is not None:
                done = known
            else:
                done, _ = self._eliminate(window, self.blocks(window), local[:, window], came, damping)
            parts.append(self._substitute(window, done, found, following))
            following = torch.cat([parts[-1], following], dim=1)[:, :2]
        return Step(torch.cat([torch.cat(parts[::-1], dim=1).flatten(1), found], dim=1), diagonal)

    def covariances(self) -> Iterator[FrameCovariance]:
        """H^-1 frame by frame, from the last to the first: each frame's own block and its block with the shared
        unknowns, and the shared block itself. Exact (Rauch, Tung & Striebel, 1965, for this chain)."""
        problems, n, m = len(self.corner), self.width, self.shared
        carry, carried = Carry.nothing(problems, n, m, self.corner), []
        zeros = self.corner.new_zeros
        nothing, undamped = zeros(problems, self.frames, n), zeros(problems)
        corner, schur = self.corner, zeros(problems, m, m)
        for window in self.windows():
            carried.append(carry)
            blocks = self._symmetric_blocks(window)
            done, carry = self._eliminate(window, blocks, nothing[:, window], carry, undamped)
            corner = corner + blocks.corner
            schur, _ = self._reduce(done, schur, zeros(problems, m))
        shared = inverse(corner - schur)
        # Of the two frames that follow and the shared unknowns, in this order; frames that do not exist are still.
        joint = zeros(problems, 2 * n + m, 2 * n + m)
        joint[:, 2 * n :, 2 * n :] = shared
        for window, came in reversed(list(zip(self.windows(), carried, strict=True))):
            if window.stop < self.frames:
                done, _ = self._eliminate(window, self._symmetric_blocks(window), nothing[:, window], came, undamped)
            for k in reversed(range(window.stop - window.start)):
                t = window.start + k
                far = self.second[:, t] if t + 2 < self.frames else zeros(problems, n)
                lever = torch.cat([done.tie[k].mT, torch.diag_embed(far), done.border[k]], dim=2)
                gain = -done.inverse[k] @ lever
                across = gain @ joint  # of this frame with the two that follow and the shared ones
                own = done.inverse[k] + across @ gain.mT
                # Rounding's skew part would grow on the way back: only congruences are stable here.
                own = 0.5 * (own + own.mT)
                yield FrameCovariance(t, own, across[:, :, 2 * n :], shared)
                joint = _push(joint, own, across, n)

    def _symmetric_blocks(self, window: slice) -> Blocks:
        """Products in float32 are symmetric to their own rounding only, which the way back would amplify. An unknown
        without any curvature gets the least there is: its variance is large, the others' are theirs."""
        own, border, corner = self.blocks(window)
        own = 0.5 * (own + own.mT)
        diagonal = own.diagonal(dim1=-2, dim2=-1)
        diagonal += LEAST_CURVATURE * (diagonal < LEAST_CURVATURE)
        return Blocks(own, border, 0.5 * (corner + corner.mT))

    def _eliminate(
        self, window: slice, blocks: Blocks, right: Tensor, carry: Carry, damping: Tensor
    ) -> tuple[Eliminated, Carry]:
        """Takes a window's frames out one after another."""
        count = window.stop - window.start
        # Two rows of nothing behind: what is pushed beyond the window starts from there.
        own = pad_frames(blocks.own, 2)
        stiffen(own[:, :count], damping[:, None])
        borders, rights = pad_frames(blocks.border, 2), pad_frames(right, 2)
        own[:, :2] += carry.own
        borders[:, :2] += carry.border
        rights[:, :2] += carry.right
        first, last = window.start, self.frames - 1
        near, far = pad_frames(self.next[:, first : window.stop], 2), pad_frames(self.second[:, first : window.stop], 2)
        done, later_tie = Eliminated([], [], [], [], []), carry.tie.clone()
        block, border, side = own[:, 0], borders[:, 0], rights[:, 0]
        block_after, border_after, side_after = own[:, 1], borders[:, 1], rights[:, 1]
        for k in range(count):
            P = inverse(block)
            tie = later_tie  # from this frame (columns) to the next (rows)
            tie.diagonal(dim1=-2, dim2=-1).add_(near[:, k])
            solved = P @ border
            for store, item in zip(done, (P, tie, border, solved, side), strict=True):
                store.append(item)
            if first + k == last:
                return done, carry  # nothing follows that it could be carried to
            d, TP = far[:, k, :, None], tie @ P
            side_solved = P @ side[..., None]
            block = torch.baddbmm(block_after, TP, tie.mT, alpha=-1)
            border = torch.baddbmm(border_after, tie, solved, alpha=-1)
            side = side_after - (tie @ side_solved)[..., 0]
            block_after = torch.addcmul(own[:, k + 2], d * P, d.mT, value=-1)
            border_after = torch.addcmul(borders[:, k + 2], d, solved, value=-1)
            side_after = rights[:, k + 2] - (d * side_solved)[..., 0]
            later_tie = -d * TP.mT
        left = Carry(
            torch.stack([block, block_after], dim=1),
            torch.stack([border, border_after], dim=1),
            torch.stack([side, side_after], dim=1),
            later_tie,
        )
        return done, left

    def _reduce(self, done: Eliminated, schur: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        """The frames' share of the Schur complement, and of the shared right side."""
        if self.shared == 0:
            return schur, common
        border, solved = torch.cat(done.border, dim=1), torch.cat(done.solved, dim=1)
        schur = schur + border.mT @ solved
        return schur, common - (solved.mT @ torch.cat(done.right, dim=1)[..., None])[..., 0]

    def _substitute(self, window: slice, done: Eliminated, found: Tensor, following: Tensor) -> Tensor:
        """A window's unknowns, from the last frame to the first; `following` are those of the two frames after it."""
        one, two = following[:, 0], following[:, 1]
        parts: list[Tensor] = []
        for k in reversed(range(len(done.inverse))):
            t = window.start + k
            rest = done.right[k] - (done.border[k] @ found[..., None])[..., 0]
            if t + 1 < self.frames:
                rest = rest - (done.tie[k].mT @ one[..., None])[..., 0]
            if t + 2 < self.frames:
                rest = rest - self.second[:, t] * two
            one, two = (done.inverse[k] @ rest[..., None])[..., 0], one
            parts.append(one)
        return torch.stack(parts[::-1], dim=1)


def _push(joint: Tensor, own: Tensor, across: Tensor, n: int) -> Tensor:
    """The covariance of (this frame, the next, shared) from that of (the next, the one after, shared)."""
    kept = torch.cat([torch.arange(n), torch.arange(2 * n, joint.shape[1])]).to(joint.device)
    rest = joint[:, kept[:, None], kept]
    tie = across[:, :, kept]
    return torch.cat([torch.cat([own, tie], dim=2), torch.cat([tie.mT, rest], dim=2)], dim=1)


def pad_frames(values: Float[Tensor, "problems frames ..."], more: int) -> Tensor:
    """A copy with rows of zeros behind."""
    return torch.cat([values, values.new_zeros(len(values), more, *values.shape[2:])], dim=1)


def stiffen(blocks: Float[Tensor, "*batch n n"], damping: Tensor) -> Float[Tensor, "*batch n n"]:
    """Adds damping * diag(blocks) in place.

    An unknown that nothing depends on, such as the place of a head in a frame where nobody saw it, has no curvature:
    it gets the least there is, so that it stays where it is and the others can be solved for.
    """
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    diagonal += damping[..., None] * diagonal.clamp(min=LEAST_CURVATURE)
    return blocks


def inverse(blocks: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Of symmetric positive definite blocks, by Cholesky; NaN where they are not."""
    factor, failed = torch.linalg.cholesky_ex(blocks)
    # A factor that was given up half-way may be singular, and that would be an error for the whole batch.
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    factor = torch.where((failed > 0)[..., None, None], eye, factor)
    return torch.cholesky_inverse(factor).masked_fill((failed > 0)[..., None, None], torch.nan)
