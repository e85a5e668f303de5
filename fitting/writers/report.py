"""report.json and conf.yaml: how the fit went, frame by frame, for everybody in the input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fitting.types import Solution
from fitting.writers.atomic import write_text
from fitting.writers.facts import trust


def write(
    solutions: Sequence[Solution],
    config_yaml: str,
    folder: Path,
    truth: Mapping[str, object] | None = None,
) -> list[Path]:
    """Both files, over all persons; `truth` is what a comparison with known parameters found. Raises OutputError."""
    content = json.dumps(plain(build(solutions, truth)), indent=1, allow_nan=False) + "\n"
    return [write_text(folder / "report.json", content), write_text(folder / "conf.yaml", config_yaml)]


def build(solutions: Sequence[Solution], truth: Mapping[str, object] | None = None) -> dict[str, object]:
    """The report as a dict; not finite numbers still inside."""
    report: dict[str, object] = {
        "model": solutions[0].body.name if solutions else None,
        "model_sha256": solutions[0].body.sha256 if solutions else None,
        "seconds": sum(solution.seconds for solution in solutions),
        "cuts": {s.observations.person: list(s.cuts) for s in solutions if s.cuts},
        "error_bars": {s.observations.person: error_bars(s) for s in solutions if s.sd},
        "frames": [row(solution, k) for solution in solutions for k in range(len(solution))],
    }
    return report if truth is None else {**report, "truth": truth}


def error_bars(solution: Solution) -> dict[str, object]:
    """Root mean square standard deviation of every block and of keypoints, and what the evidence left open."""
    return {
        "sd": {name: root_mean_square(values) for name, values in solution.sd.items()},
        "sd_px": math.nan if solution.projected_sd is None else root_mean_square(solution.projected_sd),
        "weight": {name: weight.mean() for name, weight in trust(solution).items()},
        "ambiguities": list(solution.ambiguities),
    }


def root_mean_square(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else math.nan


def row(solution: Solution, k: int) -> dict[str, object]:
    """One frame of one person. `frame` is the name used for folders, `index` its 0-based number in the input."""
    return {
        "frame": solution.observations.names[k],
        "index": k,
        "person": solution.observations.person,
        "valid": solution.valid[k],
        "source": solution.source[k],
        "error_px": solution.error_px[k],
        "error_percent": solution.error_percent[k],
        "start_error_px": solution.start_error_px[k],
        "suspicious": k in solution.suspicious,
        "sd_px": mean_deviation(solution, k),
        "cost_start": {term: cost[k] for term, cost in solution.cost_start.items()},
        "cost_end": {term: cost[k] for term, cost in solution.cost_end.items()},
        "iterations": solution.iterations[k],
        "stop": solution.stop[k].value,
    }


def mean_deviation(solution: Solution, k: int) -> float:
    """Mean standard deviation of the projected keypoints, pixels; NaN where there are no error bars."""
    if solution.projected_sd is None:
        return math.nan
    known = solution.projected_sd[k][np.isfinite(solution.projected_sd[k])]
    return float(known.mean()) if len(known) else math.nan


def plain(value: object) -> object:
    """What JSON can hold: numpy numbers and arrays become Python's, NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
