"""FLAME model files, 2019 to 2023 Open, and files in their array format (the open head): read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitting.bodies.flame_shelf import OPEN_HEAD, version_of_path
from fitting.bodies.model_arrays import ModelFile, check_shapes, unflattened, whole_number
from fitting.types import ModelError

PARENTS = (-1, 0, 1, 1, 1)  # root, neck, jaw, left eye, right eye
_STANDARD_IDENTITY, _STANDARD_TOTAL = 300, 400  # coefficients of every FLAME since 2019: 300 identity, 100 expression


@dataclass(frozen=True, eq=False)
class FlameArrays:
    """What a FLAME file says. V vertices, T triangles, S identity and E expression directions, J = 5 joints.

    Metres, +y up, the face looks along +z, +x is the subject's left. float32 or float64 as in the file.
    """

    v_template: np.ndarray  # (V, 3)
    faces: np.ndarray  # (T, 3) int64
    identity_dirs: np.ndarray  # (V, 3, S) metres per standard deviation
    expression_dirs: np.ndarray  # (V, 3, E) metres per unit of the coefficient
    posedirs: np.ndarray  # (V, 3, 9 (J - 1)) metres per entry of the joints' (rotation matrix - identity), row by row
    J_regressor: np.ndarray  # (J, V)
    weights: np.ndarray  # (V, J)
    parents: np.ndarray  # (J,) int64, -1 at the root
    name: str  # open_head, flame2019, flame2020, flame2023, flame2023_no_jaw, flame2023_open, or flame: unknown
    gender: str  # neutral, female, male
    sha256: str  # of the file
    extras: Mapping[str, np.ndarray]  # all other arrays; the entries of a dict as 'name.key'


def read_flame(path: str | Path) -> FlameArrays:
    """Reads a FLAME .pkl or .npz, with or without chumpy inside, and checks every array against the others.

    Raises ModelError: unreadable or hostile file (see fitting/unpickle), a missing array, a shape that does not fit.
    """
    file = ModelFile.read(path, "FLAME", _READ)
    posedirs, vertices, shapedirs = (file.floats(key) for key in ("posedirs", "v_template", "shapedirs"))
    size = _identity_size(file.data, shapedirs, file.path)
    arrays = FlameArrays(
        v_template=vertices,
        faces=file.integers("f"),
        identity_dirs=shapedirs[..., :size],
        expression_dirs=shapedirs[..., size:],
        posedirs=unflattened(posedirs, len(vertices)),
        J_regressor=file.floats("J_regressor", sparse_shape=(len(PARENTS), len(vertices))),
        weights=file.floats("weights"),
        parents=_parents(file),
        name=_version(file.data, file.path),
        gender=_gender(file),
        sha256=file.sha256(),
        extras=file.extras(),
    )
    checked = {"v_template": vertices, "f": arrays.faces, "shapedirs": shapedirs, "posedirs": arrays.posedirs}
    checked |= {"J_regressor": arrays.J_regressor, "weights": arrays.weights}
    check_shapes(file.path, checked, len(PARENTS))
    return arrays


_READ = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


def _parents(file: ModelFile) -> np.ndarray:
    parents = file.parents()
    if tuple(parents) != PARENTS:
        kind = {24: ": this is a SMPL body", 52: ": this is a SMPL-H body", 55: ": this is a SMPL-X body"}
        raise ModelError(
            f"{file.path}: kintree_table names the parents {parents.tolist()}, FLAME's five joints have "
            f"{list(PARENTS)}{kind.get(len(parents), '')}"
        )
    return parents


def _identity_size(data: Mapping[str, Any], shapedirs: np.ndarray, path: Path) -> int:
    """How many of the shape directions are identity; the rest, which stand after them, are expression."""
    total = shapedirs.shape[-1] if shapedirs.ndim == 3 else 0
    metadata = data.get("supr_expression_metadata")
    if "num_betas" in data:
        size = whole_number(data["num_betas"])
    elif isinstance(metadata, dict) and "n_expr" in metadata:
        size = total - whole_number(metadata["n_expr"])
    else:
        size = _STANDARD_IDENTITY if total == _STANDARD_TOTAL else -1
    if not 0 < size < total:
        raise ModelError(
            f"{path}: shapedirs is {shapedirs.shape}: expected (vertices, 3, {_STANDARD_TOTAL}), "
            "or num_betas that says how many of the directions are identity"
        )
    return size


def _version(data: Mapping[str, Any], path: Path) -> str:
    if {"expression_kind", "expression_names", "num_betas"} <= set(data):
        return OPEN_HEAD
    return "flame2023_open" if "supr_expression_metadata" in data else version_of_path(path)


def _gender(file: ModelFile) -> str:
    metadata = file.data.get("supr_expression_metadata")
    return file.gender(metadata.get("supr_gender") if isinstance(metadata, dict) else file.data.get("gender"))
