"""Bodies that go through themselves, with and without the term `interpenetration`, and clean ones.

    python -m benchmarks.interpenetration [--count 100] [--poses smplx_poses_8x165.npy] [--solver lm] [--save FOLDER]

Drawn poses of the open body in which a hand is in a thigh, forearms are in the chest, or legs are in each other, seen
as BODY_25 and hands by one camera, are fitted from themselves with the last stage of fit_smplx.yaml; `with` goes on
with the same stage and the term, at ten times its sigma and then at its sigma. `overlap` is the volume that two layers
of skin enclose, cm3, counted along rays on a grid of 2 mm, near what crosses at the start: it shares nothing with the
term but which parts may touch. `depth`: the deepest vertex by the term's own search, mm. `px`: mean distance of seen
keypoints in a picture of 1280 x 1280. Before
that, poses in which nothing should be found, with processor time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import roma
import torch

from benchmarks.table import format_table
from fitting import bodies
from fitting.bodies.body import SkinnedBody
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.config import FitConfig
from fitting.contact import Mask, crossing_pairs, find_buried, make_mask
from fitting.contact.depth import REACH
from fitting.evidence import bind, embedded_points
from fitting.layouts import OPENPOSE137
from fitting.posture import with_arms
from fitting.solve import solve
from fitting.terms.interpenetration import Interpenetration
from fitting.types import Observations, Parameters, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_smplx.yaml"
SIZE, FOCAL, DISTANCE = (1280, 1280), 1500.0, 3.0
EXACT = "0.002"  # sigma of the keypoints: they are exact here, and beliefs about pose must not move them
SPREAD = 0.15  # radians, of every joint named below
DEEP, DEEPEST = 0.015, 0.05  # metres: of poses that count as penetrating, and from which there is a way out
CELL = 0.002
# Radians about the joints' own axes in the T-pose (y up, x to the subject's left), one pose of each kind.
SITTING = {
    "left_hip": (-1.4, 0.0, 0.0),
    "right_hip": (-1.4, 0.0, 0.0),
    "left_knee": (1.5, 0, 0),
    "right_knee": (1.5, 0, 0),
}
KINDS = {
    "hand in thigh": {
        **SITTING,
        "left_shoulder": (0.1, -0.5, -1.15), "right_shoulder": (0.1, 0.5, 1.15),
        "left_elbow": (0.0, -1.1, 0.0), "right_elbow": (0.0, 1.1, 0.0),
    },
    "arm in chest": {
        "left_shoulder": (0.9, -0.5, -0.9), "right_shoulder": (0.9, 0.5, 0.9),
        "left_elbow": (0.0, -2.0, 0.0), "right_elbow": (0.0, 2.0, 0.0),
    },
    "legs crossed": {
        "left_hip": (-0.5, 0.0, -0.35), "right_hip": (-0.5, 0.0, 0.35),
        "left_knee": (0.7, 0.0, 0.0), "right_knee": (0.7, 0.0, 0.0),
        "left_shoulder": (0.0, 0.0, -1.1), "right_shoulder": (0.0, 0.0, 1.1),
    },
}  # fmt: skip


def draw(body: SkinnedBody, mask: Mask, kind: str, rng: np.random.Generator) -> Iterator[Parameters]:
    """Poses round a kind's that penetrate, in the camera's world."""
    while True:
        pose = np.zeros((21, 3))
        for name, vector in KINDS[kind].items():
            pose[body.joint_names.index(name) - 1] = vector + SPREAD * rng.standard_normal(3)
        turn = roma.rotvec_to_rotmat(torch.tensor([0.0, rng.uniform(-0.6, 0.6), 0.0]))
        changes = {
            "body_pose": roma.rotvec_to_rotmat(torch.as_tensor(pose)).float()[None, None],
            "global_orient": turn[None, None, None],
            "betas": torch.as_tensor(rng.standard_normal((1, 1, 10))).float(),
            "transl": torch.tensor([[[0.0, 0.1, -DISTANCE]]]),
        }
        parameters = body.neutral(1, 1).replace(changes)
        points = body.pose(parameters).points[0, 0]
        if deepest(points, mask) > DEEP:
            yield parameters


def deepest(points: torch.Tensor, mask: Mask) -> float:
    """Metres."""
    buried = find_buried(points, mask)
    place = (points[mask.surface.faces[buried.face]] * buried.weights[..., None]).sum(dim=1)
    return float((points[buried.vertex] - place).norm(dim=1).max()) if len(place) else 0.0


def overlap(points: np.ndarray, mask: Mask, boxes: np.ndarray) -> float:
    """Volume (m3) in the boxes that lies in two layers of a closed surface: along rays on a grid, between the places
    where the number of layers, counted up on entering and down on leaving, is two or more. Folds, where the layers are
    parts that the mask lets touch, are left out."""
    faces, parts, looked_at = mask.surface.faces.numpy(), mask.surface.face_parts.numpy(), mask.parts.numpy()
    points = points + np.array([1.234567e-4, 2.345678e-4, 0.0])  # off the grid: a ray must not meet an edge
    grid = points[:, :2] / CELL
    corners, depth = grid[faces], points[faces, 2]
    low, high = np.ceil(corners.min(axis=1)).astype(int), np.floor(corners.max(axis=1)).astype(int)
    area = cross2(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    columns, heights, signs, met = [], [], [], []
    reach = (high - low).max(axis=0)
    for dx in range(reach[0] + 1):
        for dy in range(reach[1] + 1):
            cell = low + (dx, dy)
            kept = (cell <= high).all(axis=1) & (np.abs(area) > 1e-12)
            rest, where = corners[kept] - cell[kept][:, None], cell[kept]
            weights = np.stack([cross2(rest[:, (k + 1) % 3], rest[:, (k + 2) % 3]) for k in range(3)], axis=1)
            weights /= area[kept][:, None]
            hit = (weights >= 0).all(axis=1)
            columns.append(where[hit])
            heights.append((weights[hit] * depth[kept][hit]).sum(axis=1))
            signs.append(np.sign(area[kept][hit]))
            met.append(parts[kept][hit])
    column, height, sign = np.concatenate(columns), np.concatenate(heights), np.concatenate(signs)
    order = np.lexsort((height, column[:, 1], column[:, 0]))
    column, height, sign, part = column[order], height[order], sign[order], np.concatenate(met)[order]
    same = (column[1:] == column[:-1]).all(axis=1)
    total = np.cumsum(-sign)  # rays go up: a surface that faces down is entered
    first = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(total)), 0))
    layers = (total - (total + sign)[first])[:-1]
    middle = np.concatenate([column[1:] * CELL, (height[1:, None] + height[:-1, None]) / 2], axis=1)
    inside = np.zeros(len(middle), dtype=bool)
    for lower, upper in boxes:
        inside |= ((middle > lower) & (middle < upper)).all(axis=1)
    apart = looked_at[part[:-1], part[1:]]  # of an interval's ends; of a finger's, with what is outside it
    around = np.pad(apart & same, 1)
    inside &= apart | (around[:-2] & around[2:])
    return float((np.diff(height) * (same & inside & (layers >= 2))).sum() * CELL**2)


def cross2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def boxes_of(points: torch.Tensor, mask: Mask) -> np.ndarray:
    """Round what crosses, one box for every two parts (boxes, 2, 3)."""
    pairs = crossing_pairs(points, mask)
    parts = mask.surface.face_parts[pairs].sort(dim=1).values
    kinds, kind = torch.unique(parts, dim=0, return_inverse=True)
    corners = [points[mask.surface.faces[pairs[kind == k]]].flatten(0, 2).numpy() for k in range(len(kinds))]
    return np.array([[c.min(axis=0) - REACH, c.max(axis=0) + REACH] for c in corners])


@dataclass(frozen=True)
class Fit:
    overlap: float  # m3
    depth: float  # m
    px: float
    seconds: float
    points: np.ndarray


def fit(body: SkinnedBody, truth: Parameters, config: FitConfig, mask: Mask, boxes: np.ndarray) -> Fit:
    solution = solved(body, truth, config)
    points = torch.as_tensor(solution.vertices(0)).float()
    volume = overlap(points.double().numpy(), mask, boxes)
    return Fit(volume, deepest(points, mask), float(solution.error_px[0]), solution.seconds, points.numpy())


def solved(body: SkinnedBody, truth: Parameters, config: FitConfig) -> Solution:
    """From the truth, of which the camera sees body and hands."""
    embedding = body.embedding_of(OPENPOSE137)
    assert embedding is not None
    K = intrinsics(FOCAL, SIZE)[None]
    pixels = camera_to_pixels(
        world_to_camera(body.restrict(embedding).pose(truth).points[0]), torch.as_tensor(K).float()
    )
    keypoints, confidence = np.zeros((1, len(OPENPOSE137), 2)), np.zeros((1, len(OPENPOSE137)))
    points = embedded_points(embedding)
    keypoints[:, points] = pixels.numpy()
    seen = [k for group in ("body", "left_hand", "right_hand") for k in OPENPOSE137.groups[group]]
    confidence[:, [k for k in seen if k in points]] = 1.0
    observations = Observations("000", OPENPOSE137, keypoints, confidence, ("0",), np.array([SIZE]), is_clip=False)
    return solve(bind(body, observations, K, truth["transl"]), truth, config)


def recipes(solver: str, sigma: float) -> dict[str, FitConfig]:
    """The last stage of fit_smplx.yaml, and the same twice more with the term."""
    whole = FitConfig.load(RECIPE, [("error_bars", "false"), ("terms.keypoints.sigma", EXACT)])
    last = whole.stages[-1].model_copy(update={"solver": solver})
    # Gently first: what is deep must find its way out before it is held to it.
    stages = [last]
    for name, size, iterations in (("apart", 10 * sigma, 20), ("clear", sigma, 40)):
        changes = {"name": name, "iterations": iterations, "terms": {"interpenetration": {"sigma": size}}}
        stages.append(last.model_copy(update=changes))
    return {
        "without": whole.model_copy(update={"stages": [last]}),
        "with": whole.model_copy(update={"stages": stages}),
    }


def clean(body: SkinnedBody, mask: Mask, poses: Path | None, count: int) -> list[list[object]]:
    """Of poses in which nothing should be found: how many are, the deepest, and milliseconds of processor time for the
    body's own forward pass and for the search."""
    rng = np.random.default_rng(11)
    kinds: dict[str, list[Parameters]] = {}
    for arms in ("rest", "hanging", "forward"):
        kinds[arms] = [near_pose(body, arms, rng) for _ in range(count // 3)]
    if poses is not None:
        rows = torch.as_tensor(np.load(poses).reshape(-1, len(body.joint_names), 3)).float()
        kinds["from a file"] = [of_joints(body, row) for row in rows]
    table: list[list[object]] = []
    for kind, every in kinds.items():
        touched, deep, forward, search = 0, 0.0, 0.0, 0.0
        for parameters in every:
            began = time.process_time()
            points = body.pose(parameters).points[0, 0]
            posed = time.process_time()
            buried = find_buried(points, mask)
            search, forward = search + time.process_time() - posed, forward + posed - began
            touched, deep = touched + (len(buried.vertex) > 0), max(deep, deepest(points, mask))
        table.append([kind, len(every), touched, 1e3 * deep, 1e3 * forward / len(every), 1e3 * search / len(every)])
    return table


def near_pose(body: SkinnedBody, arms: str, rng: np.random.Generator) -> Parameters:
    """A person of any shape at rest, or with the arms down or forward, every joint of the body turned a little. Feet
    are a step apart: at rest they are so close that a turn of a twentieth puts one into the other."""
    rest = body.neutral(1, 1).replace({"betas": torch.as_tensor(rng.standard_normal((1, 1, 10))).float()})
    posed = rest if arms == "rest" else with_arms(body, rest, arms)
    vectors = 0.05 * rng.standard_normal((1, 1, 21, 3))
    for name, side in (("left_hip", 0.15), ("right_hip", -0.15)):
        vectors[..., body.joint_names.index(name) - 1, 2] += side
    turns = roma.rotvec_to_rotmat(torch.as_tensor(vectors).float())
    return posed.replace({"body_pose": turns @ posed["body_pose"]})


def of_joints(body: SkinnedBody, rows: torch.Tensor) -> Parameters:
    """Axis-angle of every joint in the body's order."""
    spans = body.surface.turned_by
    return body.neutral(1, 1).replace({n: roma.rotvec_to_rotmat(rows[s])[None, None] for n, s in spans.items()})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--solver", default="lm")
    parser.add_argument("--sigma", type=float, default=0.005)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args(arguments)
    body = bodies.load("open_body", betas=10, expressions=10)
    term = Interpenetration()
    mask = make_mask(body.surface, term.ignore, term.near)
    print(
        format_table(
            ("clean", "n", "found", "deepest mm", "ms pose", "ms search"), clean(body, mask, options.poses, 96)
        )
    )
    drawn = {kind: draw(body, mask, kind, np.random.default_rng([7, k])) for k, kind in enumerate(KINDS)}
    rows = []
    configs = recipes(options.solver, options.sigma)
    for number in range(options.count):
        kind = list(KINDS)[number % len(KINDS)]
        while True:  # a fit without the term may leave: its other beliefs move the limbs too
            truth = next(drawn[kind])
            start = body.pose(truth).points[0, 0]
            boxes = boxes_of(start, mask)
            before = overlap(start.double().numpy(), mask, boxes)
            a = fit(body, truth, configs["without"], mask, boxes)
            if DEEP < a.depth < DEEPEST:
                break
        b = fit(body, truth, configs["with"], mask, boxes)
        rows.append(
            [
                kind,
                1e6 * before,
                1e6 * a.overlap,
                1e6 * b.overlap,
                1e3 * a.depth,
                1e3 * b.depth,
                a.px,
                b.px,
                a.seconds,
                b.seconds,
            ]
        )
        print(number, rows[-1][0], *(f"{v:.2f}" for v in rows[-1][1:]), flush=True)
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            np.savez(options.save / f"{number:03d}.npz", start=start.numpy(), without=a.points, after=b.points)
    header = (
        "pose",
        "n",
        "overlap start",
        "without",
        "with",
        "less %",
        "depth without",
        "with",
        "px without",
        "with",
        "s without",
        "with",
    )
    table = []
    for kind in (*KINDS, "all"):
        some = np.array([row[1:] for row in rows if kind in (row[0], "all")])
        if len(some) == 0:
            continue
        mean = some.mean(axis=0)
        table.append([kind, len(some), *mean[:3], 100 * (1 - mean[2] / mean[1]), *mean[3:]])
    print(format_table(header, table))


if __name__ == "__main__":
    main()
