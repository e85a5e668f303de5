"""Long clips as one problem: Levenberg-Marquardt against Adam on the same objective, and against its own floor.

    python -m benchmarks.clip [--frames 500 2000] [--adam 500] [--long] [--device cpu]

`sample:talking_head` stretched, 105 landmarks with 1 px noise, the true focal length, one identity (100 coefficients),
expression, jaw, rotation and translation of every frame, first and second differences, all free at once from a rigid
start; long clips begin at an excerpt, whose time counts. Beliefs are 1 for shape, 0.5 for expression and about what the
clip does for motion; what is a length counts in sizes of the head, without which the head shrinks with the number of
frames (`--plain`). `size` is the head's by the true one's, `mm` the distance of the face at rest from the true face,
rigidly aligned and scaled. Every length runs in a process of its own, whose peak memory is its own, on one thread. The
floor counts the products that a factorisation cannot do without and divides them by the rate of large products measured
in the same process. Times are of the processor, so that what else the machine does is left out; compiled code, where
numba is installed, is loaded before. `--interpreted` does without it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import roma
import torch
from torch import Tensor

import fitting.solvers.arrow
import fitting.solvers.compiled
from benchmarks.table import format_table
from fitting import bodies, excerpt, samples, start
from fitting.config import FitConfig, StageConfig
from fitting.curvature import LeastSquares
from fitting.evidence import as_evidence, bind
from fitting.layouts import MEDIAPIPE105_IN_478
from fitting.problem import Problem
from fitting.solve import prepare
from fitting.solvers import SOLVERS, Arrow, SolverOptions
from fitting.types import Observations

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
STAGE = StageConfig(
    name="all",
    free=("rotation", "translation", "expression", "jaw", "shape"),
    terms={
        "openings": None,
        "expression": {"sigma": 0.5, "by_size": True},
        "velocity": {
            "by_size": True,
            "blocks": {"global_orient": 0.03, "transl": 0.005, "jaw_pose": 0.05, "expression": 0.15},
        },
        "acceleration": {
            "by_size": True,
            "blocks": {"global_orient": 0.01, "transl": 0.002, "jaw_pose": 0.04, "expression": 0.15},
        },
    },
    iterations=60,
)
LENGTHS, LONG, WITH_ADAM = (500, 2000), (8732, 50_000, 100_000), (500,)
ADAM_STEPS, ADAM_STEP = 1000, 0.05  # the best of 0.02, 0.05, 0.1 and 0.2
KEPT = (fitting.solvers.arrow.KEPT_BYTES, 1 << 24, 0)  # bytes of the factor in memory: all of it, some, nothing


@dataclass
class Watched:
    """A problem that notes when which objective was reached."""

    inner: LeastSquares
    clock: Callable[[], float]
    began: float
    seconds: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        values, gradient = self.inner.evaluate(x, rows)
        self.seconds.append(self.clock() - self.began)
        self.best.append(min([float(values[0]), *self.best[-1:]]))
        return values, gradient

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        return self.inner.curvature(x, rows)

    def steer(self, start: Tensor, end: Tensor, rows: Tensor) -> Tensor:
        return self.inner.steer(start, end, rows)

    def bend(self, x: Tensor, step: Tensor, rows: Tensor) -> Tensor:
        return self.inner.bend(x, step, rows)

    def reached(self, value: float) -> float:
        """Seconds until the objective was at or below `value`; infinite where it never was."""
        return next((s for s, best in zip(self.seconds, self.best, strict=True) if best <= value), float("inf"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="*", default=list(LENGTHS))
    parser.add_argument("--adam", type=int, nargs="*", default=list(WITH_ADAM), help="lengths at which Adam runs too")
    parser.add_argument("--long", action="store_true", help=f"{LONG} frames too")
    parser.add_argument("--kept", type=int, default=600, help="frames of the clip for the last table")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--iterations", type=int, default=STAGE.iterations)
    parser.add_argument("--plain", action="store_true", help="lengths in metres")
    parser.add_argument("--interpreted", action="store_true", help="without compiled code")
    parser.add_argument("--one", type=int, help="measure this length only, as JSON: what the others are made of")
    options = parser.parse_args(arguments)
    if options.interpreted:
        fitting.solvers.compiled.LEAST_FRAMES = sys.maxsize
    if options.one is not None:
        problem = make_problem(options.one, options.device, options.plain)
        print(json.dumps(measure(problem, options.one in options.adam, options.device, options.iterations)))
        return
    lengths = [*options.frames, *(LONG if options.long else ())]
    found = [in_own_process(frames, options) for frames in lengths]
    print(f"A clip as one problem, {options.device}, one thread; Adam with {ADAM_STEPS} steps from the same start")
    print(format_table(tuple(found[0]), [tuple(row.values()) for row in found]))
    if not torch.cuda.is_available():
        print("\nOn a CUDA GPU: not measured here; python -m benchmarks.clip --long --device cuda")
    print(f"\nFinal parameters of {options.kept} frames against those with all of the factor in memory")
    print(format_table(("MB kept", "largest difference, natural steps"), memory_rows(options.kept)))


def in_own_process(frames: int, options: argparse.Namespace) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.clip", "--one", str(frames), "--device", options.device]
    command += ["--iterations", str(options.iterations), "--adam", *map(str, options.adam)]
    command += ["--plain"] * options.plain + ["--interpreted"] * options.interpreted
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=RECIPE.parents[1])
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(problem: Problem, with_adam: bool, device: str, iterations: int) -> dict[str, object]:
    """One row of the table."""
    torch.set_num_threads(1)
    frames = problem.frames
    clock, options = clock_of(device), SolverOptions(iterations, STAGE.tolerance)
    load_code(problem)
    began, started = clock(), problem
    if excerpt.is_worth_it(problem):
        started, options = excerpt.begin(problem, options)
    watched = Watched(LeastSquares(started), clock, began)
    before = clock() - began
    result = SOLVERS["lm"](watched, started.zero(), options)
    peak = peak_megabytes(device)
    seconds, arrow = watched.seconds[-1], LeastSquares(problem).curvature(problem.zero(), torch.arange(1).to(device))
    floor = floor_seconds(len(problem.evidence.points), arrow.width, arrow.shared, device)
    steps = int(result.iterations[0])  # each with a matrix built and factored
    each = (seconds - before) / steps / frames
    row: dict[str, object] = {
        "frames": frames,
        "s": seconds,
        "excerpt's s": before,
        "iterations": steps,
        "ms/frame": 1e3 * seconds / frames,
        "us/frame/iteration": 1e6 * each,
        "floor": 1e6 * floor,
        "times the floor": each / floor,
        "peak MB": round(peak),
        "objective": round(float(result.value[0])),
        **judged(started.retract(result.x)["betas"], frames),
    }
    return row | (against_adam(problem, watched) if with_adam else dict.fromkeys(ADAM_COLUMNS, "-"))


def load_code(problem: Problem) -> None:
    """Once per process: no part of what a clip costs."""
    few = problem.at(torch.arange(min(problem.frames, 300)))
    arrow = LeastSquares(few).curvature(few.zero(), torch.arange(1))
    arrow.solve(few.zero(), torch.ones(1, dtype=torch.float64))


def judged(betas: Tensor, frames: int) -> dict[str, object]:
    """The shape that was found against the true one."""
    body = bodies.load(**FitConfig.load(RECIPE).body.model_dump())
    truth = samples.true_parameters(body, frames, np.random.default_rng(samples.TalkingHead().seed))
    seen = body.restrict(body.embeddings["mediapipe478"])
    rest = body.neutral(1, 1)
    found, true = (
        seen.pose(rest.replace({"betas": each.cpu()})).points[0, 0].double() for each in (betas, truth["betas"])
    )
    size = float(seen.sizes.of(betas.cpu()) / seen.sizes.of(truth["betas"]))
    R, t, scale = roma.rigid_points_registration(found, true, compute_scaling=True)
    away = (scale * found @ R.mT + t - true).norm(dim=1)
    return {"largest beta": float(betas.abs().max()), "size": size, "mm": 1e3 * float(away.mean())}


ADAM_COLUMNS = ("Adam's s", "Adam's objective", "s to reach it", "times faster")


def against_adam(problem: Problem, watched: Watched) -> dict[str, object]:
    adam = Watched(LeastSquares(problem), watched.clock, watched.clock())
    goal = float(SOLVERS["adam"](adam, problem.zero(), SolverOptions(ADAM_STEPS, 1e-9, ADAM_STEP)).value[0])
    needed = watched.reached(goal)
    return dict(zip(ADAM_COLUMNS, (adam.seconds[-1], round(goal), needed, adam.seconds[-1] / needed), strict=True))


def make_problem(frames: int, device: str = "cpu", plain: bool = False) -> Problem:
    """The clip bound to the open head, rigidly placed."""
    config, like = FitConfig.load(RECIPE), torch.zeros(0, device=device)
    body = bodies.load(**config.body.model_dump()).to(like)
    observations = only_105(samples.talking_head(body, samples.TalkingHead(frames=frames)))
    camera = config.camera.model_copy(update={"focal": samples.FOCAL})
    case = bind(body, observations, start.camera_matrices(observations, camera), like)
    placed = start.guess(case).replace({"focal": torch.zeros(1, 1, 1).to(like)})
    evidence = as_evidence(case, placed)
    problem = Problem(case.restricted, case.yard_stick, evidence, case.K[None], {}, placed, placed, ())
    terms = {name: dict(changes) if changes else None for name, changes in STAGE.terms.items()}
    for changes in terms.values() if plain else ():
        if changes:
            changes["by_size"] = False
    stage = STAGE.model_copy(update={"terms": terms})
    return prepare(problem, stage, config.stage_terms(stage))


def only_105(observations: Observations) -> Observations:
    """The landmarks of the benchmark, and nothing of what else is known of the clip."""
    others = np.setdiff1d(np.arange(len(observations.layout)), MEDIAPIPE105_IN_478)
    observations.confidence[:, others] = 0.0
    return replace(observations, start=None, truth=None, pictures=None)


def memory_rows(frames: int) -> list[tuple[object, ...]]:
    """The same clip to the end with more and with less of the factor in memory."""
    problem, found = make_problem(frames), []
    for kept in KEPT:
        fitting.solvers.arrow.KEPT_BYTES = kept
        options = SolverOptions(STAGE.iterations, STAGE.tolerance)
        found.append(SOLVERS["lm"](LeastSquares(problem), problem.zero(), options).x)
    fitting.solvers.arrow.KEPT_BYTES = KEPT[0]
    return [(kept / 2**20, float((x - found[0]).abs().max())) for kept, x in zip(KEPT, found, strict=True)]


def floor_seconds(points: int, n: int, m: int, device: str) -> float:
    """Per frame and iteration, a multiply-add counted as two: the Jacobian (four rotations a point) and its Gram matrix
    in single precision, the elimination in double (Cholesky, inverse and two products; two products and the Schur
    complement for the border)."""
    jacobian = 2 * (2 * points * 12 * (n + m))
    gram = 2 * (2 * points) * (n * n / 2 + n * m + m * m / 2)
    chain = 2 * (n**3 / 6 + n**3 / 3 + 2 * n**3)
    border = 2 * (2 * n * n * m + n * m * m / 2)
    return (jacobian + gram) / product_rate(torch.float32, device) + (chain + border) / product_rate(
        torch.float64, device
    )


def product_rate(dtype: torch.dtype, device: str = "cpu", size: int = 1024, repeats: int = 6) -> float:
    """Operations per second of a large square product, the best of some."""
    a, clock = torch.randn(size, size, dtype=dtype, device=device), clock_of(device)
    best = float("inf")
    for _ in range(repeats):
        began = clock()
        float((a @ a)[0, 0])  # waits for it
        best = min(best, clock() - began)
    return 2 * size**3 / best


def clock_of(device: str) -> Callable[[], float]:
    """Seconds of this one thread, whatever else the machine does; on a GPU of the clock on the wall."""
    return time.process_time if device == "cpu" else time.perf_counter


def peak_megabytes(device: str) -> float:
    """Of this process so far; on a GPU of its tensors there."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
