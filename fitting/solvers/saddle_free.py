"""Newton's method over a batch of independent problems whose matrices may be indefinite: steps lead downhill along
directions of negative curvature too, and away from saddles.

A matrix is factored as L D L' (Bunch & Kaufman, 1977) and D, of blocks 1 x 1 and 2 x 2, replaced by its absolute value:
the modified factorisation of Cheng & Higham (1998), and in the sense of Dauphin et al. (2014) saddle-free. Adding a
multiple of the diagonal instead makes all directions pay for the worst.

Where little holds an unknown, a Newton step is as long as its gradient is large, longer than any quadratic holds: the
matrix gets |gradient| / REACH on its diagonal, which vanishes with the gradient (after Li et al., Truncated regularized
Newton, 2009), so that no unknown alone goes further than REACH natural steps. What is rejected is damped as in `lm`.

Trial points cost a value each and no derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.solvers.base import Minimum, SolverOptions
from fitting.types import Stop

REACH = 3.0  # natural steps
FIRST_DAMPING = 1e-6
LEAST, GREATEST = 1e-9, 1e8
RETRY = 1e-3  # least damping after a rejected step
FAITHFUL = 1e-2  # damping up to which the matrix is the objective's own
QUIET = 3  # small decreases in a row that end a problem
SMALLEST = 1e-12  # of D, where the matrix has a diagonal of ones


class Model(NamedTuple):
    """An objective to second order at some point of each problem."""

    gradient: Float[Tensor, "rows unknowns"]
    matrix: Float[Tensor, "rows unknowns unknowns"]
    scale: Float[Tensor, "rows unknowns"]  # above 0: what the damping multiplies


class Bending(Protocol):
    """What is minimised: independent problems, asked for by number; x holds the unknowns of those asked for."""

    def value(self, x: Tensor, rows: Tensor) -> Float[Tensor, " rows"]: ...

    def model(self, x: Tensor, rows: Tensor) -> Model: ...


@dataclass
class State:
    """Where every problem of the batch is; changed in place."""

    x: Float[Tensor, "problems unknowns"]
    value: Float[Tensor, " problems"]
    model: Model
    damping: Float[Tensor, " problems"]
    iterations: Int[Tensor, " problems"]
    quiet: Int[Tensor, " problems"]
    running: Bool[Tensor, " problems"]
    stale: Bool[Tensor, " problems"]  # moved since its model was made
    stop: list[Stop]

    @staticmethod
    def begin(objective: Bending, x: Tensor) -> State:
        problems, n = x.shape
        value = objective.value(x, torch.arange(problems, device=x.device))
        nothing, zeros = torch.zeros(problems, dtype=torch.long, device=x.device), value.new_zeros
        finite = torch.isfinite(value)
        return State(
            x=x.clone(),
            value=value,
            model=Model(zeros(problems, n), zeros(problems, n, n), zeros(problems, n)),
            damping=torch.full_like(value, FIRST_DAMPING),
            iterations=nothing,
            quiet=nothing.clone(),
            running=finite,
            stale=torch.ones_like(finite),
            stop=[Stop.MAX_ITERATIONS if ok else Stop.NOT_FINITE for ok in finite.tolist()],
        )

    def refresh(self, objective: Bending, rows: Tensor) -> None:
        """New models of those that have moved."""
        moved = rows[self.stale[rows]]
        if len(moved):
            for kept, made in zip(self.model, objective.model(self.x[moved], moved), strict=True):
                kept[moved] = made.to(kept)
            self.stale[moved] = False

    def finish(self, rows: Tensor, reason: Stop) -> None:
        self.running[rows] = False
        for row in rows.tolist():
            self.stop[row] = reason


def minimise(objective: Bending, x: Tensor, options: SolverOptions) -> Minimum:
    """Unknowns are (problems, n), in natural steps. The objective never rises. Problems whose model is not finite stop
    where they are."""
    state = State.begin(objective, x)
    while True:
        rows = torch.nonzero(state.running & (state.iterations < options.iterations))[:, 0]
        if len(rows) == 0:
            return Minimum(state.x, state.value, state.iterations, tuple(state.stop))
        state.refresh(objective, rows)
        gradient, matrix, scale = (part[rows] for part in state.model)
        step, predicted = solve(gradient, matrix, scale, state.damping[rows])
        broken = ~torch.isfinite(predicted)
        state.finish(rows[broken], Stop.NOT_FINITE)
        size = state.value[rows].abs().clamp(min=1e-12)
        done = (predicted <= options.tolerance * size) & (state.damping[rows] <= FAITHFUL)
        state.finish(rows[done & ~broken], Stop.CONVERGED)
        going = ~(done | broken)
        if going.any():
            attempt(objective, state, rows[going], step[going], predicted[going], options.tolerance)


def attempt(
    objective: Bending, state: State, rows: Tensor, step: Tensor, predicted: Tensor, tolerance: float
) -> None:
    """One step of some problems."""
    before, damping = state.value[rows], state.damping[rows]
    trial = state.x[rows] + step.to(state.x)
    value = objective.value(trial, rows)
    state.iterations[rows] += 1
    decrease = before - value
    better = torch.isfinite(value) & (decrease >= 0)
    accepted = rows[better]
    state.x[accepted], state.value[accepted], state.stale[accepted] = trial[better], value[better], True
    gain = decrease / predicted.clamp(min=1e-300)
    factor = torch.where(gain > 0.9, 0.2, torch.where(gain > 0.75, 0.5, torch.where(gain < 0.25, 2.0, 1.0)))
    after = torch.where(better, (damping * factor).clamp(min=LEAST), (8 * damping).clamp(min=RETRY))
    state.damping[rows] = after

    size = before.abs().clamp(min=1e-12)
    rounding = max(1e-2 * tolerance, 4 * torch.finfo(state.x.dtype).eps)
    small = better & (decrease <= tolerance * size)
    state.quiet[rows] = torch.where(small, state.quiet[rows] + 1, torch.where(better, 0, state.quiet[rows]))
    state.finish(rows[(state.quiet[rows] >= QUIET) | (after > GREATEST)], Stop.NO_DESCENT)
    state.finish(rows[~better & (predicted <= rounding * size)], Stop.CONVERGED)


def solve(
    gradient: Float[Tensor, "rows n"],
    matrix: Float[Tensor, "rows n n"],
    scale: Float[Tensor, "rows n"],
    damping: Float[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, " rows"]]:
    """The step, and the decrease that the absolute matrix foretells."""
    unit = scale.rsqrt()
    held = matrix * unit[:, :, None] * unit[:, None]
    held.diagonal(dim1=1, dim2=2).add_(damping[:, None] + gradient.abs() / REACH * unit.square())
    factor, pivots = absolute_factor(held)
    right = -gradient * unit
    solved = torch.linalg.ldl_solve(factor, pivots, right[..., None])[..., 0]
    return solved * unit, 0.5 * ((right * solved).sum(dim=1) + damping * solved.square().sum(dim=1))


def absolute_factor(
    matrix: Float[Tensor, "rows n n"],
) -> tuple[Float[Tensor, "rows n n"], Int[Tensor, "rows n"]]:
    """L |D| L' as `torch.linalg.ldl_solve` takes it.

    Of a 2 x 2 block with eigenvalues a and b the absolute value is (D^2 + |det D| I) / (|a| + |b|).
    """
    factor, pivots, _ = torch.linalg.ldl_factor_ex(matrix)
    # LAPACK marks both columns of a 2 x 2 block by negative pivots.
    paired = pivots < 0
    row, first = torch.nonzero(paired & (paired.cumsum(dim=1) % 2 == 1), as_tuple=True)
    top, bottom, side = factor[row, first, first], factor[row, first + 1, first + 1], factor[row, first + 1, first]
    half, spread = 0.5 * (top + bottom), torch.hypot(0.5 * (top - bottom), side)
    sizes = (half + spread).abs() + (half - spread).abs()
    flip = (top * bottom - side.square()).abs()
    diagonal = factor.diagonal(dim1=1, dim2=2)
    diagonal.copy_(diagonal.abs().clamp(min=SMALLEST))
    factor[row, first, first] = (top.square() + side.square() + flip) / sizes
    factor[row, first + 1, first + 1] = (bottom.square() + side.square() + flip) / sizes
    factor[row, first + 1, first] = side * (top + bottom) / sizes
    return factor, pivots
