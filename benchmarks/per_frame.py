"""Unrelated frames of the open head, drawn from the recipe's beliefs: which solver ends lower, and in what time.

    python -m benchmarks.per_frame [--frames 200]

The objective is that of the stage in which the recipe frees the identity; all frames start from the same rigid guess,
all solvers are given the same functions. Frames are solved side by side, `chunk` at a time, the solvers taking turns.
Times are this process's own processor time, so that others at work disturb them less. Adam gets its 1000 steps, L-BFGS
as many, and neither stops before it stands still.

Objectives are compared in float64. `lm <=` is the share of frames in which Levenberg-Marquardt ends at or below the
other, `lm <= +1e-4` likewise with a ten-thousandth to spare. The last lines compare what a matrix took with what its
arithmetic asks for at the rate of a product of its size in the same run.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.draws import Noise, draw_clip, look
from benchmarks.table import format_table
from fitting import bodies, start
from fitting.config import FitConfig
from fitting.curvature import LeastSquares
from fitting.evidence import apart, as_evidence, bind
from fitting.problem import Problem, width
from fitting.solve import prepare
from fitting.solvers import SOLVERS, Arrow, SolverOptions
from fitting.types import Body, Observations, Parameters

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
SEED = 5
NOISE_PX = 1.0
OPTIONS = {
    "lm": SolverOptions(iterations=60, tolerance=1e-6),
    "lbfgs": SolverOptions(iterations=1000, tolerance=1e-7),
    "adam": SolverOptions(iterations=1000, tolerance=1e-9),
}
SPARE = 1e-4
HEADER = (
    "solver", "seconds", "ms a frame", "times lm", "gradients", "matrices", "objective", "lower, mean", "lm <=",
    "lm <= +1e-4",
)  # fmt: skip


@dataclass
class Counted:
    """A problem that counts what it is asked for, in frames."""

    problem: LeastSquares
    gradients: int = 0
    matrices: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"gradients": 0.0, "matrices": 0.0})

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        began = time.process_time()
        found = self.problem.evaluate(x, rows)
        self.seconds["gradients"] += time.process_time() - began
        self.gradients += len(rows)
        return found

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        began = time.process_time()
        found = self.problem.curvature(x, rows)
        self.seconds["matrices"] += time.process_time() - began
        self.matrices += len(rows)
        return found

    def steer(self, start: Tensor, end: Tensor, rows: Tensor) -> Tensor:
        return self.problem.steer(start, end, rows)

    def bend(self, x: Tensor, step: Tensor, rows: Tensor) -> Tensor:
        return self.problem.bend(x, step, rows)


@dataclass
class Run:
    """One solver's work on all frames."""

    seconds: float = 0.0
    gradients: int = 0
    matrices: int = 0
    in_gradients: float = 0.0
    in_matrices: float = 0.0
    objective: list[float] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=100, help="frames side by side")
    options = parser.parse_args(arguments)
    recipe = FitConfig.load(RECIPE)
    problem, exact = (make_problem(recipe, options.frames, dtype) for dtype in (torch.float32, torch.float64))
    runs = {name: Run() for name in SOLVERS}
    for first in range(0, options.frames, options.chunk):
        rows = torch.arange(first, min(first + options.chunk, options.frames))
        for name, run in runs.items():
            solve(name, problem.select(rows), exact.select(rows), run)
    print(f"{options.frames} frames of {len(problem.evidence.points)} points with {NOISE_PX:g} px noise, "
          f"{RECIPE.name}: all {problem.size} unknowns free")  # fmt: skip
    print(format_table(HEADER, [row(name, runs, options.frames) for name in ("lm", "lbfgs", "adam")]))
    print(floor(problem, runs, options.frames))


def make_problem(recipe: FitConfig, frames: int, dtype: torch.dtype) -> Problem:
    """The stage with everything free, every frame a problem of its own."""
    body = bodies.load(**recipe.body.model_dump()).to(torch.zeros(0, dtype=dtype))
    observations = photos(body, recipe, frames)
    K = start.camera_matrices(observations, recipe.camera)
    case = bind(body, observations, K, torch.zeros(0, dtype=dtype))
    guess = start.guess(case).replace({"focal": torch.zeros(1, 1, 1, dtype=dtype)})
    evidence, guess = apart(as_evidence(case, guess)), guess.apart(frames)
    stage = next(stage for stage in recipe.stages if "shape" in stage.free)
    terms = recipe.stage_terms(stage)
    problem = Problem(case.restricted, case.yard_stick, evidence, case.K[:, None], terms.named(), guess, guess, ())
    return prepare(problem, stage, terms)


def photos(body: Body, recipe: FitConfig, frames: int) -> Observations:
    """As many people, one frame of each."""
    rng = np.random.default_rng(SEED)
    beliefs = recipe.terms.model_copy(update={"acceleration": None})
    heads = [draw_clip(body, beliefs, 1, rng) for _ in range(frames)]
    together = Parameters({name: torch.cat([head[name] for head in heads], dim=1) for name in heads[0]})
    return look(body, together, beliefs, Noise(NOISE_PX), rng, is_clip=False)


def solve(name: str, problem: Problem, exact: Problem, run: Run) -> None:
    counted = Counted(LeastSquares(problem))
    began = time.process_time()
    found = SOLVERS[name](counted, problem.zero(), OPTIONS[name])
    run.seconds += time.process_time() - began
    run.gradients += counted.gradients
    run.matrices += counted.matrices
    run.in_gradients += counted.seconds["gradients"]
    run.in_matrices += counted.seconds["matrices"]
    with torch.no_grad():
        run.objective.extend(exact.objective(found.x.double()).tolist())


def row(name: str, runs: dict[str, Run], frames: int) -> tuple[object, ...]:
    run = runs[name]
    own, best = np.array(run.objective), np.array(runs["lm"].objective)
    return (
        name,
        run.seconds,
        1e3 * run.seconds / frames,
        run.seconds / runs["lm"].seconds,
        run.gradients / frames,
        run.matrices / frames,
        float(own.mean()),
        f"{100 * np.mean((own - best) / own):.3f} %",
        f"{100 * np.mean(best <= own):.1f} %",
        f"{100 * np.mean(best <= own * (1 + SPARE)):.1f} %",
    )


def floor(problem: Problem, runs: dict[str, Run], frames: int) -> str:
    """Operations of a matrix (J'WJ, half of it symmetric, and its factor) at the rate of a product of this size."""
    n, m = width(problem.local), width(problem.shared)
    rows = 2 * len(problem.evidence.points)
    operations = 2 * rows * (n * (n + m) + m * m) + (n + m) ** 3 / 3
    rate = product_rate(rows, n + m)
    lm = runs["lm"]
    matrix = 1e3 * lm.in_matrices / max(lm.matrices, 1)
    gradients = ", ".join(
        f"{1e3 * run.in_gradients / max(run.gradients, 1):.3f} ({name})" for name, run in runs.items()
    )
    steps = lm.seconds - lm.in_matrices - lm.in_gradients
    return (
        f"{rate / 1e9:.0f} GF/s; a matrix is {operations / 1e6:.0f} MF: {1e3 * operations / rate:.2f} ms, "
        f"took {matrix:.2f} ms. A gradient took {gradients} ms.\n"
        f"lm, ms a frame: {1e3 * lm.in_matrices / frames:.1f} in matrices, {1e3 * lm.in_gradients / frames:.1f} in "
        f"gradients, {1e3 * steps / frames:.1f} in factors and steps"
    )


def product_rate(rows: int, columns: int, count: int = 16, seconds: float = 1.0) -> float:
    """Operations per second of processor time of J'J."""
    J = torch.randn(count, rows, columns)
    done, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        J.mT @ J
        done += 2 * count * rows * columns**2
    return done / (time.process_time() - began)


if __name__ == "__main__":
    main()
