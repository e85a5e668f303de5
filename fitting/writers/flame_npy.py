"""flame_params.npy, flame_params_stats.npz, flame_params.json: a clip as talking-head trainers read it.

Columns: expression, global rotation 3, jaw 3. On a FLAME basis the expression has 50 columns (cut off or filled up
with zeros), so (N, 56) as EMOCA's codes are packed; another model keeps its own number E of expressions: (N, E + 6).
N is the number of input frames. The json says all of this, since other projects order the columns otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from fitting.types import OutputError, Solution
from fitting.writers.atomic import write_text
from fitting.writers.facts import CONVENTIONS, float_rows, person_name, versions
from fitting.writers.npz import write_npy, write_npz

FLAME_EXPRESSIONS = 50
PARTS = (("expression", "expression"), ("global_rotation", "global_orient"), ("jaw", "jaw_pose"))
"""Name in the file and block of the body, in the order of the columns."""


@dataclass(frozen=True)
class Rows:
    """What is packed, one row per frame, and what the sidecar says of it."""

    blocks: Mapping[str, Float[np.ndarray, "frames _"]]
    model: str
    model_sha256: str | None
    names: tuple[str, ...]
    valid: Bool[np.ndarray, " frames"]
    source: tuple[str, ...]
    person: str
    fps: float | None
    expression_names: tuple[str, ...] | None


def write(solution: Solution, folder: Path) -> list[Path]:
    """The three files of one person. Raises OutputError, also for a body that has no face."""
    seen = solution.observations
    rows = Rows(
        float_rows(solution), solution.body.name, solution.body.sha256, seen.names, solution.valid, solution.source,
        seen.person, seen.fps, getattr(solution.body, "expression_names", None),
    )  # fmt: skip
    return write_rows(rows, folder)


def write_rows(rows: Rows, folder: Path) -> list[Path]:
    """The three files, whoever found the numbers. Raises OutputError where a part is missing."""
    parts = packed_parts(rows)
    packed = np.concatenate(list(parts.values()), axis=1)
    statistics = {
        "mean": packed.mean(axis=0, dtype=np.float64).astype(np.float32),
        "std": packed.std(axis=0, dtype=np.float64).astype(np.float32),
    }
    sidecar = json.dumps(describe(rows, parts), indent=1, allow_nan=False) + "\n"
    return [
        write_npy(folder / person_name("flame_params.npy", rows.person), packed),
        write_npz(folder / person_name("flame_params_stats.npz", rows.person), statistics),
        write_text(folder / person_name("flame_params.json", rows.person), sidecar),
    ]


def packed_parts(rows: Rows) -> dict[str, Float[np.ndarray, "frames _"]]:
    """The blocks of `PARTS`, float32, in order."""
    missing = [block for _, block in PARTS if block not in rows.blocks]
    if missing:
        raise OutputError(
            f"output npy: it holds expression, global rotation and jaw, but {rows.model} has no "
            f"{', '.join(missing)}; leave npy out of --outputs."
        )
    parts = {name: np.asarray(rows.blocks[block], dtype=np.float32) for name, block in PARTS}
    if rows.model.startswith("flame"):
        parts["expression"] = _resized(parts["expression"], FLAME_EXPRESSIONS)
    return parts


def describe(rows: Rows, parts: dict[str, np.ndarray]) -> dict[str, object]:
    """The sidecar: order, sizes, model, frames."""
    ends = np.cumsum([part.shape[1] for part in parts.values()]).tolist()
    starts = [0, *ends[:-1]]
    return {
        "format": "keyfit-flame-params 1",
        "model": rows.model,
        "model_sha256": rows.model_sha256,
        "shape": [len(rows.names), ends[-1]],
        "order": [{"name": n, "columns": [a, b]} for n, a, b in zip(parts, starts, ends, strict=True)],
        "rotation": "axis-angle, radians",
        "expression_size_of_model": int(rows.blocks["expression"].shape[1]),
        "expression_names": None if rows.expression_names is None else [str(n) for n in rows.expression_names],
        "statistics": "mean and population standard deviation over all rows",
        "person": rows.person,
        "fps": None if rows.fps is None else float(rows.fps),
        "frames": len(rows.names),
        "names": list(rows.names),
        "valid": [bool(valid) for valid in rows.valid],
        "source": list(rows.source),
        "conventions": CONVENTIONS,
        "versions": list(versions()),
    }


def _resized(rows: Float[np.ndarray, "frames _"], columns: int) -> Float[np.ndarray, "frames _"]:
    resized = np.zeros((len(rows), columns), dtype=rows.dtype)
    kept = min(columns, rows.shape[1])
    resized[:, :kept] = rows[:, :kept]
    return resized
