"""Where a long clip's fit begins: what its frames share is found on some of them.

Each iteration on all frames costs a factorisation of all of them, and the valley in which their shared shape lies takes
many. Short pieces of the clip, spread over it, lie in nearly the same valley if what speaks of the shared unknowns
alone, which counts once per clip, counts for less there. The other frames begin between those, find their own place
with the shared unknowns held, and the last few iterations are those of all frames. An excerpt of a very long clip is a
long clip itself, and begins at one of its own.
"""

from __future__ import annotations

from dataclasses import replace

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.curvature import LeastSquares
from fitting.problem import Problem
from fitting.solvers import SOLVERS, SolverOptions
from fitting.types import Parameters

SHARE = 4  # of a clip's frames one in so many is in its excerpt: with fewer, all frames need a third iteration
PIECES, LENGTH = 32, 16  # pieces at least, frames in a row
LEAST_FRAMES = 2 * PIECES * LENGTH  # of a clip: shorter ones are solved as fast without
ROUGH = 10  # times the clip's tolerance: an excerpt's minimum is further from the clip's than that
HELD = SolverOptions(iterations=2, tolerance=1e-3)
CLOSE = 1e-7  # damping of a clip that begins near its end


def is_worth_it(problem: Problem) -> bool:
    return problem.frames >= LEAST_FRAMES and bool(problem.shared) and bool(problem.local)


def begin(problem: Problem, options: SolverOptions) -> tuple[Problem, SolverOptions]:
    """The same clip with a base near the minimum, and how to go on from there."""
    frames = excerpt(problem)
    found = solve(only(problem, frames), replace(options, tolerance=ROUGH * options.tolerance))
    problem = replace(problem, base=problem.base.replace(between(problem, frames, found)))
    held = replace(problem, free=tuple(block for block in problem.free if not block.shared))
    own = SOLVERS["lm"](LeastSquares(held), held.zero(), HELD).x
    return replace(problem, base=held.retract(own)), replace(options, damping=CLOSE)


def solve(problem: Problem, options: SolverOptions) -> Parameters:
    if is_worth_it(problem):
        problem, options = begin(problem, options)
    return problem.retract(SOLVERS["lm"](LeastSquares(problem), problem.zero(), options).x)


def excerpt(problem: Problem) -> Int[Tensor, " frames"]:
    """Frames of pieces that are evenly spread over those in which something is seen."""
    seen = torch.nonzero(problem.evidence.seen.any(dim=0))[:, 0]
    length = min(LENGTH, len(seen))
    pieces = max(PIECES, problem.frames // (SHARE * LENGTH))
    firsts = torch.linspace(0, len(seen) - length, pieces, device=seen.device).round().long()
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


def between(problem: Problem, frames: Int[Tensor, " known"], found: Parameters) -> dict[str, Tensor]:
    """What moves, in all frames: how far it has gone from the base in those known, linear in time between them."""
    moved = {block.name: found[block.name] for block in problem.free if block.shared}
    for block in problem.free:
        if not block.shared:
            base = problem.base[block.name]
            here = base[:, frames]
            if block.kind == "rotation":
                away = roma.rotmat_to_rotvec(found[block.name] @ here.mT).flatten(2)
                turns = spread(frames, away, problem.frames).unflatten(2, (-1, 3))
                moved[block.name] = roma.rotvec_to_rotmat(turns) @ base
            else:
                moved[block.name] = base + spread(frames, found[block.name] - here, problem.frames)
    return moved


def spread(
    frames: Int[Tensor, " known"], values: Float[Tensor, "problems known n"], count: int
) -> Float[Tensor, "problems count n"]:
    """Linear between known frames; before the first and behind the last theirs."""
    every = torch.arange(count, device=frames.device)
    later = torch.searchsorted(frames, every).clamp(1, len(frames) - 1)
    first, last = frames[later - 1], frames[later]
    share = ((every - first) / (last - first)).clamp(0, 1).to(values)[:, None]
    return values[:, later - 1] * (1 - share) + values[:, later] * share
