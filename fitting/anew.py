"""A stage that begins with some blocks at rest, and counts where it ends lower than it began.

Fingers that were drawn to a wrong keypoint while their hand was on its way may have wound themselves up, by a whole
turn and more; no descent unwinds them. Begun from rest on a hand that has arrived they find their points at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from fitting.problem import Problem, either
from fitting.types import Parameters


def at_rest(problem: Problem, names: Collection[str]) -> Problem:
    """Those of the named blocks that move, as the body has them from nothing; a code for what is decoded from it."""
    wanted = {problem.body.moving(name) for name in names} & {block.name for block in problem.free}
    neutral = problem.body.neutral(problem.count, problem.frames)
    changed = {name: neutral[name].to(problem.base[name]) for name in wanted}
    return replace(problem, base=problem.base.replace(changed))


def keep_lower(problem: Problem, after: Parameters) -> tuple[Problem, Bool[Tensor, " problems"]]:
    """The problems where they stood or where they came to, whichever is lower; and which have come to something."""
    with torch.no_grad():
        better = problem.total(after) < problem.total(problem.base)
    return replace(problem, base=problem.base.replace(either(better, after, problem.base))), better
