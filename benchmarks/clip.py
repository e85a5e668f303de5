"""A long clip as one problem: Levenberg-Marquardt against Adam on the same objective, and against its own floor.

    python -m benchmarks.clip [--frames 500 2000 8732] [--adam-frames 500]

`sample:talking_head` stretched, 105 landmarks with 1 px noise, one identity (100), expression, jaw, rotation and
translation per frame, first and second differences, all free at once from a rigid start. The floor counts the products
that the algorithm cannot do without and divides them by the rate of large products measured in the same run, both on
one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

import fitting.curvature
import fitting.problem
from benchmarks.table import format_table
from fitting import bodies, samples, start
from fitting.config import FitConfig, StageConfig
from fitting.curvature import LeastSquares
from fitting.evidence import as_evidence, bind
from fitting.layouts import MEDIAPIPE105_IN_478
from fitting.problem import Problem
from fitting.solve import prepare
from fitting.solvers import SOLVERS, Arrow, SolverOptions

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
STAGE = StageConfig(
    name="all",
    free=("rotation", "translation", "expression", "jaw", "shape"),
    terms={"velocity": {"blocks": {"global_orient": 0.05, "transl": 0.01, "jaw_pose": 0.1, "expression": 0.3}}},
)
LM_ITERATIONS, ADAM_STEPS, ADAM_STEP = 10, 1000, 0.05


@dataclass
class Watched:
    """A problem that notes when which objective was reached."""

    inner: LeastSquares
    began: float = field(default_factory=time.perf_counter)
    seconds: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        values, gradient = self.inner.evaluate(x, rows)
        self.seconds.append(time.perf_counter() - self.began)
        self.best.append(min([float(values[0]), *self.best[-1:]]))
        return values, gradient

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        return self.inner.curvature(x, rows)

    def reached(self, value: float) -> float:
        """Seconds until the objective was at or below `value`; infinite where it never was."""
        return next((s for s, best in zip(self.seconds, self.best, strict=True) if best <= value), float("inf"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="*", default=[250, 500, 1000])
    parser.add_argument("--adam-frames", type=int, default=250)
    options = parser.parse_args(arguments)
    rates = {dtype: product_rate(dtype) for dtype in (torch.float32, torch.float64)}
    rows = [clip_row(frames, rates) for frames in options.frames]
    print("Levenberg-Marquardt on clips of growing length, one thread")
    print(format_table(("frames", "unknowns a frame", "s / iteration", "us / frame / iteration", "times the floor",
                        "objective", "peak MB"), rows))  # fmt: skip
    print(f"\nAgainst Adam ({ADAM_STEPS} steps), {options.adam_frames} frames, the same objective and start")
    header = ("s of Adam", "its objective", "s of LM to reach it", "times faster", "LM's after", "iterations")
    print(format_table(header, [adam_row(options.adam_frames)]))
    print("\nThe same step with other windows: largest difference of any unknown, natural steps")
    print(format_table(("window", "against 128"), window_rows(300)))


def make_problem(frames: int) -> Problem:
    """The clip bound to the open head, rigidly placed."""
    config, like = FitConfig.load(RECIPE), torch.zeros(0)
    body = bodies.load(**config.body.model_dump()).to(like)
    observations = samples.talking_head(body, samples.TalkingHead(frames=frames))
    confidence = observations.confidence * 0
    confidence[:, MEDIAPIPE105_IN_478] = 1.0
    observations = replace(observations, confidence=confidence, start=None)
    case = bind(body, observations, start.camera_matrices(observations, config.camera), like)
    placed = start.guess(case).replace({"focal": torch.zeros(1, 1, 1)})
    evidence = as_evidence(case, placed)
    problem = Problem(case.restricted, case.yard_stick, evidence, case.K[None], {}, placed, placed, ())
    return prepare(problem, STAGE, config.stage_terms(STAGE))


def clip_row(frames: int, rates: dict[torch.dtype, float]) -> tuple[object, ...]:
    problem = make_problem(frames)
    watched = Watched(LeastSquares(problem))
    found = SOLVERS["lm"](watched, problem.zero(), SolverOptions(LM_ITERATIONS, 1e-6))
    iterations = int(found.iterations[0])
    each = (watched.seconds[-1] - watched.seconds[0]) / iterations
    arrow = watched.inner.curvature(problem.zero(), torch.arange(1))
    floor = floor_seconds(len(problem.evidence.points), arrow.width, arrow.shared, rates)
    return (
        frames, f"{arrow.width} + {arrow.shared}", each, 1e6 * each / frames, each / frames / floor,
        round(float(found.value[0])), peak_megabytes(),
    )  # fmt: skip


def adam_row(frames: int) -> tuple[object, ...]:
    problem = make_problem(frames)
    adam = Watched(LeastSquares(problem))
    goal = float(SOLVERS["adam"](adam, problem.zero(), SolverOptions(ADAM_STEPS, 1e-9, ADAM_STEP)).value[0])
    second_order = Watched(LeastSquares(problem))
    SOLVERS["lm"](second_order, problem.zero(), SolverOptions(30, 1e-6))
    needed = second_order.reached(goal)
    iterations = next((k for k, best in enumerate(second_order.best) if best <= goal), -1)
    return adam.seconds[-1], round(goal), needed, adam.seconds[-1] / needed, round(second_order.best[-1]), iterations


def window_rows(frames: int) -> list[tuple[object, ...]]:
    """One damped step of the same clip, its frames in memory in portions of different size."""
    steps = {}
    for window in (128, 37, 64, 1000):
        fitting.problem.WINDOW = fitting.curvature.WINDOW = window
        problem = make_problem(frames)
        rows = torch.arange(1)
        _, gradient = problem.evaluate(problem.zero(), rows)
        arrow = LeastSquares(problem).curvature(problem.zero(), rows)
        steps[window] = arrow.solve(-gradient, torch.full((1,), 1e-3, dtype=torch.float64)).x
    fitting.problem.WINDOW = fitting.curvature.WINDOW = 128
    return [(window, float((step - steps[128]).abs().max())) for window, step in steps.items() if window != 128]


def floor_seconds(points: int, n: int, m: int, rates: dict[torch.dtype, float]) -> float:
    """Per frame and iteration, a multiply-add counted as two: the Jacobian (four rotations a point) and its Gram matrix
    in single precision, the elimination in double (Cholesky, inverse and two products; two products and the Schur
    complement for the border)."""
    jacobian = 2 * (2 * points * 12 * (n + m))
    gram = 2 * (2 * points) * (n * n / 2 + n * m + m * m / 2)
    chain = 2 * (n**3 / 6 + n**3 / 3 + 2 * n**3)
    border = 2 * (2 * n * n * m + n * m * m / 2)
    return (jacobian + gram) / rates[torch.float32] + (chain + border) / rates[torch.float64]


def product_rate(dtype: torch.dtype, size: int = 1024, repeats: int = 6) -> float:
    """Operations per second of a large square product."""
    a = torch.randn(size, size, dtype=dtype)
    a @ a
    began = time.perf_counter()
    for _ in range(repeats):
        a @ a
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
