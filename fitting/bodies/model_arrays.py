"""Arrays of model files: the right kind of numbers, finite, of sizes that fit each other; else a ModelError."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from fitting.types import ModelError
from fitting.unpickle import load_npz, load_pickle


@dataclass(frozen=True)
class ModelFile:
    """What a .pkl or .npz holds by name, and what it should be ('FLAME', ...), for messages."""

    path: Path
    kind: str
    needed: tuple[str, ...]
    data: Mapping[str, Any]

    @staticmethod
    def read(path: str | Path, kind: str, needed: tuple[str, ...]) -> ModelFile:
        """Raises ModelError for what is unreadable, hostile (see fitting/unpickle) or no table of arrays."""
        path = Path(path)
        content = load_npz(path) if path.suffix.lower() == ".npz" else load_pickle(path)
        if not isinstance(content, dict):
            raise ModelError(f"{path}: holds a {type(content).__name__} where a {kind} file holds named arrays")
        return ModelFile(path, kind, needed, content)

    def array(self, key: str) -> np.ndarray:
        if key not in self.data:
            missing = ", ".join(name for name in self.needed if name not in self.data)
            present = ", ".join(sorted(map(str, self.data))[:20]) or "nothing"
            raise ModelError(f"{self.path}: no {missing} in it, so it is no {self.kind} model. It holds: {present}.")
        return np.asarray(self.data[key])

    def floats(self, key: str, sparse_shape: tuple[int, int] | None = None) -> np.ndarray:
        """The array as float32 if it is that or float16, else as float64; finite. A sparse one has `sparse_shape`."""
        value: Any = self.data.get(key)
        if scipy.sparse.issparse(value):
            if value.shape != sparse_shape:  # before it is made dense: a file may claim any size
                raise ModelError(f"{self.path}: {key} is a sparse {value.shape}, expected {sparse_shape}")
            array = value.toarray()
        else:
            array = self.array(key)
        if array.dtype.kind not in "fiu":
            raise ModelError(f"{self.path}: {key} holds {array.dtype} where numbers are expected")
        array = np.atleast_1d(array).astype(np.float32 if array.dtype in (np.float16, np.float32) else np.float64)
        if not np.isfinite(array).all():
            raise ModelError(
                f"{self.path}: {key} has values that are not finite: the file is damaged, download it again"
            )
        return array

    def integers(self, key: str) -> np.ndarray:
        array = self.array(key)
        if array.dtype.kind not in "iu":
            raise ModelError(f"{self.path}: {key} holds {array.dtype} where whole numbers are expected")
        return np.atleast_1d(array).astype(np.int64)

    def parents(self) -> np.ndarray:
        """(J,): the first row of the table, whose root is -1, as uint32 4294967295."""
        table = np.atleast_2d(self.integers("kintree_table"))
        parents = table[0].copy()
        parents[parents == np.iinfo(np.uint32).max] = -1
        return parents

    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def extras(self) -> dict[str, np.ndarray]:
        """All other arrays; the entries of a dict as 'name.key'."""
        rest = {n: v for n, v in self.data.items() if n not in self.needed and not scipy.sparse.issparse(v)}
        flat = {name: value for name, value in rest.items() if not isinstance(value, dict)}
        for name, group in rest.items():
            if isinstance(group, dict):
                flat |= {f"{name}.{key}": value for key, value in group.items()}
        return {name: np.asarray(value) for name, value in flat.items()}

    def gender(self, stated: Any = None) -> str:
        """As the file states it, or else its name."""
        text = f"{'' if stated is None else stated} {self.path.stem}".lower()
        if "female" in text or self.path.stem.lower().startswith("basicmodel_f"):
            return "female"
        return "male" if "male" in text or self.path.stem.lower().startswith("basicmodel_m") else "neutral"


def unflattened(posedirs: np.ndarray, vertices: int) -> np.ndarray:
    """(V, 3, 9 (J - 1)) also from the (9 (J - 1), 3 V) in which other programs store it; any other shape as it is."""
    if posedirs.ndim == 2 and posedirs.shape[1] == 3 * vertices:
        return posedirs.T.reshape(vertices, 3, len(posedirs))
    return posedirs


def whole_number(value: Any) -> int:
    """A whole number, however it is wrapped; -1 if it is none."""
    array = np.asarray(value)
    return int(array.item()) if array.size == 1 and array.dtype.kind in "iu" else -1


def check_shapes(path: Path, arrays: Mapping[str, np.ndarray], joints: int) -> None:
    """Every shape against the number of vertices and joints; the faces and weights also by value. Raises ModelError."""
    vertices = len(arrays["v_template"])
    expected = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, arrays["shapedirs"].shape[-1]),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "f": (len(arrays["f"]), 3),
    } | ({"posedirs": (vertices, 3, 9 * (joints - 1))} if "posedirs" in arrays else {})
    wrong = [f"{n} is {arrays[n].shape}, expected {shape}" for n, shape in expected.items() if arrays[n].shape != shape]
    if wrong:
        raise ModelError(f"{path}: {vertices} vertices and {joints} joints, but {'; '.join(wrong)}")
    faces = arrays["f"]
    if faces.size == 0 or faces.min() < 0 or faces.max() >= vertices:
        raise ModelError(f"{path}: f names vertices that are not among the {vertices} of v_template")
    if np.abs(arrays["weights"].sum(axis=1) - 1).max() > 1e-3:
        raise ModelError(f"{path}: the skinning weights of some vertices do not sum to 1: the file is damaged")
