"""The whole trip: observe, load, start, solve, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fitting import bodies, detectors, readers, start, writers
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.solve import solve
from fitting.types import Body, ConfigError, Observations, Solution

Progress = Callable[[str, int, int], None]  # what, done, of how many


def fit(config: FitConfig, progress: Progress = lambda *_: None) -> list[Solution]:
    """Fits every person of the input and writes the configured outputs; one solution per person."""
    check_outputs(config)
    like = tensor_kind(config)
    people = observe(config, progress)
    body = load_body(config).to(like)
    writer = writers.Folder(config.output_folder(), config.to_yaml())
    solutions = []
    for observations in people:
        solution = fit_person(body, observations, config, like, progress)
        writer.write(solution, config.outputs, several=len(people) > 1, progress=progress)
        solutions.append(solution)
    writer.finish(solutions)
    return solutions


def observe(config: FitConfig, progress: Progress = lambda *_: None) -> list[Observations]:
    """Landmarks as they were given, or found by the detector in pictures."""
    found = readers.read(config.input, readers.ReadOptions(**config.read.model_dump()))
    if not isinstance(found, list):
        options = detectors.DetectorOptions(
            max_persons=config.detector.max_persons,
            task_file=config.detector.task_file,
            min_confidence=config.detector.min_confidence,
            progress=lambda done, count: progress("detecting", done, count),
        )
        found = detectors.detect(found, options)
    found = [detectors.keep_points(person, config.detector.points) for person in found[: config.detector.max_persons]]
    return readers.with_start(found, config.start) if config.start else found


def load_body(config: FitConfig) -> Body:
    return bodies.load(**config.body.model_dump())


def fit_person(
    body: Body, observations: Observations, config: FitConfig, like: torch.Tensor, progress: Progress
) -> Solution:
    """One person through start and stages."""
    case = bind(body, observations, start.camera_matrices(observations, config.camera), like)
    parameters = start.guess(case)
    return solve(case, parameters, config, progress)


def tensor_kind(config: FitConfig) -> torch.Tensor:
    """An empty tensor of the configured precision on the configured device.

    Raises ConfigError when the device is not there.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, dtype=getattr(torch, config.precision), device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {config.device!r} cannot be used ({reason}): choose cpu or auto") from error


def check_outputs(config: FitConfig) -> None:
    unknown = [name for name in config.outputs if name not in writers.WRITERS]
    if unknown:
        raise ConfigError(f"unknown output {unknown[0]!r}: choose from {', '.join(writers.WRITERS)}")


def recipe_folder() -> Path:
    """Where the shipped recipes are: beside the package in a checkout, inside it when installed."""
    beside = Path(__file__).resolve().parents[1] / "cfg_files"
    return beside if beside.is_dir() else Path(__file__).resolve().parent / "recipes"
