"""Real photos: how near the fitted points come to the detected ones, and to those that were not fitted.

    python -m benchmarks.photos PATH [PATH ...] [--sheet sheet.png] [--recipe cfg_files/fit_flame.yaml]

A PATH is a folder of photos, a photo, or a landmark file. Errors are means over a face's points in percent of the
distance between the outer eye corners as detected. `held` is the error of a random half of the points that took no
part in a second fit. Landmarks cannot see a ruined skull: `skull` is the furthest that identity moves the part of the
resting head that is above the eyes and not of the face, millimetres; look at the sheet as well.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.table import format_table
from fitting import bodies, detectors, readers, start
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.readers.files import IMAGE_SUFFIXES, files_in
from fitting.solve import solve
from fitting.types import Body, NoPersonError, Observations, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
SEED = 0
PANEL = 512  # pixels
HEADER = ("photo", "person", "points", "all %", "held %", "max |beta|", "skull mm", "stop", "seconds")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--sheet", type=Path, help="a png of all strips: photo, overlay, from the side")
    options = parser.parse_args(arguments)
    config = FitConfig.load(options.recipe)
    body = bodies.load(**config.body.model_dump())
    measured, strips, missing = [], [], []
    for path in [photo for given in options.paths for photo in photos_in(given)]:
        try:
            people = observe(path, config)
        except NoPersonError:
            missing.append(path.name)
            continue
        for person in people:
            solution = fit(body, person, config)
            for k in np.flatnonzero(solution.valid):
                measured.append(measure(path.name, config, solution, int(k)))
                if options.sheet:
                    strips.append(strip(solution, int(k)))
    print(f"{options.recipe.name} on {body.name}, {len(measured)} faces; no face in: {', '.join(missing) or 'none'}")
    print(format_table(HEADER, [m.row() for m in measured]))
    if options.sheet and strips:
        write_sheet(options.sheet, strips)


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    name: str
    person: str
    points: int
    percent: float
    held_percent: float
    largest_beta: float
    skull_mm: float
    stop: str
    seconds: float

    def row(self) -> tuple[object, ...]:
        return tuple(vars(self).values())


def photos_in(path: Path) -> list[Path]:
    return files_in(path, IMAGE_SUFFIXES) if path.is_dir() else [path]


def observe(path: Path, config: FitConfig) -> list[Observations]:
    """Everybody in a photo, or the landmarks of a file."""
    found = readers.read(path, readers.ReadOptions(**config.read.model_dump(exclude={"cuts"})))
    if isinstance(found, list):
        return found
    options = detectors.DetectorOptions(config.detector.max_persons, config.detector.task_file)
    return detectors.detect(found, options)


def fit(body: Body, observations: Observations, config: FitConfig) -> Solution:
    like = torch.zeros(0, dtype=getattr(torch, config.precision))
    case = bind(body, observations, start.camera_matrices(observations, config.camera), like)
    return solve(case, start.guess(case), config)


def measure(name: str, config: FitConfig, solution: Solution, k: int) -> Measured:
    """Fits a random half of the points once more, for the other half's error."""
    observations = solution.observations
    used = (observations.confidence[k] > 0) & np.isfinite(solution.projected[k]).all(axis=-1)
    half = np.random.default_rng(SEED).random(len(used)) < 0.5
    seen_half = replace(observations, confidence=np.where(half, observations.confidence, 0.0))
    again = fit(solution.body, seen_half, config)
    size = 100 * solution.error_px[k] / solution.error_percent[k]  # pixels between the outer eye corners, / 100
    distance = np.linalg.norm(again.projected[k] - observations.keypoints[k], axis=-1)
    betas = solution.frame(k)["betas"]
    return Measured(
        name=name,
        person=observations.person,
        points=int(used.sum()),
        percent=float(solution.error_percent[k]),
        held_percent=float(100 * distance[used & ~half].mean() / size),
        largest_beta=float(betas.abs().max()),
        skull_mm=skull_displacement(solution.body, betas),
        stop=solution.stop[k].value,
        seconds=solution.seconds / len(solution),
    )


def skull_displacement(body: Body, betas: torch.Tensor) -> float:
    """Millimetres by which identity moves the skull at most: what is higher than the eyes and not of the face."""
    neutral = body.neutral(1, 1)
    mean = body.pose(neutral)
    shaped = body.pose(neutral.replace({"betas": betas.to(neutral["betas"])}))
    above = mean.points[0, 0, :, 1] > mean.joints[0, 0, body.joint_names.index("left_eye"), 1]
    if body.face_region is not None:
        above[torch.as_tensor(body.face_region)] = False
    return float(1000 * (shaped.points - mean.points)[0, 0, above].norm(dim=-1).max())


def strip(solution: Solution, k: int) -> np.ndarray:
    """Photo, overlay and side view of one face."""
    from fitting.writers.picture_overlay import draw_strip, plan_crops, plan_looks

    pictures = solution.observations.pictures
    image = None if pictures is None else next(p for i, p in enumerate(pictures.read()) if i == k)
    return draw_strip([solution], k, image, plan_crops([solution], PANEL)[k], plan_looks([solution])[k])


def write_sheet(path: Path, strips: list[np.ndarray]) -> None:
    """The strips in two columns on white."""
    from PIL import Image

    columns, gap = min(2, len(strips)), 8
    width, height = (max(s.shape[axis] for s in strips) + gap for axis in (1, 0))
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for number, picture in enumerate(strips):
        sheet.paste(Image.fromarray(picture), (number % columns * width, number // columns * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
