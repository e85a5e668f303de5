"""Levenberg-Marquardt over a batch of independent problems, each with a damping, an acceptance and a stop of its own.

Source: Nocedal & Wright, 2nd ed., 10.3; the damping multiplies the matrix's own diagonal (Marquardt, 1963). A problem
may be a whole clip: `Arrow` solves its step exactly.

A matrix costs as much as ten gradients and more, so none is made that decides nothing: a rejected step is tried again
with more damping on the same one, and after a good step it still tells how much is left to gain.

A clip's matrix costs more than all else, and its valley is narrow and curved: steps are steered along it, where one
still falls short a path that bends is tried (geodesic acceleration; Transtrum & Sethna, arXiv:1201.5885, 2012), and one
that is too long is shortened, not solved for again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.solvers.arrow import Arrow, Factored, FactoredChain
from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.types import Stop

LEAST, GREATEST = 1e-9, 1e8
TRIES = 8  # steps with one matrix
GOOD, POOR = 0.75, 0.25  # shares of the predicted decrease
STEADY = 0.25  # of the objective: a larger decrease was not the last
FAITHFUL = 1e-2  # damping up to which the matrix is the objective's own
QUIET = 3  # small decreases in a row that end a problem which damping holds back
NEAR = 100  # tolerances: a clip whose last decrease was larger is not asked what is left
SHARPEST = 0.375  # a path's bend by its step: beyond it the second order is no guide (Transtrum & Sethna, 2012)
SHORTER = (0.1, 0.8)  # bounds of the next length after one that was too long
LENGTHS = 3  # that are tried


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
    def begin(objective: Objective, x: Tensor, damping: float) -> State:
        problems = len(x)
        value, gradient = objective.evaluate(x, torch.arange(problems, device=x.device))
        nothing = torch.zeros(problems, dtype=torch.long, device=x.device)
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1)
        return State(
            x=x.clone(),
            value=value,
            gradient=gradient,
            damping=torch.full_like(value, damping),
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
    state = State.begin(objective, x, options.damping)
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


@dataclass(frozen=True)
class Path:
    """x + length step + length^2 bend; of a clip steered."""

    objective: Objective
    rows: Int[Tensor, " rows"]
    x: Float[Tensor, "rows unknowns"]
    step: Float[Tensor, "rows unknowns"]
    is_clip: bool
    bend: Float[Tensor, "rows unknowns"] | None = None

    def at(self, length: Float[Tensor, " rows"]) -> Trial:
        forward = length[:, None] * self.step
        end = self.x + (forward if self.bend is None else forward + length[:, None] ** 2 * self.bend)
        if self.is_clip:
            end = self.objective.steer(self.x, end, self.rows)
        end = end.to(self.x)
        return Trial(end, *self.objective.evaluate(end, self.rows))


class Trial(NamedTuple):
    """A point of some problems, and what the objective is there."""

    x: Float[Tensor, "rows unknowns"]
    value: Float[Tensor, " rows"]
    gradient: Float[Tensor, "rows unknowns"]

    def or_better(self, other: Trial) -> Trial:
        """Row by row the lower of two."""
        lower = (other.value < self.value) | ~torch.isfinite(self.value)
        return Trial(
            torch.where(lower[:, None], other.x, self.x),
            torch.where(lower, other.value, self.value),
            torch.where(lower[:, None], other.gradient, self.gradient),
        )


def attempt(objective: Objective, arrow: Arrow, state: State, rows: Tensor, tolerance: float) -> Bool[Tensor, " rows"]:
    """One step of some problems; where it was rejected."""
    damping, before, is_clip = state.damping[rows], state.value[rows], arrow.frames > 1
    factored = arrow.factor(damping)
    step = factored.solve(-state.gradient[rows])
    slope = -(state.gradient[rows].double() * step).sum(dim=1)
    predicted = 0.5 * (slope + damping * (factored.diagonal * step.square()).sum(dim=1))
    path = Path(objective, rows, state.x[rows], step, is_clip)
    trial = path.at(torch.ones_like(before))
    if is_clip and not (before - trial.value >= POOR * predicted).all():
        path, trial = bent(path, trial, curve(factored, path))
    gain = (before - trial.value) / predicted.clamp(min=1e-300)
    if is_clip and not (gain > GOOD).all():
        trial = shorten(path, trial, before, slope)
    state.iterations[rows] += 1

    decrease = before - trial.value
    better = torch.isfinite(trial.value) & torch.isfinite(trial.gradient).all(dim=1) & (decrease >= 0)
    accepted = rows[better]
    state.x[accepted], state.value[accepted], state.gradient[accepted] = (part[better] for part in trial)
    more = 4.0 if is_clip else 2.0  # a step that had to be shortened asks for more
    factor = torch.where(better, torch.where(gain > GOOD, 0.2, torch.where(gain < POOR, more, 1.0)), 8.0)
    state.damping[rows] = (damping * factor).clamp(min=LEAST)

    settle(state, rows, Taken(factored, damping, before, predicted, decrease, better), tolerance)
    return ~better


class Taken(NamedTuple):
    """A step of some problems, whether it was kept or not."""

    factored: Factored
    damping: Float[Tensor, " rows"]
    before: Float[Tensor, " rows"]
    predicted: Float[Tensor, " rows"]
    decrease: Float[Tensor, " rows"]
    better: Bool[Tensor, " rows"]


def settle(state: State, rows: Tensor, taken: Taken, tolerance: float) -> None:
    """Ends the problems of which too little is left to gain; the step's own factor says how much."""
    factored, damping, before, predicted, decrease, better = taken
    scale = before.abs().clamp(min=1e-12)
    last = NEAR * tolerance if isinstance(factored, FactoredChain) else STEADY
    steady = better & (decrease <= last * scale) & (damping <= FAITHFUL)
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


def curve(factored: Factored, path: Path) -> Tensor | None:
    """The second order of a clip's path; nothing where that is no small correction."""
    slope = path.objective.bend(path.x, path.step, path.rows)
    if slope is None:
        return None
    found = factored.solve(-slope)
    sharpness = (factored.diagonal * found.square()).sum(dim=1) / (factored.diagonal * path.step.square()).sum(dim=1)
    return found.masked_fill(~(sharpness <= SHARPEST**2)[:, None], 0.0)


def bent(path: Path, trial: Trial, bend: Tensor | None) -> tuple[Path, Trial]:
    """A path with a bend where that leads lower, and where it leads."""
    if bend is None:
        return path, trial
    found = replace(path, bend=bend).at(torch.ones_like(trial.value))
    lower = (found.value < trial.value) | ~torch.isfinite(trial.value)
    return replace(path, bend=bend * lower[:, None]), trial.or_better(found)


def shorten(path: Path, trial: Trial, before: Float[Tensor, " rows"], slope: Float[Tensor, " rows"]) -> Trial:
    """The best of some shorter steps on a path. The next length is the lowest point of the parabola through the values
    at both ends and the slope at the beginning (Nocedal & Wright, 3.5)."""
    length, last = torch.ones_like(before), trial.value
    for _ in range(LENGTHS):
        lowest = slope * length.square() / (2 * (last - before + slope * length))
        length = torch.where(torch.isfinite(lowest), lowest, 0.0).clamp(SHORTER[0] * length, SHORTER[1] * length)
        found = path.at(length)
        trial, last = trial.or_better(found), found.value
        if (trial.value < before).all():
            break
    return trial
