"""Levenberg-Marquardt over a batch of independent problems, each with a damping, an acceptance and a stop of its own.

Source: Nocedal & Wright, 2nd ed., 10.3; the damping multiplies the matrix's own diagonal (Marquardt, 1963). A problem
may be a whole clip: `Arrow` solves its step exactly.

A matrix costs as much as ten gradients and more, so none is made that decides nothing: a rejected step is tried again
with more damping on the same one, and after a good step it still tells how much is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.solvers.arrow import Arrow
from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.types import Stop

FIRST_DAMPING = 1e-4
LEAST, GREATEST = 1e-9, 1e8
TRIES = 8  # steps with one matrix
STEADY = 0.25  # of the objective: a larger decrease was not the last
FAITHFUL = 1e-2  # damping up to which the matrix is the objective's own
QUIET = 3  # small decreases in a row that end a problem which damping holds back


@dataclass
class State:
    """Where every problem of the batch is; changed in place."""

    x: Float[Tensor, "problems unknowns"]
    value: Float[Tensor, " problems"]
    gradient: Float[Tensor, "problems unknowns"]
    damping: Float[Tensor, " problems"]
    iterations: Int[Tensor, " problems"]
    quiet: Int[Tensor, " problems"]
    running: Bool[Tensor, " problems"]
    stop: list[Stop]

    @staticmethod
    def begin(objective: Objective, x: Tensor) -> State:
        problems = len(x)
        value, gradient = objective.evaluate(x, torch.arange(problems, device=x.device))
        nothing = torch.zeros(problems, dtype=torch.long, device=x.device)
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1)
        return State(
            x=x.clone(),
            value=value,
            gradient=gradient,
            damping=torch.full_like(value, FIRST_DAMPING),
            iterations=nothing.clone(),
            quiet=nothing.clone(),
            running=finite,
            stop=[Stop.MAX_ITERATIONS if ok else Stop.NOT_FINITE for ok in finite.tolist()],
        )

    def finish(self, rows: Tensor, reason: Stop) -> None:
        self.running[rows] = False
        for row in rows.tolist():
            self.stop[row] = reason


def minimise(objective: Objective, x: Tensor, options: SolverOptions) -> Minimum:
    """Unknowns are (problems, n), in natural steps. The objective never rises."""
    state = State.begin(objective, x)
    while True:
        rows = torch.nonzero(state.running & (state.iterations < options.iterations))[:, 0]
        if len(rows) == 0:
            break
        arrow = objective.curvature(state.x[rows], rows)
        for _ in range(TRIES):
            again = attempt(objective, arrow, state, rows, options.tolerance)
            again &= state.running[rows] & (state.iterations[rows] < options.iterations)
            if not again.any():
                break
            if not again.all():
                arrow, rows = arrow.select(torch.nonzero(again)[:, 0]), rows[again]
    return Minimum(state.x, state.value, state.iterations, tuple(state.stop))


def attempt(objective: Objective, arrow: Arrow, state: State, rows: Tensor, tolerance: float) -> Bool[Tensor, " rows"]:
    """One step of some problems; where it was rejected."""
    damping, before = state.damping[rows], state.value[rows]
    factored = arrow.factor(damping)
    step = factored.solve(-state.gradient[rows])
    slope = -(state.gradient[rows].double() * step).sum(dim=1)
    predicted = 0.5 * (slope + damping * (factored.diagonal * step.square()).sum(dim=1))
    trial = state.x[rows] + step.to(state.x)
    value, gradient = objective.evaluate(trial, rows)
    state.iterations[rows] += 1

    decrease = before - value
    better = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1) & (decrease >= 0)
    accepted = rows[better]
    state.x[accepted], state.value[accepted], state.gradient[accepted] = trial[better], value[better], gradient[better]
    gain = decrease / predicted.clamp(min=1e-300)
    factor = torch.where(better, torch.where(gain > 0.75, 0.2, torch.where(gain < 0.25, 2.0, 1.0)), 8.0)
    state.damping[rows] = (damping * factor).clamp(min=LEAST)

    scale = before.abs().clamp(min=1e-12)
    steady = better & (decrease <= STEADY * scale) & (damping <= FAITHFUL)
    left = torch.full_like(before, torch.inf)
    if steady.any():
        newton = factored.solve(state.gradient[rows])
        left[steady] = 0.5 * (state.gradient[rows].double() * newton).sum(dim=1)[steady]
    rounding = max(1e-2 * tolerance, 4 * torch.finfo(state.x.dtype).eps)
    done = (left <= tolerance * scale) | (~better & (predicted <= rounding * scale))
    small = better & (decrease <= tolerance * scale)
    state.quiet[rows] = torch.where(small, state.quiet[rows] + 1, torch.zeros_like(state.quiet[rows]))
    state.finish(rows[(state.quiet[rows] >= QUIET) | (state.damping[rows] > GREATEST)], Stop.NO_DESCENT)
    state.finish(rows[done], Stop.CONVERGED)
    return ~better
