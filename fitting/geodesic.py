"""How a problem's residuals bend along a steered step (`steering.py`): what makes its path follow a curved valley where
keeping the keypoints on course by rigid motions is not enough.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.problem import Problem
from fitting.steering import steer
from fitting.terms import Residuals, item_weights

SPAN = 0.3  # of the step: central differences reach so far to either side


def bend(
    problem: Problem, x: Float[Tensor, "problems unknowns"], step: Float[Tensor, "problems unknowns"]
) -> Float[Tensor, "problems unknowns"]:
    """J' W r2, with r2 half the second derivative of residuals along the steered `step`, W as in Gauss-Newton.

    -H^-1 of it is half the geodesic acceleration of Transtrum & Sethna (arXiv:1201.5885, 2012). Of keypoints and moving
    joints: beliefs are linear in the unknowns, or bend at limits only. Summed in float64.
    """
    x, step = x.double(), step.double()
    found = torch.zeros_like(step)
    seen = problem.only({name: term for name, term in problem.terms.items() if term.structure == "pixels"})
    for window in seen.windows() if seen.terms else ():
        columns = problem.columns(window)
        found[:, columns] += slope(seen.during(window), x[:, columns], step[:, columns])
    moving = {name: term for name, term in problem.terms.items() if term.structure == "motion"}
    return found + slope(problem.only(moving), x, step) if moving else found


def slope(problem: Problem, x: Tensor, step: Tensor) -> Tensor:
    """`bend` with all frames in memory at once."""
    with torch.no_grad():
        before, after = (residuals(problem, steer(problem, x, x + k * SPAN * step), False) for k in (-1, 1))
        here = residuals(problem, x, False)
    with torch.enable_grad():
        unknowns = x.detach().requires_grad_()
        total = x.new_zeros(())
        for name, moved in residuals(problem, unknowns, True).items():
            second = (before[name].values - 2 * here[name].values + after[name].values) / (2 * SPAN**2)
            weights = item_weights(problem.terms[name], here[name])[..., None]
            total = total + (second * weights * moved.values).sum(dtype=torch.float64)
        if not total.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(total, unknowns)
    return gradient


def residuals(problem: Problem, x: Tensor, repeat_shared: bool) -> dict[str, Residuals]:
    """Of every term that has something to look at. Repeated, what frames share is differentiated frame by frame."""
    scene = problem.scene(problem.retract(x, repeat_shared))
    found = {name: term.residuals(scene) for name, term in problem.terms.items()}
    return {name: value for name, value in found.items() if value is not None}
