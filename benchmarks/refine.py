"""sample:talking_head, whose truth is known: from a regressor-like start to the refined clip, solver by solver.

    python -m benchmarks.refine [--frames 120]

Jitter is the root mean square of second differences of the face's vertices, mm per frame^2; a fit should come down to
the truth's, not below it. `worse` counts frames whose objective is higher than at their start: none may be.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.table import format_table
from fitting import bodies, samples, start
from fitting.config import FitConfig
from fitting.evidence import Case, bind
from fitting.solve import solve
from fitting.solvers import SOLVERS
from fitting.truth import compare
from fitting.types import Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "refine_flame.yaml"
SMOOTHNESS = ("velocity", "acceleration")
# The recipe's iterations are Levenberg-Marquardt's. One that sees gradients only gets so many for each of them.
ITERATIONS = {"adam": 12, "lbfgs": 5}

HEADER = (
    "solver", "smooth", "start mm", "end mm", "ratio", "in head: start", "end", "ratio",
    "jitter: start", "end", "truth", "ratio", "worse", "iterations", "stop", "seconds",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120)
    frames = parser.parse_args(arguments).frames
    recipe = FitConfig.load(RECIPE)
    case = make_case(recipe, samples.TalkingHead(frames=frames))
    rows = []
    for solver in SOLVERS:
        for smooth in (True, False):
            config = variant(recipe, solver, smooth)
            solution = solve(case, start.guess(case), config)
            rows.append((solver, "yes" if smooth else "no", *measure(solution)))
    print(f"{samples.NAME}, {frames} frames, {RECIPE.name}: mean vertex error of the face and jitter, mm")
    print(format_table(HEADER, rows))


def make_case(config: FitConfig, recipe: samples.TalkingHead) -> Case:
    """The sample with its start, bound to the open head."""
    like = torch.zeros(0)
    body = bodies.load(**config.body.model_dump()).to(like)
    observations = samples.talking_head(body, recipe)
    return bind(body, observations, start.camera_matrices(observations, config.camera), like)


def variant(config: FitConfig, solver: str, smooth: bool) -> FitConfig:
    """The recipe with one solver in every stage, with or without its terms of smoothness."""
    factor = ITERATIONS.get(solver, 1)
    stages = tuple(
        stage.model_copy(update={"solver": solver, "iterations": factor * stage.iterations}) for stage in config.stages
    )
    terms = config.terms if smooth else config.terms.model_copy(update=dict.fromkeys(SMOOTHNESS))
    return config.model_copy(update={"stages": stages, "terms": terms})


def frames_worse(solution: Solution) -> int:
    """Frames whose objective, with the last stage's terms, is higher than at the start."""
    before, after = sum(solution.cost_start.values()), sum(solution.cost_end.values())
    return int((after > before)[solution.valid].sum())  # type: ignore[index, operator]


def measure(solution: Solution) -> tuple[object, ...]:
    """The columns of a table from 'start mm' on."""
    truth = compare(solution)
    assert truth is not None
    before, after = truth["start"], truth["fit"]
    columns: list[object] = []
    for name in ("face_error_mm", "face_error_in_head_mm"):
        columns += [before[name], after[name], after[name] / before[name]]
    columns += [before["jitter_mm"], after["jitter_mm"], truth["truth_jitter_mm"]]
    columns.append(after["jitter_mm"] / before["jitter_mm"])
    stop = solution.stop[0].value
    return (*columns, frames_worse(solution), int(solution.iterations[0]), stop, solution.seconds)


if __name__ == "__main__":
    main()
