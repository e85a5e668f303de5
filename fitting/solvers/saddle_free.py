"""Newton's method over a batch of independent problems whose matrices may be indefinite: steps lead downhill along
directions of negative curvature too, and away from saddles.

A matrix is factored as L D L' (Bunch & Kaufman, 1977) and D, of blocks 1 x 1 and 2 x 2, replaced by its absolute value:
the modified factorisation of Cheng & Higham (1998), and in the sense of Dauphin et al. (2014) saddle-free. Adding a
multiple of the diagonal instead makes all directions pay for the worst.

Where little holds an unknown, a Newton step is as long as its gradient is large, longer than any quadratic holds: the
matrix gets |gradient| / reach on its diagonal, which vanishes with the gradient (as the regularisation of Y.-J. Li and
D.-H. Li, 2009), so that no unknown alone goes further than its reach. What is rejected is damped as in `lm`.

Trial points cost a value each and no derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.compiled import takes
from fitting.solvers import compiled
from fitting.solvers.base import SolverOptions
from fitting.types import Stop

FIRST_DAMPING = 1e-2
LEAST, GREATEST = 1e-9, 1e8
MORE, RETRY = 8.0, 1e-4  # damping after a rejected step: times so much, and at least so much
BARRIER, FORGET = 2.0, 0.5  # times a damping that was too little: no less for a while; what is left of it a step later
FAITHFUL = 1e-2  # damping up to which the matrix is the objective's own
QUIET = 3  # small decreases in a row that end a problem
AT_ONCE = 32  # matrices that are factored together
SMALLEST = 1e-12  # of D, where the matrix has a diagonal of ones


class Model(NamedTuple):
    """An objective to second order at some point of each problem. Of the matrix the lower triangle counts."""

    gradient: Float[Tensor, "rows unknowns"]
    matrix: Float[Tensor, "rows unknowns unknowns"]
    scale: Float[Tensor, "rows unknowns"]  # above 0: what the damping multiplies
    reach: Float[Tensor, "rows unknowns"]  # natural steps that an unknown may go at once; infinite: any


@runtime_checkable
class Bending(Protocol):
    """Independent problems that stand somewhere and can be moved; asked for by number."""

    count: int

    def value(self, step: Tensor, rows: Tensor) -> Float[Tensor, " rows"]:
        """At steps (rows, unknowns) away from where these problems stand, float64."""
        ...

    def model(self, rows: Tensor) -> Model:
        """Where these problems stand."""
        ...

    def move(self, accepted: Bool[Tensor, " rows"]) -> None:
        """Those of the problems that `value` was asked for last: to where it looked."""
        ...


class Rest(NamedTuple):
    """How it ended; the problems stand where they ended, never higher than where they began."""

    value: Float[Tensor, " problems"]
    iterations: Int[Tensor, " problems"]
    stop: tuple[Stop, ...]


@dataclass
class State:
    """How every problem of the batch fares; changed in place."""

    value: Float[Tensor, " problems"]
    model: Model
    damping: Float[Tensor, " problems"]
    barrier: Float[Tensor, " problems"]  # a damping that was too little not long ago
    iterations: Int[Tensor, " problems"]
    quiet: Int[Tensor, " problems"]
    running: Bool[Tensor, " problems"]
    stale: Bool[Tensor, " problems"]  # moved since its model was made
    stop: list[Stop]

    @staticmethod
    def begin(objective: Bending, unknowns: int, like: Tensor) -> State:
        problems, n = objective.count, unknowns
        value = objective.value(like.new_zeros(problems, unknowns), torch.arange(problems, device=like.device))
        nothing, zeros = torch.zeros(problems, dtype=torch.long, device=like.device), value.new_zeros
        finite = torch.isfinite(value)
        return State(
            value=value,
            model=Model(zeros(problems, n), like.new_zeros(problems, n, n), zeros(problems, n), zeros(problems, n)),
            damping=torch.full_like(value, FIRST_DAMPING),
            barrier=torch.full_like(value, LEAST),
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
            for kept, made in zip(self.model, objective.model(moved), strict=True):
                kept[moved] = made.to(kept)
            self.stale[moved] = False

    def steps(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The next step of some problems and the decrease that is expected of it."""
        if takes(len(self.value), rows.device):
            gradient, matrix, scale, reach = self.model
            step, predicted = compiled.definite_steps(matrix, gradient, scale, reach, rows, self.damping[rows])
            others = torch.nonzero(predicted.isnan())[:, 0]
            if len(others):
                step[others], predicted[others] = self.absolute_steps(rows[others], are_bent=True)
            return step, predicted
        return self.absolute_steps(rows)

    def absolute_steps(self, rows: Tensor, are_bent: bool = False) -> tuple[Tensor, Tensor]:
        """A few at a time: matrices should stay in the cache. `are_bent`: none is positive definite."""
        some = [(Model(*(part[few] for part in self.model)), self.damping[few]) for few in rows.split(AT_ONCE)]
        parts = [solve(model, damping, are_bent) for model, damping in some]
        return torch.cat([step for step, _ in parts]), torch.cat([predicted for _, predicted in parts])

    def finish(self, rows: Tensor, reason: Stop) -> None:
        self.running[rows] = False
        for row in rows.tolist():
            self.stop[row] = reason


def minimise(objective: Bending, unknowns: int, options: SolverOptions, like: Tensor) -> Rest:
    """Steps are (problems, unknowns), in natural steps, with the dtype and on the device of `like`. The objective never
    rises. A problem whose model is not finite stops where it is."""
    state = State.begin(objective, unknowns, like)
    while True:
        rows = torch.nonzero(state.running & (state.iterations < options.iterations))[:, 0]
        if len(rows) == 0:
            return Rest(state.value, state.iterations, tuple(state.stop))
        state.refresh(objective, rows)
        step, predicted = state.steps(rows)
        broken = ~torch.isfinite(predicted)
        size = state.value[rows].abs().clamp(min=1e-12)
        done = ~broken & (predicted <= options.tolerance * size) & (state.damping[rows] <= FAITHFUL)
        state.finish(rows[broken], Stop.NOT_FINITE)
        state.finish(rows[done], Stop.CONVERGED)
        going = ~(done | broken)
        if going.any():
            attempt(objective, state, rows[going], Trial(step[going].to(like), predicted[going]), options.tolerance)


class Trial(NamedTuple):
    """A step of some problems, and the decrease that is expected of it."""

    step: Float[Tensor, "rows unknowns"]
    predicted: Float[Tensor, " rows"]


def attempt(objective: Bending, state: State, rows: Tensor, trial: Trial, tolerance: float) -> None:
    """One step of some problems."""
    before, damping = state.value[rows], state.damping[rows]
    value = objective.value(trial.step, rows)
    state.iterations[rows] += 1
    decrease = before - value
    better = torch.isfinite(value) & (decrease >= 0)
    accepted = rows[better]
    objective.move(better)
    state.value[accepted], state.stale[accepted] = value[better], True
    gain = decrease / trial.predicted.clamp(min=1e-300)
    factor = torch.where(gain > 0.9, 0.2, torch.where(gain > 0.75, 0.5, torch.where(gain < 0.25, 2.0, 1.0)))
    barrier = torch.where(better, (FORGET * state.barrier[rows]).clamp(min=LEAST), BARRIER * damping)
    after = torch.where(better, torch.maximum(damping * factor, barrier), (MORE * damping).clamp(min=RETRY))
    state.damping[rows], state.barrier[rows] = after, barrier

    size = before.abs().clamp(min=1e-12)
    rounding = max(1e-2 * tolerance, 4 * torch.finfo(trial.step.dtype).eps)
    small = better & (decrease <= tolerance * size)
    state.quiet[rows] = torch.where(small, state.quiet[rows] + 1, torch.where(better, 0, state.quiet[rows]))
    state.finish(rows[(state.quiet[rows] >= QUIET) | (after > GREATEST)], Stop.NO_DESCENT)
    state.finish(rows[~better & (trial.predicted <= rounding * size)], Stop.CONVERGED)


def solve(
    model: Model, damping: Float[Tensor, " rows"], are_bent: bool = False
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, " rows"]]:
    """The step, and the decrease that the absolute matrix foretells. In the matrix's own precision: it is no more exact
    than that, and others take twice as long."""
    gradient, unit = model.gradient, model.scale.rsqrt()
    natural = unit.to(model.matrix)
    held = (model.matrix * natural[:, :, None]).mul_(natural[:, None])
    held.diagonal(dim1=1, dim2=2).add_(damping[:, None] + gradient.abs() / model.reach * unit.square())
    right = -gradient * unit
    solved = (bent_solve if are_bent else solve_absolute)(held, right.to(held)).to(right)
    return solved * unit, 0.5 * ((right * solved).sum(dim=1) + damping * solved.square().sum(dim=1))


def solve_absolute(matrix: Float[Tensor, "rows n n"], right: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """By L |D| L', which is the matrix itself where that is positive definite: then by Cholesky's L L', in half the
    time."""
    # The lower triangle read as an upper one: LAPACK takes two thirds of the time for it.
    factor, failed = torch.linalg.cholesky_ex(matrix.mT, upper=True)
    found = torch.cholesky_solve(right[..., None], factor, upper=True)[..., 0]
    bent = torch.nonzero(failed)[:, 0]
    if len(bent):
        found[bent] = bent_solve(matrix[bent], right[bent])
    return found


def bent_solve(matrix: Float[Tensor, "rows n n"], right: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    return torch.linalg.ldl_solve(*absolute_factor(matrix), right[..., None])[..., 0]


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
