"""Clips with something wrong: frames without a detection, grossly wrong landmarks, cuts. What the fit makes of it.

    python -m benchmarks.trouble [--frames 150]

sample:talking_head with 1 px noise. Errors against the truth, means over frames of a kind: px between true and fitted
keypoints, mm between true and fitted face vertices within the head (moved rigidly onto the truth). `near` are frames
right beside missing or wrong ones. `second` are fits without the frames that the first one says are suspicious.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.draws import Noise, draw_clip, look
from benchmarks.table import format_table
from fitting import bodies, samples, start
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.quality import suspicious
from fitting.solve import solve
from fitting.truth import align_each, face_points
from fitting.types import Body, Observations, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
SEED = 2
MISSING, RUN = 0.3, 9  # share of frames; frames of the longer gaps
WRONG = 0.05
SHIFT_PX = (50.0, 200.0)
HEADER = ("clip", "frames", "count", "px", "worst", "mm in head", "source", "suspicious", "cuts true", "cuts said")


@dataclass(frozen=True)
class Trouble:
    """A clip, and what is wrong with it where."""

    name: str
    observations: Observations
    missing: np.ndarray  # (frames,) bool
    wrong: np.ndarray  # (frames,) bool
    cuts: tuple[int, ...] = ()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=150)
    frames = parser.parse_args(arguments).frames
    recipe = FitConfig.load(RECIPE, [("error_bars", "false")])
    body = bodies.load(**recipe.body.model_dump())
    rows = []
    for make in (sound, gaps, shifted, another_face, one_cut, small_cut):
        trouble = make(body, recipe, frames)
        solution = fit(body, trouble.observations, recipe)
        rows += judge(trouble, solution, "")
        said = suspicious(solution)
        if said:
            rows += judge(trouble, fit(body, without(trouble.observations, said), recipe), ", second")
    print(f"{samples.NAME}, {frames} frames, 1 px noise, {RECIPE.name}")
    print(format_table(HEADER, rows))


# ------------------------------------------------------------------ what goes wrong


def talking(body: Body, recipe: FitConfig, frames: int, jump: tuple[float, float] = (0.0, 0.0)) -> Observations:
    """The sample, its second half moved sideways and up by `jump` metres."""
    rng = np.random.default_rng(SEED)
    truth = samples.true_parameters(body, frames, rng)
    transl = truth["transl"].clone()
    transl[:, frames // 2 :, :2] += transl.new_tensor(jump)
    return look(body, truth.replace({"transl": transl}), recipe.terms, Noise(1.0), rng)


def sound(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    nothing = np.zeros(frames, dtype=bool)
    return Trouble("sound", talking(body, recipe, frames), nothing, nothing)


def gaps(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    """Half of what is missing in runs, half frame by frame."""
    rng = np.random.default_rng(SEED)
    missing = np.zeros(frames, dtype=bool)
    while missing.mean() < MISSING / 2:
        first = int(rng.integers(frames))
        missing[first : first + RUN] = True
    while missing.mean() < MISSING:
        missing[rng.integers(frames)] = True
    observations = without(talking(body, recipe, frames), np.flatnonzero(missing).tolist())
    return Trouble("30 % missing", observations, missing, np.zeros(frames, dtype=bool))


def shifted(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    """All landmarks of a frame somewhere else."""

    def shift(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle = rng.uniform(0, 2 * np.pi)
        return keypoints + rng.uniform(*SHIFT_PX) * np.array([np.cos(angle), np.sin(angle)])

    return spoilt("5 % shifted", body, recipe, frames, shift)


def another_face(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    """A stranger's landmarks at the person's own place and size, as when the detector takes a bystander or a poster."""
    terms = recipe.terms.model_copy(update={"acceleration": None})

    def stranger(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        found = look(body, draw_clip(body, terms, 1, rng), terms, Noise(1.0), rng).keypoints[0]
        size = (keypoints - keypoints.mean(axis=0)).std() / (found - found.mean(axis=0)).std()
        return (found - found.mean(axis=0)) * size + keypoints.mean(axis=0)

    return spoilt("5 % another face", body, recipe, frames, stranger)


def spoilt(
    name: str,
    body: Body,
    recipe: FitConfig,
    frames: int,
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> Trouble:
    rng = np.random.default_rng(SEED)
    wrong = np.zeros(frames, dtype=bool)
    wrong[rng.choice(frames, max(1, round(WRONG * frames)), replace=False)] = True
    observations = talking(body, recipe, frames)
    keypoints = observations.keypoints.copy()
    for k in np.flatnonzero(wrong):
        keypoints[k] = spoil(keypoints[k], rng)
    return Trouble(name, replace(observations, keypoints=keypoints), np.zeros(frames, dtype=bool), wrong)


def one_cut(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    """To the other side of the picture."""
    nothing = np.zeros(frames, dtype=bool)
    return Trouble("cut", talking(body, recipe, frames, (0.09, 0.04)), nothing, nothing, (frames // 2,))


def small_cut(body: Body, recipe: FitConfig, frames: int) -> Trouble:
    """By a third of the distance between the eyes: too little to be told from a fast move."""
    nothing = np.zeros(frames, dtype=bool)
    return Trouble("small cut", talking(body, recipe, frames, (0.03, 0.0)), nothing, nothing, (frames // 2,))


def without(observations: Observations, frames: list[int] | tuple[int, ...]) -> Observations:
    """As if nobody had been seen in these frames."""
    confidence = observations.confidence.copy()
    confidence[list(frames)] = 0.0
    return replace(observations, confidence=confidence)


# ------------------------------------------------------------------ what becomes of it


def fit(body: Body, observations: Observations, recipe: FitConfig) -> Solution:
    case = bind(body, observations, start.camera_matrices(observations, recipe.camera), torch.zeros(0))
    return solve(case, start.guess(case), recipe)


def judge(trouble: Trouble, solution: Solution, note: str) -> list[tuple[object, ...]]:
    """One line per kind of frames."""
    px, mm = errors(solution)
    bad = trouble.missing | trouble.wrong
    for cut in trouble.cuts:
        bad = bad | np.isin(np.arange(len(bad)), (cut - 1, cut))
    near = np.convolve(bad, [1, 1, 1], "same") > 0
    kinds = {
        "fitted": ~near,
        "near": near & ~trouble.missing & ~trouble.wrong,
        "missing": trouble.missing,
        "wrong": trouble.wrong,
    }
    said = np.isin(np.arange(len(bad)), suspicious(solution))
    true_cuts, cuts = (",".join(map(str, found)) or "-" for found in (trouble.cuts, solution.cuts[:6]))
    return [
        (
            trouble.name + note, kind, int(rows.sum()), float(px[rows].mean()), float(px[rows].max()),
            float(mm[rows].mean()), " ".join(sorted({solution.source[k] for k in np.flatnonzero(rows)})),
            int(said[rows].sum()), true_cuts, cuts,
        )
        for kind, rows in kinds.items()
        if rows.any()
    ]  # fmt: skip


def errors(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Of every frame: px between true and fitted keypoints, mm between the face vertices moved onto the truth."""
    truth = solution.observations.truth
    assert truth is not None
    every = np.arange(len(solution))
    parameters = samples.as_parameters(solution.body, dict(truth.values), len(solution))
    embedding = solution.body.embeddings[solution.observations.layout.name]
    restricted = solution.body.restrict(embedding)
    true_px, found_px = (samples.project(restricted, p, solution.K) for p in (parameters, solution.parameters))
    true_face = face_points(solution.body, dict(truth.values), every)
    face = align_each(face_points(solution.body, solution.parameters.rows(), every), true_face)
    px = np.linalg.norm(true_px - found_px, axis=-1).mean(axis=1)
    return px, 1000 * np.linalg.norm(face - true_face, axis=-1).mean(axis=1)


if __name__ == "__main__":
    main()
