"""The matrix of a clip: frames in a chain, each tied to the next two, all tied to what they share.

        | A_1 d1  d2          B_1 |      A_t  a frame's own block, n x n
        | d1  A_2 d1  d2      B_2 |      d1, d2  diagonal ties to the next frame and the one after: smoothness
    H = | d2  d1  A_3 d1  d2  B_3 |      B_t  its tie to the shared unknowns, n x m
        |          ...            |      C    the shared unknowns' own block, m x m
        | B_1'B_2'B_3'   ...   C  |

Solved exactly: block Cholesky down the chain, Schur complement for the shared block (Golub & Van Loan, 4th ed., 4.5).
Independent problems stand side by side in the first axis. Factored in float64: on a CPU it costs little more, and the
sums over a long clip need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_CURVATURE = 1e-6  # of an unknown, per natural step squared


@dataclass(frozen=True)
class Arrow:
    """The parts of H, float64."""

    own: Float[Tensor, "problems frames n n"]
    next: Float[Tensor, "problems links n"]  # from each frame to the one after
    second: Float[Tensor, "problems pairs n"]  # from each frame to the one after that
    border: Float[Tensor, "problems frames n m"]
    corner: Float[Tensor, "problems m m"]

    @cached_property
    def diagonal(self) -> Float[Tensor, "problems unknowns"]:
        own = self.own.diagonal(dim1=-2, dim2=-1).flatten(1)
        return torch.cat([own, self.corner.diagonal(dim1=-2, dim2=-1)], dim=1)

    def factor(self, damping: Float[Tensor, " problems"]) -> Factor:
        """Factors H + damping * diag(H), one damping per problem. A matrix that is not positive definite gives NaN."""
        own = damped(self.own, damping[:, None])
        inverses: list[Tensor] = []  # of the Cholesky factors L_t of the eliminated blocks
        ties: list[Tensor] = []  # L_{t, t-1}, from the second frame on
        far_ties: list[Tensor] = []  # L_{t, t-2}, from the third on
        borders: list[Tensor] = []  # L_t^-1 of the eliminated border
        for t in range(own.shape[1]):
            block, border = own[:, t], self.border[:, t]
            if t > 0:
                tie = torch.diag_embed(self.next[:, t - 1])
                if t > 1:
                    far = self.second[:, t - 2, :, None] * inverses[t - 2].mT
                    far_ties.append(far)
                    tie = tie - far @ ties[-1].mT
                    block = block - far @ far.mT
                    border = border - far @ borders[t - 2]
                tie = tie @ inverses[t - 1].mT
                ties.append(tie)
                block = block - tie @ tie.mT
                border = border - tie @ borders[t - 1]
            inverses.append(inverse_of_cholesky(block))
            borders.append(inverses[-1] @ border)
        border = torch.stack(borders, dim=1)
        schur = damped(self.corner, damping) - torch.einsum("pfnm,pfnk->pmk", border, border)
        return Factor(torch.stack(inverses, dim=1), ties, far_ties, border, inverse_of_cholesky(schur))


@dataclass(frozen=True)
class Factor:
    """A factored arrow: solves, and gives variances."""

    inverses: Float[Tensor, "problems frames n n"]
    ties: list[Tensor]
    far_ties: list[Tensor]
    border: Float[Tensor, "problems frames n m"]
    corner: Float[Tensor, "problems m m"]  # inverse of the Schur complement's Cholesky factor

    def solve(self, right: Float[Tensor, "problems unknowns"]) -> Float[Tensor, "problems unknowns"]:
        """H^-1 right."""
        problems, frames, n, _ = self.inverses.shape
        own, shared = right[:, : frames * n].double().unflatten(1, (frames, n)), right[:, frames * n :].double()
        down: list[Tensor] = []
        for t in range(frames):
            rest = own[:, t, :, None]
            if t > 0:
                rest = rest - self.ties[t - 1] @ down[t - 1]
            if t > 1:
                rest = rest - self.far_ties[t - 2] @ down[t - 2]
            down.append(self.inverses[:, t] @ rest)
        forward = torch.stack(down, dim=1)
        shared = shared[..., None] - (self.border.mT @ forward).sum(dim=1)
        shared = self.corner.mT @ (self.corner @ shared)
        forward = forward - self.border @ shared[:, None]
        up: list[Tensor] = []  # last frame first
        for t in reversed(range(frames)):
            rest = forward[:, t]
            if t + 1 < frames:
                rest = rest - self.ties[t].mT @ up[-1]
            if t + 2 < frames:
                rest = rest - self.far_ties[t].mT @ up[-2]
            up.append(self.inverses[:, t].mT @ rest)
        found = torch.stack(up[::-1], dim=1)
        return torch.cat([found.flatten(1), shared[..., 0]], dim=1)


def damped(blocks: Float[Tensor, "*batch n n"], damping: Tensor) -> Float[Tensor, "*batch n n"]:
    """blocks + damping * diag(blocks).

    An unknown that nothing depends on, such as the place of a head in a frame where nobody saw it, has no curvature:
    it gets the least there is, so that it stays where it is and the others can be solved for.
    """
    return blocks + torch.diag_embed(damping[..., None] * blocks.diagonal(dim1=-2, dim2=-1).clamp(min=LEAST_CURVATURE))


def inverse_of_cholesky(blocks: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """L^-1 of L L' = blocks; NaN where blocks are not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(blocks)
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    inverse = torch.linalg.solve_triangular(factor, eye.expand_as(blocks), upper=False)
    return inverse.masked_fill((failed > 0)[..., None, None], torch.nan)
