"""Bodies that go through themselves, fitted without and with `contact: true`, and clean ones.

    python -m benchmarks.interpenetration [--count 100] [--seed 7] [--start truth] [--cones 12] [--poses FILE.npy]
                                          [--save FOLDER]

Drawn poses of the open body in which a hand is in a thigh, forearms are in the chest, or legs are in each other, seen
as BODY_25 and hands by one camera, without noise. `--start nothing`: fit_smplx.yaml as it is, search and all, and the
same with `--contact true`. `--start truth`: its last stage from the drawn pose, keypoints believed to be exact (their
sigma a fifth of the recipe's), and the two stages of `contact` after it. A pose counts where the fit without ends more
than 15 mm deep; the others, in which other beliefs have moved the limbs apart, are told by number.

`overlap` is the volume that two layers of skin enclose, cm3, counted along rays on a grid of 2 mm, near what crosses
before or after: it shares nothing with the term but which parts may touch. `depth`: the deepest vertex by the term's
own search, mm. `px`: mean distance of seen keypoints in a picture of 1280 x 1280. `meets`: overlap (of at least 1 cm3)
or depth down by 90 % with less than a pixel more. Before that, poses in which nothing should be found, with processor
time in ms. `cones`: the same two stages with SMPLify-X's penalty instead (`cone_field.py`), by L-BFGS.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks import self_contact as poses
from benchmarks.cone_field import WEIGHTS, WithCones
from benchmarks.table import format_table
from fitting import bodies
from fitting.bodies.body import SkinnedBody
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.config import FitConfig
from fitting.contact import Mask, find_buried, make_mask
from fitting.evidence import Case, as_evidence, bind, embedded_points
from fitting.layouts import OPENPOSE137
from fitting.pipeline import Silence, fit_once
from fitting.problem import Problem
from fitting.solve import prepare, solve
from fitting.solvers import SOLVERS, SolverOptions
from fitting.terms import Interpenetration
from fitting.types import Observations, Parameters, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_smplx.yaml"
SIZE, FOCAL = (1280, 1280), 1500.0
EXACT = "0.002"  # sigma of keypoints that have no noise
WAYS = ("without", "with", "cones")


@dataclass(frozen=True)
class Fit:
    overlap: float  # cm3
    depth: float  # mm
    px: float
    seconds: float


def configs(start: str) -> dict[str, FitConfig]:
    """The recipe without and with contact; from the truth its last stage alone."""
    settings = [("error_bars", "false")] + ([("terms.keypoints.sigma", EXACT)] if start == "truth" else [])
    found = {way: FitConfig.load(RECIPE, [*settings, *more]) for way, more in (
        ("without", []), ("with", [("contact", "true")]),
    )}  # fmt: skip
    if start == "nothing":
        return found
    kept = {"without": 1, "with": 3}
    return {way: config.model_copy(update={"stages": config.stages[-kept[way] :]}) for way, config in found.items()}


def seen(body: SkinnedBody, truth: Parameters) -> Case:
    """What the camera sees of body and hands."""
    embedding = body.embedding_of(OPENPOSE137)
    assert embedding is not None
    K = intrinsics(FOCAL, SIZE)[None]
    pixels = camera_to_pixels(
        world_to_camera(body.restrict(embedding).pose(truth).points[0]), torch.as_tensor(K).float()
    )
    keypoints, confidence = np.zeros((1, len(OPENPOSE137), 2)), np.zeros((1, len(OPENPOSE137)))
    points = embedded_points(embedding)
    keypoints[:, points] = pixels.numpy()
    shown = [k for group in ("body", "left_hand", "right_hand") for k in OPENPOSE137.groups[group]]
    confidence[:, [k for k in shown if k in points]] = 1.0
    observations = Observations("000", OPENPOSE137, keypoints, confidence, ("0",), np.array([SIZE]), is_clip=False)
    return bind(body, observations, K, truth["transl"])


def fit(case: Case, truth: Parameters, config: FitConfig, start: str) -> tuple[Solution, float]:
    began = time.perf_counter()
    solution = fit_once(case, config, Silence()) if start == "nothing" else solve(case, truth, config)
    return solution, time.perf_counter() - began


def fit_with_cones(without: Parameters, case: Case, config: FitConfig, mask: Mask) -> tuple[Parameters, float]:
    """On from the fit without, in contact's stages, with the cone field in the term's place."""
    began = time.perf_counter()
    problem = problem_of(case, without)
    for stage, weight in zip(config.stages[-2:], WEIGHTS, strict=True):
        terms = config.stage_terms(stage).model_copy(update={"interpenetration": None})
        part = prepare(problem, stage, terms).watching()
        objective = WithCones(part, mask, weight)
        minimum = SOLVERS["lbfgs"](objective, part.zero(), SolverOptions(150, stage.tolerance))
        problem = replace(problem, base=problem.base.replace(part.retract(minimum.x)))
    return problem.base, time.perf_counter() - began


def problem_of(case: Case, base: Parameters) -> Problem:
    start = base.replace({"focal": torch.zeros(1, 1, 1).to(case.keypoints)})
    evidence = as_evidence(case, start)
    return Problem(case.restricted, case.yard_stick, evidence, case.K[:, None], {}, start, start, ())


def error_px(case: Case, parameters: Parameters) -> float:
    points = case.restricted.pose(parameters).points[0]
    pixels = camera_to_pixels(world_to_camera(points), case.K)
    shown = case.confidence[0] > 0
    return float((pixels - case.keypoints)[0, shown].norm(dim=-1).mean())


def drawn(body: SkinnedBody, mask: Mask, seed: int) -> Iterator[tuple[str, Parameters]]:
    """Kinds in turn."""
    every = {kind: poses.draw(body, mask, kind, np.random.default_rng([seed, k])) for k, kind in enumerate(poses.KINDS)}
    while True:
        for kind, one in every.items():
            yield kind, next(one)


def clean(body: SkinnedBody, mask: Mask, options: argparse.Namespace) -> list[list[object]]:
    """Of poses in which nothing should be found: how many are, the deepest in mm, and milliseconds of processor time
    for the body's own forward pass and for the search."""
    rng = np.random.default_rng([options.seed, 99])
    kinds: dict[str, list[Parameters]] = {"rest": [], "hanging": [], "forward": []}
    for k in range(options.count):
        kind = list(kinds)[k % 3]
        kinds[kind].append(poses.near_pose(body, kind, rng))
    if options.poses is not None:
        rows = torch.as_tensor(np.load(options.poses).reshape(-1, len(body.joint_names), 3)).float()
        kinds["from a file"] = [poses.of_joints(body, row) for row in rows]
    table: list[list[object]] = []
    for kind, every in kinds.items():
        touched, deep, forward, search = 0, 0.0, 0.0, 0.0
        for parameters in every:
            began = time.process_time()
            points = body.pose(parameters).points[0, 0]
            posed = time.process_time()
            buried = find_buried(points, mask)
            search, forward = search + time.process_time() - posed, forward + posed - began
            touched, deep = touched + (len(buried.vertex) > 0), max(deep, poses.deepest(points, mask))
        table.append([kind, len(every), touched, 1e3 * deep, 1e3 * forward / len(every), 1e3 * search / len(every)])
    return table


def times(body: SkinnedBody, mask: Mask, options: argparse.Namespace) -> list[list[object]]:
    """Of poses in contact, milliseconds of processor time: the body's forward pass, the search, and the objective of
    contact's last stage and its gradient, without the term and with it."""
    config, found = FitConfig.load(RECIPE, [("contact", "true")]), drawn(body, mask, options.seed)
    every: dict[str, list[list[float]]] = {}
    for kind, truth in (next(found) for _ in range(4 * len(poses.KINDS))):
        problem = problem_of(seen(body, truth), truth)
        stage = config.stages[-1]
        both = prepare(problem, stage, config.stage_terms(stage)).watching()
        without = both.only({name: term for name, term in both.terms.items() if name != "interpenetration"})
        points, x, row = body.pose(truth).points[0, 0], both.zero(), torch.arange(1)
        works: tuple[Callable[[], object], ...] = (
            lambda truth=truth: body.pose(truth),
            lambda points=points: find_buried(points, mask),
            lambda part=without, x=x, row=row: part.evaluate(x, row),
            lambda part=both, x=x, row=row: part.evaluate(x, row),
        )
        every.setdefault(kind, []).append([milliseconds(work) for work in works])
    return [[kind, len(rows), *np.mean(rows, axis=0)] for kind, rows in every.items()]


def milliseconds(work: Callable[[], object], times: int = 5) -> float:
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return 1e3 * (time.process_time() - began) / times


def measure(body: SkinnedBody, mask: Mask, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row for every pose that is drawn; only those that end deep without the term are fitted with it."""
    settings, deep = configs(options.start), 0
    for number, (kind, truth) in enumerate(drawn(body, mask, options.seed)):
        if deep == options.count:
            return
        case = seen(body, truth)
        solution, seconds = fit(case, truth, settings["without"], options.start)
        found = {"without": (solution.frame(0), float(solution.error_px[0]), seconds)}
        row: dict[str, object] = {"pose": number, "kind": kind}
        if poses.deepest(skin(body, solution.frame(0)), mask) <= poses.DEEP:
            yield {**row, "counts": False}
            continue
        solution, seconds = fit(case, truth, settings["with"], options.start)
        found["with"] = (solution.frame(0), float(solution.error_px[0]), seconds)
        if deep < options.cones:
            result, more = fit_with_cones(found["without"][0], case, settings["with"], mask)
            found["cones"] = (result, error_px(case, result), found["without"][2] + more)
        deep += 1
        boxes = [poses.boxes_of(skin(body, one), mask) for one in (truth, *(fitted for fitted, _, _ in found.values()))]
        around = np.concatenate([box for box in boxes if len(box)])
        row |= {"counts": True, "truth_overlap": 1e6 * poses.overlap(skin(body, truth).numpy(), mask, around)}
        for way, (parameters, px, seconds) in found.items():
            points = skin(body, parameters)
            result = Fit(1e6 * poses.overlap(points.double().numpy(), mask, around),
                         1e3 * poses.deepest(points, mask), px, seconds)  # fmt: skip
            row |= {f"{way}_{name}": value for name, value in asdict(result).items()}
        if options.save:
            np.savez(options.save / f"{number:03d}.npz", truth=skin(body, truth).numpy(),
                     **{way: skin(body, one).numpy() for way, (one, _, _) in found.items()})  # fmt: skip
        yield row


def skin(body: SkinnedBody, parameters: Parameters) -> torch.Tensor:
    return body.pose(parameters).points[0, 0]


def summary(rows: list[dict[str, object]], way: str) -> list[list[object]]:
    """By kind, and all: means, and in per cent what is less."""
    table = []
    rows = [row for row in rows if f"{way}_px" in row]
    for kind in (*poses.KINDS, "all"):
        some = [row for row in rows if kind in (row["kind"], "all")]
        if not some:
            continue

        def column(name: str, some: list[dict[str, object]] = some) -> np.ndarray:
            return np.array([row[name] for row in some], dtype=float)

        before, after = column("without_overlap"), column(f"{way}_overlap")
        deep, left = column("without_depth"), column(f"{way}_depth")
        rise = column(f"{way}_px") - column("without_px")
        meets = (((before >= 1) & (after <= 0.1 * before)) | (left <= 0.1 * deep)) & (rise < 1)
        seconds = column("without_seconds").mean(), column(f"{way}_seconds").mean()
        volume = before.mean(), after.mean(), 100 * (1 - after.sum() / before.sum())
        depth = deep.mean(), left.mean(), 100 * (1 - left.sum() / deep.sum())
        more = rise.mean(), float(np.median(rise)), rise.max()
        table.append([kind, len(some), *volume, *depth, *more, 100 * meets.mean(), *seconds])
    return table


HEADER = (
    *("pose", "n", "overlap without", "with", "less %", "depth without", "with", "less %"),
    *("px more", "median", "most", "meets %", "s without", "with"),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", choices=("truth", "nothing"), default="nothing")
    parser.add_argument(
        "--cones", type=int, default=0, help="poses that are fitted with the cone field too; from the truth"
    )
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args(arguments)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
    body = bodies.load("open_body", betas=10, expressions=10)
    term = Interpenetration()
    mask = make_mask(body.surface, term.ignore, term.near)
    print(format_table(("clean", "n", "found", "deepest", "ms pose", "ms search"), clean(body, mask, options)))
    print(
        format_table(("in contact", "n", "ms pose", "ms search", "ms without", "ms with"), times(body, mask, options))
    )
    names = ["pose", "kind", "counts", "truth_overlap", *(f"{w}_{n}" for w in WAYS for n in Fit.__annotations__)]
    rows = []
    with open(options.save / "poses.csv" if options.save else os.devnull, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in measure(body, mask, options):
            writer.writerow(row)
            file.flush()
            rows.append(row)
    counted = [row for row in rows if row["counts"]]
    print(f"{len(rows)} drawn, {len(counted)} end more than {1e3 * poses.DEEP:g} mm deep")
    for way in ("with", "cones") if options.cones else ("with",):
        print(f"\n{way}\n" + format_table(HEADER, summary(rows, way)))


if __name__ == "__main__":
    main()
