"""FLAME model files, 2019 to 2023 Open, and files in their array format (the open head): read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from fitting.bodies.flame_shelf import OPEN_HEAD, version_of_path
from fitting.bodies.unpickle import load_npz, load_pickle
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

    Raises ModelError: unreadable or hostile file (see unpickle.py), a missing array, a shape that does not fit.
    """
    path = Path(path)
    content = load_npz(path) if path.suffix.lower() == ".npz" else load_pickle(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__} where a FLAME file holds named arrays")
    data = dict(content)
    posedirs = _floats(data, "posedirs", path)
    vertices = _floats(data, "v_template", path)
    shapedirs = _floats(data, "shapedirs", path)
    size = _identity_size(data, shapedirs, path)
    arrays = FlameArrays(
        v_template=vertices,
        faces=_integers(data, "f", path),
        identity_dirs=shapedirs[..., :size],
        expression_dirs=shapedirs[..., size:],
        posedirs=_unflattened(posedirs, len(vertices)),
        J_regressor=_floats(data, "J_regressor", path, sparse_shape=(len(PARENTS), len(vertices))),
        weights=_floats(data, "weights", path),
        parents=_parents(data, path),
        name=_version(data, path),
        gender=_gender(data, path),
        sha256=_sha256(path),
        extras=_extras(data),
    )
    _check(arrays, path)
    return arrays


_READ = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


def _array(data: Mapping[str, Any], key: str, path: Path) -> np.ndarray:
    if key not in data:
        missing = ", ".join(name for name in _READ if name not in data)
        present = ", ".join(sorted(map(str, data))[:20]) or "nothing"
        raise ModelError(f"{path}: no {missing} in it, so it is no FLAME model. It holds: {present}.")
    return np.asarray(data[key])


def _floats(data: Mapping[str, Any], key: str, path: Path, sparse_shape: tuple[int, int] | None = None) -> np.ndarray:
    """The array as float32 if it is that or float16, else as float64; finite. A sparse one has `sparse_shape`."""
    value: Any = data.get(key)
    if scipy.sparse.issparse(value):
        if value.shape != sparse_shape:  # before it is made dense: a file may claim any size
            raise ModelError(f"{path}: {key} is a sparse {value.shape}, expected {sparse_shape}")
        array = value.toarray()
    else:
        array = _array(data, key, path)
    if array.dtype.kind not in "fiu":
        raise ModelError(f"{path}: {key} holds {array.dtype} where numbers are expected")
    array = np.atleast_1d(array).astype(np.float32 if array.dtype in (np.float16, np.float32) else np.float64)
    if not np.isfinite(array).all():
        raise ModelError(f"{path}: {key} has values that are not finite: the file is damaged, download it again")
    return array


def _integers(data: Mapping[str, Any], key: str, path: Path) -> np.ndarray:
    array = _array(data, key, path)
    if array.dtype.kind not in "iu":
        raise ModelError(f"{path}: {key} holds {array.dtype} where whole numbers are expected")
    return np.atleast_1d(array).astype(np.int64)


def _unflattened(posedirs: np.ndarray, vertices: int) -> np.ndarray:
    """(V, 3, 36) also from the (36, 3 V) in which other programs store it; any other shape as it is, for `_check`."""
    if posedirs.ndim == 2 and posedirs.shape[1] == 3 * vertices:
        return posedirs.T.reshape(vertices, 3, len(posedirs))
    return posedirs


def _parents(data: Mapping[str, Any], path: Path) -> np.ndarray:
    """(J,): the first row of the table, whose root is -1, as uint32 4294967295."""
    table = np.atleast_2d(_integers(data, "kintree_table", path))
    parents = table[0].copy()
    parents[parents == np.iinfo(np.uint32).max] = -1
    if tuple(parents) != PARENTS:
        kind = {24: ": this is a SMPL body", 52: ": this is a SMPL-H body", 55: ": this is a SMPL-X body"}
        raise ModelError(
            f"{path}: kintree_table names the parents {parents.tolist()}, FLAME's five joints have "
            f"{list(PARENTS)}{kind.get(len(parents), '')}"
        )
    return parents


def _identity_size(data: Mapping[str, Any], shapedirs: np.ndarray, path: Path) -> int:
    """How many of the shape directions are identity; the rest, which stand after them, are expression."""
    total = shapedirs.shape[-1] if shapedirs.ndim == 3 else 0
    metadata = data.get("supr_expression_metadata")
    if "num_betas" in data:
        size = _whole(data["num_betas"])
    elif isinstance(metadata, dict) and "n_expr" in metadata:
        size = total - _whole(metadata["n_expr"])
    else:
        size = _STANDARD_IDENTITY if total == _STANDARD_TOTAL else -1
    if not 0 < size < total:
        raise ModelError(
            f"{path}: shapedirs is {shapedirs.shape}: expected (vertices, 3, {_STANDARD_TOTAL}), "
            "or num_betas that says how many of the directions are identity"
        )
    return size


def _whole(value: Any) -> int:
    """A whole number, however it is wrapped; -1 if it is none."""
    array = np.asarray(value)
    return int(array.item()) if array.size == 1 and array.dtype.kind in "iu" else -1


def _version(data: Mapping[str, Any], path: Path) -> str:
    if {"expression_kind", "expression_names", "num_betas"} <= set(data):
        return OPEN_HEAD
    return "flame2023_open" if "supr_expression_metadata" in data else version_of_path(path)


def _gender(data: Mapping[str, Any], path: Path) -> str:
    """As the file states it, or else its name."""
    metadata = data.get("supr_expression_metadata")
    stated = metadata.get("supr_gender") if isinstance(metadata, dict) else data.get("gender")
    text = f"{'' if stated is None else stated} {path.stem}".lower()
    return "female" if "female" in text else "male" if "male" in text else "neutral"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _extras(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    rest = {name: value for name, value in data.items() if name not in _READ and not scipy.sparse.issparse(value)}
    flat = {name: value for name, value in rest.items() if not isinstance(value, dict)}
    for name, group in rest.items():
        if isinstance(group, dict):
            flat |= {f"{name}.{key}": value for key, value in group.items()}
    return {name: np.asarray(value) for name, value in flat.items()}


def _check(arrays: FlameArrays, path: Path) -> None:
    """Every shape against the number of vertices and joints; the faces and weights also by value."""
    vertices, joints = len(arrays.v_template), len(arrays.parents)
    expected = {
        "v_template": (vertices, 3),
        "identity_dirs": (vertices, 3, arrays.identity_dirs.shape[-1]),
        "expression_dirs": (vertices, 3, arrays.expression_dirs.shape[-1]),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "faces": (len(arrays.faces), 3),
    }
    wrong = [
        f"{name} is {getattr(arrays, name).shape}, expected {shape}"
        for name, shape in expected.items()
        if getattr(arrays, name).shape != shape
    ]
    if wrong:
        raise ModelError(f"{path}: {vertices} vertices and {joints} joints, but {'; '.join(wrong)}")
    if arrays.faces.size == 0 or arrays.faces.min() < 0 or arrays.faces.max() >= vertices:
        raise ModelError(f"{path}: f names vertices that are not among the {vertices} of v_template")
    if np.abs(arrays.weights.sum(axis=1) - 1).max() > 1e-3:
        raise ModelError(f"{path}: the skinning weights of some vertices do not sum to 1: the file is damaged")
