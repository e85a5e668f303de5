"""Two starts of the same photo side by side, stage after stage, until one is left.

Which of two basins is the deeper one often shows only at the end, where both are fitted to everything. Of many pairs
both have met long before, though, or one is far behind.
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
BEHIND = 1.25  # times the other's cost: further behind, hardly anyone comes back in the last stage


def race(
    both: Problem, rivals: Int[Tensor, " some"], config: FitConfig, progress: Progress, journal: Journal | None
) -> tuple[Parameters, Int[Tensor, " photos"]]:
    """Where all problems of `both` came to, and which one every photo goes on with. `both` has the best start of every
    photo, then the second-best of some of them, whose numbers `rivals` has."""
    stages = config.carried()
    photos, standing = both.count - len(rivals), both.base
    best = torch.arange(photos, device=rivals.device)
    left = torch.arange(len(rivals), device=rivals.device)

    def go(rows: Tensor, stage: StageConfig) -> Float[Tensor, " rows"]:
        """Some problems through a stage, and what they cost there."""
        nonlocal standing
        some, alone = replace(both, base=standing).select(rows), config.model_copy(update={"stages": (stage,)})
        moved = run_stages(some, alone, lambda _, done, count: progress("comparing", done, count), journal)[0]
        kept = (name for name in moved if name in standing)
        standing = Parameters({name: standing[name].index_copy(0, rows, moved[name]) for name in kept})
        return final_costs(some, moved, alone)

    for stage in stages[:-1]:
        costs = go(torch.cat([best, photos + left]), stage)
        gap = costs[photos:] / costs[rivals[left]]
        is_next_last = stage is stages[-2]
        met = (gap - 1).abs() < MET
        over = met | (is_next_last & (torch.maximum(gap, 1 / gap) > BEHIND)) | ~torch.isfinite(gap)
        won = left[over & (gap < 1)]
        best[rivals[won]], left = photos + won, left[~over]
    costs = go(torch.cat([best, photos + left]), stages[-1])
    won = left[costs[photos:] < costs[rivals[left]]]
    best[rivals[won]] = photos + won
    return standing, best


def final_costs(problem: Problem, found: Parameters, config: FitConfig) -> Float[Tensor, " problems"]:
    """What the last stage's terms say of the result."""
    terms = config.stage_terms(config.stages[-1]).named()
    return totals(replace(problem, terms=terms), found)
