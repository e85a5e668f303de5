"""Unrelated frames of the open head, drawn from the recipe's beliefs: which solver ends lower, and in what time.

    python -m benchmarks.per_frame [--frames 200]

The objective is that of the stage in which the recipe frees the identity, all frames start from the same rigid guess.
Levenberg-Marquardt gets the recipe's iterations, L-BFGS and Adam 1000, none stops before it stands still.
`lm <=` is the share of frames where Levenberg-Marquardt's objective is at or below the other's to a relative 1e-6
(rounding), `lm <= +0.1 %` likewise with a thousandth to spare; `lower, mean` by how much it is lower.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.draws import Noise, draw_clip, look
from benchmarks.table import format_table
from fitting import bodies, start
from fitting.config import FitConfig
from fitting.evidence import Case, bind
from fitting.solve import solve
from fitting.types import Body, Observations, Parameters, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
SEED = 5
NOISE_PX = 1.0
ITERATIONS = {"adam": 1000, "lbfgs": 1000}
TOLERANCE = {"lm": 1e-6, "lbfgs": 1e-7, "adam": 1e-9}
ROUNDING, SPARE = 1e-6, 1e-3
HEADER = (
    "solver", "seconds", "times lm", "iterations", "objective", "lower, mean", "lm <=", "lm <= +0.1 %", "error px",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    frames = parser.parse_args(arguments).frames
    recipe = FitConfig.load(RECIPE)
    body = bodies.load(**recipe.body.model_dump())
    observations = photos(body, recipe, frames)
    case = bind(body, observations, start.camera_matrices(observations, recipe.camera), torch.zeros(0))
    guess = start.guess(case)
    solutions = {name: run(case, guess, recipe, name) for name in ("lm", "lbfgs", "adam")}
    print(f"{frames} frames of {len(case.points)} points with {NOISE_PX:g} px noise, {RECIPE.name}: all blocks free")
    print(format_table(HEADER, [row(name, solutions) for name in solutions]))


def photos(body: Body, recipe: FitConfig, frames: int) -> Observations:
    """As many people, one frame of each."""
    rng = np.random.default_rng(SEED)
    beliefs = recipe.terms.model_copy(update={"acceleration": None})
    heads = [draw_clip(body, beliefs, 1, rng) for _ in range(frames)]
    together = Parameters({name: torch.cat([head[name] for head in heads], dim=1) for name in heads[0]})
    return look(body, together, beliefs, Noise(NOISE_PX), rng, is_clip=False)


def run(case: Case, guess: Parameters, recipe: FitConfig, solver: str) -> Solution:
    """One stage with everything free."""
    everything = next(stage for stage in recipe.stages if "shape" in stage.free)
    stage = everything.model_copy(
        update={
            "solver": solver,
            "iterations": ITERATIONS.get(solver, everything.iterations),
            "tolerance": TOLERANCE[solver],
        }
    )
    return solve(case, guess, recipe.model_copy(update={"stages": (stage,), "error_bars": False}))


def row(name: str, solutions: dict[str, Solution]) -> tuple[object, ...]:
    own, best = objective(solutions[name]), objective(solutions["lm"])
    return (
        name,
        solutions[name].seconds,
        solutions[name].seconds / solutions["lm"].seconds,
        float(solutions[name].iterations.mean()),
        float(own.mean()),
        f"{100 * np.mean((own - best) / own):.3f} %",
        f"{100 * np.mean(best <= own * (1 + ROUNDING)):.1f} %",
        f"{100 * np.mean(best <= own * (1 + SPARE)):.1f} %",
        float(solutions[name].error_px.mean()),
    )


def objective(solution: Solution) -> np.ndarray:
    return np.sum(list(solution.cost_end.values()), axis=0)


if __name__ == "__main__":
    main()
