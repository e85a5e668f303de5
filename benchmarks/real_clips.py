"""Real clips: does the fit follow the detector, calmly, and with a head that a person could have?

    python -m benchmarks.real_clips CLIPS_DIR [--recipe cfg_files/fit_flame.yaml]

single_face.mp4 and face_noface.mov of the folder, everybody in them. Errors in percent of the distance between the
outer eye corners as detected; `held` is of a random half of the points that took no part in a second fit. `jitter` is
the root mean square of second differences in pixels, the fit's over the detector's. `skull` as in benchmarks.photos.
Openings and the mouth's width are distances in the picture over the size of the face; slope (and correlation) of the
fit's against the detector's: 1 follows fully.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from jaxtyping import Float

from benchmarks import photos
from benchmarks.table import format_table
from fitting import bodies
from fitting.config import FitConfig
from fitting.evidence import embedded_points
from fitting.quality import suspicious
from fitting.types import Observations, Solution

CLIPS = ("single_face.mp4", "face_noface.mov")
SEED = 0
DISTANCES = {"opening": (13, 14), "width": (61, 291), "left lids": (386, 374), "right lids": (159, 145)}
HEADER = (
    "clip", "person", "frames", "seen", "all %", "held %", "jitter", "max |beta|", "skull mm", *DISTANCES,
    "suspicious", "seconds",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--recipe", type=Path, default=photos.RECIPE)
    options = parser.parse_args(arguments)
    config = FitConfig.load(options.recipe)
    body = bodies.load(**config.body.model_dump())
    rows = []
    for name in CLIPS:
        for person in photos.observe(options.folder / name, config):
            solution = photos.fit(body, person, config)
            again = photos.fit(body, half(person, fitted=True), config)
            rows.append((name, *measure(solution, again)))
    print(f"{options.recipe.name} on {body.name}")
    print(format_table(HEADER, rows))


def measure(solution: Solution, again: Solution) -> tuple[object, ...]:
    observations = solution.observations
    seen = np.flatnonzero(solution.valid)
    unseen_px = distances(again, half(observations, fitted=False))
    betas = solution.frame(int(seen[0]))["betas"]
    size = solution.error_px / solution.error_percent  # pixels between the outer eye corners, / 100
    return (
        observations.person,
        len(solution),
        len(seen),
        float(solution.error_percent[seen].mean()),
        float((unseen_px / size)[seen].mean()),
        jitter_ratio(solution),
        float(betas.abs().max()),
        photos.skull_displacement(solution.body, betas),
        *(follows(solution, 100 * size, pair) for pair in DISTANCES.values()),
        len(suspicious(solution)),
        solution.seconds,
    )


def half(observations: Observations, fitted: bool) -> Observations:
    """A random half of the points, or the other half."""
    chosen = np.random.default_rng(SEED).random(observations.confidence.shape[1]) < 0.5
    return replace(observations, confidence=np.where(chosen == fitted, observations.confidence, 0.0))


def distances(solution: Solution, observations: Observations) -> Float[np.ndarray, " frames"]:
    """Mean over those points of `observations` that the body has."""
    used = (observations.confidence > 0) & np.isfinite(solution.projected).all(axis=-1)
    away = np.where(used, np.linalg.norm(solution.projected - observations.keypoints, axis=-1), 0.0)
    return away.sum(axis=1) / np.maximum(used.sum(axis=1), 1)


def jitter_ratio(solution: Solution) -> float:
    """Over frames whose neighbours on both sides were seen and that follow each other."""
    points = embedded_points(solution.body.embeddings[solution.observations.layout.name])
    starts = np.isin(np.arange(len(solution)), solution.cuts)
    valid = solution.valid
    used = valid[:-2] & valid[1:-1] & valid[2:] & ~starts[1:-1] & ~starts[2:]
    second = [np.diff(px[:, points], 2, axis=0)[used] for px in (solution.projected, solution.observations.keypoints)]
    fit, detected = (np.sqrt(np.mean(values**2)) for values in second)
    return float(fit / detected)


def follows(solution: Solution, size: np.ndarray, pair: tuple[int, int]) -> str:
    """Slope of the fit's distance against the detector's, and their correlation."""
    seen = solution.valid
    fit, detected = (
        np.linalg.norm(px[seen, pair[0]] - px[seen, pair[1]], axis=-1) / size[seen]
        for px in (solution.projected, solution.observations.keypoints)
    )
    covariance = np.cov(detected, fit)
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    return f"{covariance[0, 1] / covariance[0, 0]:.2f} ({correlation:.2f})"


if __name__ == "__main__":
    main()
