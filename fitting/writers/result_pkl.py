"""results/<frame>/<person>.pkl: one frame as a plain dict of numpy arrays, as SMPLify-X writes it.

Every block is (1, size) float32, rotations as axis-angle. Only numpy and built-in types are inside, protocol 4, so
that any Python since 3.4 reads it without Keyfit.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from fitting.camera import WORLD_FROM_CAMERA
from fitting.types import Solution
from fitting.writers.atomic import write_bytes
from fitting.writers.facts import CONVENTIONS, float_rows, frames_with_body


def write(solution: Solution, folder: Path) -> list[Path]:
    """One file for every frame that has a body. Raises OutputError."""
    rows = float_rows(solution)
    person = solution.observations.person
    written = []
    for k, frame in frames_with_body(solution):
        content = pickle.dumps({**{name: values[k : k + 1] for name, values in rows.items()}, **_about(solution, k)}, 4)
        written.append(write_bytes(folder / "results" / frame / f"{person}.pkl", content))
    return written


def _about(solution: Solution, k: int) -> dict[str, object]:
    return {
        "K": np.array(solution.K[k], dtype=np.float64),
        "world_from_camera": np.array(WORLD_FROM_CAMERA),
        "image_size": np.array(solution.observations.image_sizes[k], dtype=np.int64),
        "keypoints": np.array(solution.observations.keypoints[k], dtype=np.float32),
        "confidence": np.array(solution.observations.confidence[k], dtype=np.float32),
        "projected": np.array(solution.projected[k], dtype=np.float32),
        "error_px": float(solution.error_px[k]),
        "error_percent": float(solution.error_percent[k]),
        "valid": bool(solution.valid[k]),
        "source": str(solution.source[k]),
        "frame": k,
        "name": str(solution.observations.names[k]),
        "person": str(solution.observations.person),
        "layout": str(solution.observations.layout.name),
        "model": str(solution.body.name),
        "model_sha256": str(solution.body.sha256),
        "conventions": CONVENTIONS,
    }
