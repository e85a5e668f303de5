"""flame_params.npy, flame_params_stats.npz, flame_params.json: a clip as talking-head trainers read it.

Columns: expression, global rotation 3, jaw 3. On a FLAME basis the expression has 50 columns (cut off or filled up
with zeros), so (N, 56) as EMOCA's codes are packed; another model keeps its own number E of expressions: (N, E + 6).
N is the number of input frames. The json says all of this, since other projects order the columns otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.types import OutputError, Solution
from fitting.writers.atomic import write_text
from fitting.writers.facts import CONVENTIONS, float_rows, person_name, versions
from fitting.writers.npz import write_npy, write_npz

FLAME_EXPRESSIONS = 50
PARTS = (("expression", "expression"), ("global_rotation", "global_orient"), ("jaw", "jaw_pose"))
"""Name in the file and block of the body, in the order of the columns."""


def write(solution: Solution, folder: Path) -> list[Path]:
    """The three files of one person. Raises OutputError, also for a body that has no face."""
    parts = packed_parts(solution)
    packed = np.concatenate(list(parts.values()), axis=1)
    statistics = {
        "mean": packed.mean(axis=0, dtype=np.float64).astype(np.float32),
        "std": packed.std(axis=0, dtype=np.float64).astype(np.float32),
    }
    person = solution.observations.person
    sidecar = json.dumps(describe(solution, parts), indent=1, allow_nan=False) + "\n"
    return [
        write_npy(folder / person_name("flame_params.npy", person), packed),
        write_npz(folder / person_name("flame_params_stats.npz", person), statistics),
        write_text(folder / person_name("flame_params.json", person), sidecar),
    ]


def packed_parts(solution: Solution) -> dict[str, Float[np.ndarray, "frames _"]]:
    """The blocks of `PARTS`, float32, in order."""
    rows = float_rows(solution)
    missing = [block for _, block in PARTS if block not in rows]
    if missing:
        raise OutputError(
            f"output npy: it holds expression, global rotation and jaw, but {solution.body.name} has no "
            f"{', '.join(missing)}; leave npy out of --outputs."
        )
    parts = {name: rows[block] for name, block in PARTS}
    if is_flame(solution):
        parts["expression"] = _resized(parts["expression"], FLAME_EXPRESSIONS)
    return parts


def is_flame(solution: Solution) -> bool:
    return solution.body.name.startswith("flame")


def describe(solution: Solution, parts: dict[str, np.ndarray]) -> dict[str, object]:
    """The sidecar: order, sizes, model, frames."""
    seen = solution.observations
    ends = np.cumsum([part.shape[1] for part in parts.values()]).tolist()
    starts = [0, *ends[:-1]]
    names = getattr(solution.body, "expression_names", None)
    size = solution.parameters["expression"].shape[-1]
    return {
        "format": "keyfit-flame-params 1",
        "model": solution.body.name,
        "model_sha256": solution.body.sha256,
        "shape": [len(seen), ends[-1]],
        "order": [{"name": n, "columns": [a, b]} for n, a, b in zip(parts, starts, ends, strict=True)],
        "rotation": "axis-angle, radians",
        "expression_size_of_model": int(size),
        "expression_names": None if names is None else [str(name) for name in names],
        "statistics": "mean and population standard deviation over all rows",
        "person": seen.person,
        "fps": None if seen.fps is None else float(seen.fps),
        "frames": len(seen),
        "names": list(seen.names),
        "valid": [bool(valid) for valid in solution.valid],
        "source": list(solution.source),
        "conventions": CONVENTIONS,
        "versions": list(versions()),
    }


def _resized(rows: Float[np.ndarray, "frames _"], columns: int) -> Float[np.ndarray, "frames _"]:
    resized = np.zeros((len(rows), columns), dtype=rows.dtype)
    kept = min(columns, rows.shape[1])
    resized[:, :kept] = rows[:, :kept]
    return resized
