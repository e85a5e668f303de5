"""Where to begin on a long clip: every eighth frame is solved first, what lies between is interpolated.

Steps away from the base are interpolated, not values: what a stage is given of single frames stays. It is a start and no
more: the solver goes on from it with all frames, to the same minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.problem import Problem, width

STRIDE = 8  # frames; a head does not do much in a third of a second
FEWEST = 8  # frames that are still worth a coarser clip

Solve = Callable[[Problem, Tensor], Tensor]  # from unknowns to better ones


def coarse_start(problem: Problem, solve: Solve) -> Float[Tensor, "problems unknowns"]:
    """Unknowns to start from, never worse than none; coarser clips are started from still coarser ones."""
    nothing = problem.zero()
    chosen = coarse_frames(problem)
    if len(chosen) < FEWEST or 2 * len(chosen) > problem.frames:
        return nothing
    part = problem.at(chosen)
    found = between(solve(part, coarse_start(part, solve)), chosen, problem)
    rows = torch.arange(problem.count, device=found.device)
    with torch.no_grad():
        better = problem.value(found, rows) <= problem.value(nothing, rows)
    return torch.where(better[:, None], found, nothing)


def coarse_frames(problem: Problem) -> Int[Tensor, " chosen"]:
    """Every eighth of the frames in which something is seen, and the last before and the first after every cut."""
    seen = torch.nonzero(problem.evidence.seen.all(dim=0))[:, 0]
    return seen[::STRIDE]


def between(
    x: Float[Tensor, "problems some"], chosen: Int[Tensor, " chosen"], problem: Problem
) -> Float[Tensor, "problems unknowns"]:
    """Linear between chosen frames, held before the first and after the last."""
    n, count = width(problem.local), len(chosen)
    own = x[:, : count * n].unflatten(1, (count, n))
    frames = torch.arange(problem.frames, device=x.device)
    after = torch.searchsorted(chosen, frames).clamp(1, count - 1)
    before = after - 1
    share = ((frames - chosen[before]) / (chosen[after] - chosen[before])).clamp(0, 1).to(x)[:, None]
    spread = torch.lerp(own[:, before], own[:, after], share)
    return torch.cat([spread.flatten(1), x[:, count * n :]], dim=1)
