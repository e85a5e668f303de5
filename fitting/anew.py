"""A stage that begins with some blocks at rest, and counts where it ends lower than it began.

Fingers that were drawn to a wrong keypoint while their hand was on its way may have wound themselves up, by a whole
turn and more; no descent unwinds them. Begun from rest on a hand that has arrived they find their points at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.problem import Problem
from fitting.types import Parameters


def at_rest(problem: Problem, names: Collection[str]) -> Problem:
    """Those of the named blocks that move, as the body has them from nothing; a code for what is decoded from it."""
    wanted = {problem.body.moving(name) for name in names} & {block.name for block in problem.free}
    neutral = problem.body.neutral(problem.count, problem.frames)
    changed = {name: neutral[name].to(problem.base[name]) for name in wanted}
    return replace(problem, base=problem.base.replace(changed))


def keep_lower(problem: Problem, after: Parameters) -> tuple[Problem, Bool[Tensor, " problems"]]:
    """The problems where they stood or where they came to, whichever is lower; and which have come to something."""
    better = cost(problem, after) < cost(problem, problem.base)
    found = {
        name: torch.where(better.view(-1, *[1] * (value.ndim - 1)), value, problem.base[name])
        for name, value in after.items()
        if name in problem.base
    }
    return replace(problem, base=problem.base.replace(found)), better


def cost(problem: Problem, parameters: Parameters) -> Float[Tensor, " problems"]:
    with torch.no_grad():
        costs = problem.costs(parameters).values()
    nothing = torch.zeros(problem.count, dtype=torch.float64, device=problem.K.device)
    return sum((one.sum(dim=1) for one in costs), start=nothing)
