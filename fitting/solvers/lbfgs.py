"""L-BFGS with a strong-Wolfe line search over a batch of independent problems.

Nocedal & Wright, Numerical Optimization, 2nd ed.: two-loop recursion (algorithm 7.4), strong Wolfe conditions (3.7),
cubic interpolation (3.59). Each problem has its own history, bracket and stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.types import Stop

MEMORY = 20
SUFFICIENT, CURVATURE = 1e-4, 0.9  # c1, c2
LINE_SEARCH_EVALUATIONS = 20
QUIET = 3  # small decreases in a row that end a problem


@dataclass
class History:
    """The last steps and gradient changes of every problem, newest last. (memory, problems, unknowns)"""

    steps: Tensor
    changes: Tensor
    inverse: Tensor  # 1 / (step . change); 0 marks an empty place

    @staticmethod
    def empty(like: Tensor) -> History:
        shape = (MEMORY, *like.shape)
        return History(like.new_zeros(shape), like.new_zeros(shape), like.new_zeros(shape[:2]))

    def add(self, rows: Tensor, step: Tensor, change: Tensor) -> None:
        """Pairs without positive curvature are left out (damping is not needed under strong Wolfe)."""
        curvature = (step * change).sum(dim=1)
        good = curvature > 1e-10 * change.square().sum(dim=1)
        rows, step, change, curvature = rows[good], step[good], change[good], curvature[good]
        for store, item in ((self.steps, step), (self.changes, change), (self.inverse, 1 / curvature)):
            store[:, rows] = torch.cat([store[1:, rows], item[None]])

    def forget(self, rows: Tensor) -> None:
        self.inverse[:, rows] = 0

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """-H g by the two-loop recursion; empty places have 1 / (s . y) = 0 and drop out by themselves."""
        steps, changes, inverse = self.steps[:, rows], self.changes[:, rows], self.inverse[:, rows]
        q = gradient.clone()
        alphas = []
        for s, y, r in zip(steps.flip(0), changes.flip(0), inverse.flip(0), strict=True):
            alpha = r * (s * q).sum(dim=1)
            q -= alpha[:, None] * y
            alphas.append(alpha)
        scale = 1 / (inverse[-1] * changes[-1].square().sum(dim=1))  # gamma, eq. 7.20
        first = 1 / gradient.abs().sum(dim=1).clamp(min=1.0)
        q *= torch.where(inverse[-1] > 0, scale, first)[:, None]
        for s, y, r, alpha in zip(steps, changes, inverse, reversed(alphas), strict=True):
            beta = r * (y * q).sum(dim=1)
            q += (alpha - beta)[:, None] * s
        return -q


def minimise(objective: Objective, x: Tensor, options: SolverOptions) -> Minimum:
    """Unknowns are (problems, n), in natural steps. The objective never rises."""
    problems = len(x)
    rows = torch.arange(problems, device=x.device)
    x = x.clone()
    value, gradient = objective.evaluate(x, rows)
    gradient = gradient.to(x)
    iterations = torch.zeros(problems, dtype=torch.long, device=x.device)
    quiet = torch.zeros(problems, dtype=torch.long, device=x.device)
    stop = [Stop.MAX_ITERATIONS] * problems
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1)
    _mark(stop, rows[~finite], Stop.NOT_FINITE)
    rows = rows[finite]
    history = History.empty(x)
    for _ in range(options.iterations):
        if len(rows) == 0:
            break
        direction = history.direction(rows, gradient[rows])
        slope = (direction * gradient[rows]).sum(dim=1)
        uphill = slope >= 0
        if uphill.any():
            history.forget(rows[uphill])
            direction[uphill] = history.direction(rows[uphill], gradient[rows[uphill]])
        moved, reached, steepness = line_search(objective, x[rows], value[rows], gradient[rows], direction, rows)
        iterations[rows] += 1

        stuck = reached >= value[rows]
        fresh = history.inverse[-1, rows] == 0
        history.add(rows[~stuck], (moved - x[rows])[~stuck], (steepness - gradient[rows])[~stuck])
        history.forget(rows[stuck])
        small = value[rows] - reached <= options.tolerance * value[rows].abs().clamp(min=1e-12)
        quiet[rows] = torch.where(small, quiet[rows] + 1, torch.zeros_like(quiet[rows]))
        accept = rows[~stuck]
        x[accept], value[accept], gradient[accept] = moved[~stuck], reached[~stuck], steepness[~stuck]

        converged = quiet[rows] >= QUIET
        hopeless = stuck & fresh  # not even steepest descent leads down
        _mark(stop, rows[hopeless], Stop.NO_DESCENT)
        _mark(stop, rows[converged], Stop.CONVERGED)
        rows = rows[~(converged | hopeless)]
    return Minimum(x, value, iterations, tuple(stop))


def line_search(
    objective: Objective, x: Tensor, value: Tensor, gradient: Tensor, direction: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A step that fulfils the strong Wolfe conditions for every row, or the best that was found.

    `low` always decreases enough and still leads down, `high` is too far: a good step lies between them.
    """
    start = (gradient * direction).sum(dim=1).double()
    low, low_value, low_slope = torch.zeros_like(start), value.clone(), start.clone()
    high, high_value, high_slope = torch.full_like(start, torch.inf), value.clone(), start.clone()
    best_x, best_value, best_gradient = x.clone(), value.clone(), gradient.clone()
    step = torch.ones_like(start)
    open_ = torch.arange(len(x), device=x.device)
    for _ in range(LINE_SEARCH_EVALUATIONS):
        trial = x[open_] + step[open_, None].to(x) * direction[open_]
        trial_value, trial_gradient = objective.evaluate(trial, rows[open_])
        trial_gradient = trial_gradient.to(x)
        slope = (trial_gradient * direction[open_]).sum(dim=1).double()
        bad = ~(torch.isfinite(trial_value) & torch.isfinite(slope))
        trial_value = trial_value.masked_fill(bad, torch.inf)
        slope = slope.masked_fill(bad, 1.0)

        enough = trial_value <= value[open_] + SUFFICIENT * step[open_] * start[open_]
        far = ~enough | (trial_value > low_value[open_])
        flat = slope.abs() <= -CURVATURE * start[open_]
        better = enough & (trial_value < best_value[open_])
        b = open_[better]
        best_x[b], best_value[b], best_gradient[b] = trial[better], trial_value[better], trial_gradient[better]

        upper = far | (~flat & (slope > 0))
        _assign(open_[upper], (high, high_value, high_slope), (step[open_][upper], trial_value[upper], slope[upper]))
        lower = ~upper & ~flat
        _assign(open_[lower], (low, low_value, low_slope), (step[open_][lower], trial_value[lower], slope[lower]))
        done = ~far & flat
        open_ = open_[~done]
        if len(open_) == 0:
            break
        step[open_] = next_step(
            low[open_], low_value[open_], low_slope[open_], high[open_], high_value[open_], high_slope[open_]
        )
    return best_x, best_value, best_gradient


def next_step(low: Tensor, f_low: Tensor, d_low: Tensor, high: Tensor, f_high: Tensor, d_high: Tensor) -> Tensor:
    """Twice the step while nothing is too far yet; else the cubic's minimum, kept off both ends of the bracket."""
    width = high - low
    d1 = d_low + d_high - 3 * (f_low - f_high) / (low - high)
    root = (d1.square() - d_low * d_high).clamp(min=0).sqrt()
    cubic = high - width * (d_high + root - d1) / (d_high - d_low + 2 * root)
    inside = torch.where(torch.isfinite(cubic), cubic, low + 0.5 * width)
    inside = torch.maximum(torch.minimum(inside, high - 0.1 * width), low + 0.1 * width)
    return torch.where(torch.isinf(high), 2 * low, inside)


def _assign(rows: Tensor, targets: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> None:
    for target, value in zip(targets, values, strict=True):
        target[rows] = value


def _mark(stop: list[Stop], rows: Tensor, reason: Stop) -> None:
    for row in rows.tolist():
        stop[row] = reason
