"""Adam (Kingma & Ba, 2015, algorithm 1) over a batch of independent problems, each with a step size of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.types import Stop

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-12
PATIENCE = 20  # steps without progress after which a problem's step size is halved
HALVINGS = 5  # after so many it has converged


def minimise(objective: Objective, x: Tensor, options: SolverOptions) -> Minimum:
    """Returns the best point seen. Unknowns are (problems, n), in natural steps."""
    problems = len(x)
    best_x, best = x.clone(), torch.full((problems,), torch.inf, dtype=torch.float64, device=x.device)
    mean, variance = torch.zeros_like(x), torch.zeros_like(x)
    step = torch.full((problems, 1), options.step).to(x)
    mark, waited, halved = best.clone(), torch.zeros_like(best), torch.zeros_like(best)
    iterations = torch.zeros(problems, dtype=torch.long, device=x.device)
    stop = [Stop.MAX_ITERATIONS] * problems
    rows = torch.arange(problems, device=x.device)
    for iteration in range(1, options.iterations + 1):
        value, gradient = objective.evaluate(x[rows], rows)
        gradient = gradient.to(x)
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(dim=1)
        better = finite & (value < best[rows])
        best[rows[better]], best_x[rows[better]] = value[better], x[rows[better]]
        iterations[rows] = iteration

        progress = best[rows] < mark[rows] - options.tolerance * mark[rows].abs().nan_to_num(posinf=0.0)
        mark[rows] = torch.where(progress, best[rows], mark[rows])
        waited[rows] = torch.where(progress, torch.zeros_like(value), waited[rows] + 1)
        tired = waited[rows] >= PATIENCE
        halve = rows[tired]
        step[halve] *= 0.5
        halved[halve] += 1
        waited[halve] = 0
        x[halve] = best_x[halve]  # the next, smaller steps start where it was best

        for row, ok in zip(rows.tolist(), finite.tolist(), strict=True):
            if not ok:
                stop[row] = Stop.NOT_FINITE
            elif halved[row] > HALVINGS:
                stop[row] = Stop.CONVERGED
        gradient = torch.where(tired[:, None], torch.zeros_like(gradient), gradient)
        keep = finite & (halved[rows] <= HALVINGS)
        rows, gradient = rows[keep], gradient[keep]
        if len(rows) == 0:
            break
        mean[rows] = BETA_1 * mean[rows] + (1 - BETA_1) * gradient
        variance[rows] = BETA_2 * variance[rows] + (1 - BETA_2) * gradient.square()
        corrected_mean = mean[rows] / (1 - BETA_1**iteration)
        corrected_variance = variance[rows] / (1 - BETA_2**iteration)
        x = x.index_copy(0, rows, x[rows] - step[rows] * corrected_mean / (corrected_variance.sqrt() + EPSILON))
    return Minimum(best_x, best, iterations, tuple(stop))
