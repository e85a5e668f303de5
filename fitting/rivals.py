"""Several starts of the same photo side by side, stage after stage, until one is left.

Which of two basins is the deeper one often shows only at the end, where both are fitted to everything. Many have met
long before, though, or are far behind.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.config import FitConfig, StageConfig
from fitting.journal import Journal
from fitting.problem import Problem
from fitting.solve import Progress, run_stages, totals
from fitting.types import Parameters

MET = 1e-3  # share of the cost: two that are no further apart have met
BEHIND = 1.2  # times the best one's cost: further behind, hardly anyone comes back in the last stage


def race(
    every: Problem, photo: Int[Tensor, " problems"], config: FitConfig, progress: Progress, journal: Journal | None
) -> tuple[Parameters, Int[Tensor, " photos"]]:
    """Where all problems of `every` came to, and which one each photo goes on with. `photo` has the number of each
    problem's photo; there are no gaps among these."""
    stages, standing = config.carried(), every.base
    left = torch.arange(every.count, device=photo.device)

    def go(stage: StageConfig) -> Float[Tensor, " left"]:
        """Those that are left through a stage, and what they cost there."""
        nonlocal standing
        some, alone = replace(every, base=standing).select(left), config.model_copy(update={"stages": (stage,)})
        moved = run_stages(some, alone, lambda _, done, count: progress("comparing", done, count), journal)[0]
        kept = (name for name in moved if name in standing)
        standing = Parameters({name: standing[name].index_copy(0, left, moved[name]) for name in kept})
        return final_costs(some, moved, alone)

    for k, stage in enumerate(stages):
        costs, order = go(stage).sort()
        left = left[order]
        by_photo = photo[left].argsort(stable=True)  # within a photo the cheapest stands first
        costs, left = costs[by_photo], left[by_photo]
        first = torch.ones_like(left, dtype=torch.bool)
        first[1:] = photo[left[1:]] != photo[left[:-1]]
        goes_on = first
        if k < len(stages) - 1:
            lowest = costs[first][first.cumsum(dim=0) - 1]
            has_met = costs <= costs.roll(1) * (1 + MET)
            is_behind = costs > BEHIND * lowest if k == len(stages) - 2 else torch.zeros_like(first)
            goes_on = first | (torch.isfinite(costs) & ~has_met & ~is_behind)
        left = left[goes_on]
    return standing, left


def final_costs(problem: Problem, found: Parameters, config: FitConfig) -> Float[Tensor, " problems"]:
    """What the last stage's terms say of the result."""
    terms = config.stage_terms(config.stages[-1]).named()
    return totals(replace(problem, terms=terms), found)
