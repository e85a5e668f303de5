"""What is compiled where numba is installed: the elimination of one long chain's frames (`chain.py`) and the steps of
many small problems (`saddle_free.py`), the same sums in half the time.

What is gained are passes over memory, each entry being converted, summed and scaled once; the work of calling torch for
each small matrix; and inverses by sweeps, which LAPACK's take twice as long as.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.compiled import alone, is_there
from fitting.solvers.chain import TOGETHER, Carry, Eliminated, Forward, Links, Passed, Right

LEAST_FRAMES = 256  # of a chain: to load the code takes as long as it saves on so many


def takes_chains(problems: int, frames: int, links: Links) -> bool:
    """A single long one on the CPU with diagonal ties."""
    is_plain = links.near_blocks is None and links.own.device.type == "cpu"
    return is_plain and problems == 1 and frames >= LEAST_FRAMES and is_there()


def definite_steps(
    matrix: Float[Tensor, "problems n n"],
    gradient: Float[Tensor, "problems n"],
    scale: Float[Tensor, "problems n"],
    reach: Float[Tensor, "problems n"],
    rows: Int[Tensor, " rows"],
    damping: Float[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, " rows"]]:
    """As `saddle_free.solve`, of some problems by number; the decrease is NaN where a matrix is not definite."""
    from fitting.solvers.kernel_newton import take_steps

    step, predicted = gradient.new_zeros(len(rows), gradient.shape[1]), gradient.new_empty(len(rows))
    with alone():
        take_steps(*(t.numpy() for t in (matrix, gradient, scale, reach, rows, damping, step, predicted)))
    return step, predicted


class CompiledWindow(Eliminated):
    """One problem's frames after elimination; right sides go down and up by compiled code, summed in float64."""

    def forward(self, right: Right) -> Forward:
        from fitting.solvers.kernel import push

        here, carried = right.here.double(), in_place(right.carried.double())
        solved, common = torch.empty_like(here), here.new_zeros(1, self.border.shape[3])
        push(*arrays(self.inverse, self.tie, self.border, self.links.far, here, carried, solved, common))
        return Forward(solved, carried, common)

    def backward(
        self,
        solved: Float[Tensor, "problems frames n"],
        shared: Float[Tensor, "problems m"],
        following: Float[Tensor, "problems 2 n"],
    ) -> Float[Tensor, "problems frames n"]:
        from fitting.solvers.kernel import pull

        found = torch.empty_like(solved, dtype=torch.float64)
        given = (solved.double(), shared.double(), following.double())
        pull(*arrays(self.inverse, self.tie, self.border, self.links.far, *given, found))
        return found


def eliminate(
    own: Float[Tensor, "1 frames n n"],
    border: Float[Tensor, "1 frames n m"],
    links: Links,
    carry: Carry,
    right: Right | None,
    precision: torch.dtype,
) -> Passed:
    """As `chain.eliminate`, for one problem."""
    from fitting.solvers.kernel import take_out

    _, count, n, m = border.shape
    kept = CompiledWindow(links.to(precision), *(border.new_empty(1, count, n, k, dtype=precision) for k in (n, n, m)))
    here, carried = right or Right(links.own.new_zeros(1, count, n), links.own.new_zeros(1, 2, n))
    # In place: what is carried in becomes what is carried out.
    carried_own, tie = in_place(carry.own), in_place(carry.tie)
    carried_border = torch.cat([carry.border, carried[..., None]], dim=-1)
    schur, solved = tie.new_zeros(1, m + 1, m + 1), tie.new_empty(1, count, n)
    given = arrays(own, border, here, links.own, links.near, links.far, carried_own, carried_border, tie)
    with alone():
        take_out(*given, *arrays(kept.inverse, kept.tie, kept.border, solved, schur), TOGETHER)
    forward = None if right is None else Forward(solved, carried_border[..., m], schur[:, :m, m])
    return Passed(kept, Carry(carried_own, carried_border[..., :m], tie), schur[:, :m, :m], forward)


def in_place(tensor: Tensor) -> Tensor:
    """A copy that `arrays` shares."""
    return tensor.clone(memory_format=torch.contiguous_format)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The first problem's, row by row in memory."""
    return [tensor[0].contiguous().numpy() for tensor in tensors]
