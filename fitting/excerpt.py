"""Where a long clip's fit begins: what its frames share is found on some of them.

Each iteration on all frames costs a factorisation of all of them, and the valley in which their shared shape lies takes
many. Short pieces of the clip, spread over it, lie in nearly the same valley if what speaks of the shared unknowns
alone, which counts once per clip, counts for less there. The other frames begin between those, find their own place
with the shared unknowns held, and the last few iterations are those of all frames.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.curvature import LeastSquares
from fitting.problem import Problem, width
from fitting.solvers import SOLVERS, SolverOptions

PIECES, LENGTH = 32, 16  # frames in a row
LEAST_FRAMES = 2 * PIECES * LENGTH  # of a clip: shorter ones are solved as fast without
HELD = SolverOptions(iterations=2, tolerance=1e-3)
CLOSE = 1e-7  # damping of a clip that begins near its end


def is_worth_it(problem: Problem) -> bool:
    return problem.frames >= LEAST_FRAMES and bool(problem.shared) and bool(problem.local)


def begin(problem: Problem, options: SolverOptions) -> tuple[Problem, SolverOptions]:
    """The same clip with a base near the minimum, and how to go on from there."""
    frames = excerpt(problem)
    part = only(problem, frames)
    found = SOLVERS["lm"](LeastSquares(part), part.zero(), options).x
    border = len(frames) * width(part.local)
    own = between(frames, found[:, :border].unflatten(1, (len(frames), -1)), problem.frames)
    problem = replace(problem, base=problem.retract(torch.cat([own.flatten(1), found[:, border:]], dim=1)))
    held = replace(problem, free=tuple(block for block in problem.free if not block.shared))
    own = SOLVERS["lm"](LeastSquares(held), held.zero(), HELD).x
    return replace(problem, base=held.retract(own)), replace(options, damping=CLOSE)


def excerpt(problem: Problem) -> Int[Tensor, " frames"]:
    """Frames of pieces that are evenly spread over those in which something is seen."""
    seen = torch.nonzero(problem.evidence.seen.any(dim=0))[:, 0]
    length = min(LENGTH, len(seen))
    firsts = torch.linspace(0, len(seen) - length, PIECES, device=seen.device).round().long()
    return seen[torch.unique(firsts[:, None] + torch.arange(length, device=seen.device))]


def only(problem: Problem, frames: Int[Tensor, " frames"]) -> Problem:
    """Some frames of a clip, tied where they follow each other, as if the clip consisted of many such: what is believed
    of shared unknowns counts for these frames' share."""
    part = problem.at(frames)
    linked = problem.evidence.linked[:, frames[:-1]] & (frames.diff() == 1)
    wider = (problem.frames / len(frames)) ** 0.5
    terms = {
        name: term.model_copy(update={"sigma": term.sigma * wider})
        if name in problem.clip_terms and term.structure not in ("stencil", "motion")
        else term
        for name, term in problem.terms.items()
    }
    return replace(part, evidence=replace(part.evidence, linked=linked), terms=terms)


def between(
    frames: Int[Tensor, " known"], values: Float[Tensor, "problems known n"], count: int
) -> Float[Tensor, "problems count n"]:
    """Every frame's value, linear between those known; before the first and behind the last theirs."""
    every = torch.arange(count, device=frames.device)
    later = torch.searchsorted(frames, every).clamp(1, len(frames) - 1)
    first, last = frames[later - 1], frames[later]
    share = ((every - first) / (last - first)).clamp(0, 1).to(values)[:, None]
    return values[:, later - 1] * (1 - share) + values[:, later] * share
