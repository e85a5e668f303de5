"""Makes files of FLAME's shapes, so that nothing licensed is needed: as Python 2, chumpy and torch wrote them."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

ROWS, COLUMNS = 12, 10
VERTICES = ROWS * COLUMNS


def grid_faces() -> np.ndarray:
    """(T, 3) triangles of a ROWS x COLUMNS grid."""
    corner = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).reshape(-1, 1)
    return np.concatenate([corner + (0, 1, COLUMNS), corner + (1, COLUMNS + 1, COLUMNS)]).astype(np.uint32)


def flame_arrays(identity: int = 300, expressions: int = 100) -> dict[str, Any]:
    """The keys of FLAME2020's generic_model.pkl over a small grid."""
    rng = np.random.default_rng(1)
    regressor = rng.random((5, VERTICES)) * (rng.random((5, VERTICES)) < 0.1)
    weights = rng.random((VERTICES, 5))
    return {
        "v_template": rng.normal(0, 0.1, (VERTICES, 3)),
        "f": grid_faces(),
        "shapedirs": rng.normal(0, 0.01, (VERTICES, 3, identity + expressions)),
        "posedirs": rng.normal(0, 0.01, (VERTICES, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "J": rng.normal(size=(5, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


# ------------------------------------------------------------------ as others wrote them


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's `str`, which is what the old model files hold."""

    dispatch = pickle._Pickler.dispatch.copy()

    def _save_str(self, value: str | bytes) -> None:
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_str


def python2_pickle(value: Any) -> bytes:
    """Protocol 2, as Python 2 wrote it; the modules have Python 2's and old numpy's names."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    content = stream.getvalue()
    for new, old in (
        (b"numpy._core.", b"numpy.core."),
        (b"sparse._csc\n", b"sparse.csc\n"),
        (b"commands\n", b"subprocess\n"),
    ):
        content = content.replace(new, old)
    return content


@contextmanager
def fake_chumpy() -> Iterator[types.SimpleNamespace]:
    """Classes with chumpy's names, for as long as a pickle is being written."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    kinds = {}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("chumpy.ch", "add")):
        kinds[name] = type(name, (), {"__module__": module})
        setattr(modules[module], name, kinds[name])
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(**kinds)
    finally:
        for name in modules:
            del sys.modules[name]


def with_state(kind: type, **state: Any) -> Any:
    made = kind()
    made.__dict__.update(state)
    return made


def chumpy_flame() -> tuple[dict[str, Any], bytes]:
    """FLAME arrays, and a Python 2 pickle of them with a Ch for the shapes and a Select for the template."""
    arrays = flame_arrays()
    order = np.random.default_rng(2).permutation(3 * VERTICES)
    shuffled = np.empty(3 * VERTICES)
    shuffled[order] = arrays["v_template"].ravel()
    with fake_chumpy() as chumpy:
        base = with_state(chumpy.Ch, x=shuffled, _dirty_vars={"x"}, _itr=None)
        select = with_state(chumpy.Select, a=base, idxs=order, preferred_shape=(VERTICES, 3))
        shapes = with_state(chumpy.Ch, x=arrays["shapedirs"], _dirty_vars=set(), _itr=None)
        content = python2_pickle({**arrays, "v_template": select, "shapedirs": shapes})
    return arrays, content


# ------------------------------------------------------------------ landmark embeddings


def places(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the grid and barycentric coordinates, all different."""
    rng = np.random.default_rng(sum(shape))
    weights = rng.random((*shape, 3))
    return rng.integers(0, len(grid_faces()), shape), weights / weights.sum(axis=-1, keepdims=True)


def landmark_embedding(irises: int = 0) -> dict[str, Any]:
    """The content of landmark_embedding.npy: the dynamic entries are torch tensors, as in the file of FLAME's users."""
    static, dynamic, full = places(51 + irises), places(79, 17), places(1, 68 + irises)
    return {
        "static_lmk_faces_idx": static[0],
        "static_lmk_bary_coords": static[1],
        "dynamic_lmk_faces_idx": torch.from_numpy(dynamic[0]),
        "dynamic_lmk_bary_coords": torch.from_numpy(dynamic[1]).float(),
        "full_lmk_faces_idx": full[0],
        "full_lmk_bary_coords": full[1],
    }


def save_object(path: Path, value: Any) -> Path:
    """A .npy that holds one Python object."""
    np.save(path, np.array(value, dtype=object), allow_pickle=True)
    return path
