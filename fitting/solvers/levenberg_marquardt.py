"""Levenberg-Marquardt over a batch of independent problems, each with a damping, an acceptance and a stop of its own.

Source: Nocedal & Wright, 2nd ed., 10.3; the damping multiplies the matrix's own diagonal (Marquardt, 1963). A problem
may be a whole clip: `Arrow` solves its step exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.types import Stop

FIRST_DAMPING = 1e-4
LEAST, GREATEST = 1e-9, 1e8
QUIET = 2  # small decreases in a row that end a problem


def minimise(objective: Objective, x: Tensor, options: SolverOptions) -> Minimum:
    """Unknowns are (problems, n), in natural steps. The objective never rises."""
    problems, device = len(x), x.device
    x = x.clone()
    rows = torch.arange(problems, device=device)
    value, gradient = objective.evaluate(x, rows)
    damping = torch.full((problems,), FIRST_DAMPING, dtype=torch.float64, device=device)
    iterations = torch.zeros(problems, dtype=torch.long, device=device)
    quiet = torch.zeros(problems, dtype=torch.long, device=device)
    stop = [Stop.MAX_ITERATIONS] * problems
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1)
    for row in rows[~finite].tolist():
        stop[row] = Stop.NOT_FINITE
    rows = rows[finite]
    for _ in range(options.iterations):
        if len(rows) == 0:
            break
        arrow = objective.curvature(x[rows], rows)
        step, diagonal = arrow.solve(-gradient[rows], damping[rows])
        slope = -(gradient[rows].double() * step).sum(dim=1)
        predicted = 0.5 * (slope + damping[rows] * (diagonal * step.square()).sum(dim=1))
        trial = x[rows] + step.to(x)
        trial_value, trial_gradient = objective.evaluate(trial, rows)
        iterations[rows] += 1

        decrease = value[rows] - trial_value
        better = torch.isfinite(trial_value) & torch.isfinite(trial_gradient).all(dim=1) & (decrease >= 0)
        accepted = rows[better]
        x[accepted], value[accepted], gradient[accepted] = trial[better], trial_value[better], trial_gradient[better]
        gain = decrease / predicted.clamp(min=1e-300)
        factor = torch.where(better, torch.where(gain > 0.75, 0.2, torch.where(gain < 0.25, 2.0, 1.0)), 8.0)
        damping[rows] = (damping[rows] * factor).clamp(min=LEAST)

        scale = value[rows].abs().clamp(min=1e-12)
        small = torch.where(
            better, decrease <= options.tolerance * scale, predicted <= 1e-2 * options.tolerance * scale
        )
        quiet[rows] = torch.where(small, quiet[rows] + 1, torch.zeros_like(quiet[rows]))
        converged = quiet[rows] >= QUIET
        hopeless = damping[rows] > GREATEST
        for row, done, stuck in zip(rows.tolist(), converged.tolist(), hopeless.tolist(), strict=True):
            if done or stuck:
                stop[row] = Stop.CONVERGED if done else Stop.NO_DESCENT
        rows = rows[~(converged | hopeless)]
    return Minimum(x, value, iterations, tuple(stop))
