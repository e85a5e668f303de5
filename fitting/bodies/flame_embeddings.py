"""Where landmarks sit on FLAME's mesh: reads the embedding files that go with FLAME, and those inside the open head.

The contour's sign. `flame_dynamic_embedding` and its copies have 79 rows of 17 jaw-line points: row r of 0..39 is for a
yaw of r degrees, row r of 40..78 for 39 - r, so that rows 0, 39, 40, 78 are 0, 39, -1, -39 degrees. The yaw is that of
the head's rotation R in a camera-aligned frame with +x to the subject's left at rest, +y up and the face looking along
+z at the camera, yaw = atan2(-R[2, 0], hypot(R[0, 0], R[1, 0])). It is positive when R turns the face from +z towards
+x, to the subject's own left; his left cheek then hides its far side from the camera, and the points of the left side
(9..16) lie nearer the nose than in row 0. To verify on a mesh: the mean |x| of points 9..16 falls from yaw 0 to yaw 39,
that of points 0..7 falls from yaw 0 to yaw -39. Here the rows are put in the order of rising yaw, so that
neighbouring rows may be interpolated: in the file, row 39 (39 degrees) stands beside row 40 (-1 degree).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fitting.layouts import IBUG68, MEDIAPIPE478
from fitting.types import Contour, Embedding, ModelError
from fitting.unpickle import load_npy_object, load_npz, load_pickle

_JAW, _INNER = 17, 51  # iBUG's 68 points: a jaw line that slides, and points with a fixed place
_LAST_YAW = 39  # degrees, of the dynamic table
_FILES = {  # layout -> the files that make up an embedding of it, the best first
    IBUG68.name: (
        ("landmark_embedding.npy",),
        ("landmark_embedding_with_eyes.npy",),
        ("flame_static_embedding.pkl", "flame_dynamic_embedding.npy"),
        ("flame_static_embedding_68.pkl", "flame_dynamic_embedding.npy"),
        ("flame_static_embedding_68.pkl",),
        ("flame_static_embedding.pkl",),
    ),
    MEDIAPIPE478.name: (("mediapipe_landmark_embedding.npz",),),
}


def embedding_files(folder: str | Path) -> dict[str, tuple[Path, ...]]:
    """The embedding files in `folder` and the folders in it, by layout: what `read_embeddings` reads, to be recorded.

    The older flame_static_embedding.pkl has other places for the brows and the bridge of the nose (6 mm on average)
    than landmark_embedding.npy, which is preferred.
    """
    folder = Path(folder)
    files = (file for pattern in ("*", "*/*") for file in sorted(folder.glob(pattern)) if file.is_file())
    there: dict[str, Path] = {}
    for file in files:
        there.setdefault(file.name.lower(), file)
    found = {}
    for layout, choices in _FILES.items():
        complete = (names for names in choices if all(name in there for name in names))
        if names := next(complete, None):
            found[layout] = tuple(there[name] for name in names)
    return found


def read_embeddings(path: str | Path, faces: np.ndarray) -> dict[str, Embedding]:
    """The embeddings in a folder, or that in one file, by layout name; `faces` (T, 3) are those of the FLAME mesh.

    'ibug68': 51 fixed points and, where there is a dynamic table, a contour of 17; without one, the 68 fixed ones of
    a table that has them. 'mediapipe478': 105 of the 478. float32 weights, int64 indices.
    Raises ModelError that names the file: none found, unreadable or hostile, keys or shapes that are not FLAME's,
    triangles that the mesh does not have.
    """
    path = Path(path)
    if not path.is_dir():
        return _embedding_of((path,), faces)
    found = embedding_files(path)
    if not found:
        names = sorted({name for choices in _FILES.values() for group in choices for name in group})
        raise ModelError(
            f"{path.resolve()}: no landmark embedding there. Looked for: {', '.join(names)}. What to do: put "
            "landmark_embedding.npy or mediapipe_landmark_embedding.npz there; models/README.md says whence."
        )
    return {name: one for files in found.values() for name, one in _embedding_of(files, faces).items()}


def open_embeddings(extras: Mapping[str, np.ndarray]) -> dict[str, Embedding]:
    """The embeddings inside an open head's file (`FlameArrays.extras`), by layout name; empty where it has none.

    Raises ModelError when one is incomplete or its arrays do not fit each other.
    """
    found = {}
    if "mediapipe478_points" in extras:
        found[MEDIAPIPE478.name] = Embedding(MEDIAPIPE478, *_open_points(extras, "mediapipe478", len(MEDIAPIPE478)))
    if "ibug68_static_points" in extras:
        points, vertices, weights = _open_points(extras, "ibug68_static", len(IBUG68))
        contour = _open_contour(extras) if "ibug68_contour_yaw" in extras else None
        found[IBUG68.name] = Embedding(IBUG68, points, vertices, weights, contour)
    return found


# ------------------------------------------------------------------ FLAME's files


def _embedding_of(paths: tuple[Path, ...], faces: np.ndarray) -> dict[str, Embedding]:
    """From one file, or from a static and a dynamic one."""
    tables = [_tables(path) for path in paths]
    if "landmark_indices" in tables[0]:
        return {MEDIAPIPE478.name: _mediapipe(tables[0], faces, paths[0])}
    if "static_lmk_faces_idx" in tables[0]:
        static, dynamic = _split(tables[0], "static"), _split(tables[0], "dynamic")
    else:
        static = _split(tables[0], "")
        dynamic = _split(tables[1], "") if len(paths) == 2 else None
    contour = None if dynamic is None else contour_of_rows(dynamic, faces, paths[-1])
    return {IBUG68.name: _ibug68(static, contour, faces, paths[0])}


def _tables(path: Path) -> Mapping[str, Any]:
    loaders = {".npy": load_npy_object, ".npz": load_npz, ".pkl": load_pickle}
    if path.suffix.lower() not in loaders:
        raise ModelError(f"{path}: a landmark embedding is a file of type {', '.join(loaders)}")
    content = loaders[path.suffix.lower()](path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__} where a landmark embedding holds named arrays")
    return content


Places = tuple[np.ndarray, np.ndarray]
"""Triangles (..., ) and barycentric coordinates (..., 3)."""


def _split(tables: Mapping[str, Any], part: str) -> Places | None:
    """The arrays of 'static' or 'dynamic', or ('') of a file that holds one pair only; None if not there."""
    names = (f"{part}_lmk_faces_idx", f"{part}_lmk_bary_coords") if part else ("lmk_face_idx", "lmk_b_coords")
    if any(name not in tables for name in names):
        return None
    return np.asarray(tables[names[0]]), np.asarray(tables[names[1]])


def _ibug68(static: Places | None, contour: Contour | None, faces: np.ndarray, path: Path) -> Embedding:
    if static is None:
        raise ModelError(f"{path}: has neither static_lmk_faces_idx nor lmk_face_idx with its coordinates")
    triangles, coordinates = static[0].reshape(-1), static[1].reshape(-1, static[1].shape[-1])
    count = len(triangles)
    if count not in (_INNER, _INNER + 2, _JAW + _INNER, _JAW + _INNER + 2):  # the 2 are irises, which iBUG has not
        raise ModelError(
            f"{path}: {count} static landmarks, expected 51 or 68 (53 or 70 with irises)"
            + (": this is the dynamic table, name the static file" if count == (2 * _LAST_YAW + 1) * _JAW else "")
        )
    first = _JAW if count < _JAW + _INNER else 0
    kept = slice(0 if first or contour is None else _JAW, _JAW + _INNER - first)
    points = torch.arange(first, _JAW + _INNER)[kept]
    vertices, weights = pinned(triangles[kept], coordinates[kept], faces, path)
    return Embedding(IBUG68, points, vertices, weights, contour)


def contour_of_rows(dynamic: Places, faces: np.ndarray, path: Path) -> Contour:
    """The sliding jaw line of FLAME's and SMPL-X's dynamic tables (79, 17). Raises ModelError for any other shape."""
    triangles, coordinates = dynamic
    if triangles.shape != (2 * _LAST_YAW + 1, _JAW):
        raise ModelError(f"{path}: the dynamic table is {triangles.shape}, expected {(2 * _LAST_YAW + 1, _JAW)}")
    rising = [*range(2 * _LAST_YAW, _LAST_YAW, -1), *range(_LAST_YAW + 1)]  # rows 78..40, then 0..39
    vertices, weights = pinned(triangles[rising], coordinates[rising], faces, path)
    yaw = torch.arange(-_LAST_YAW, _LAST_YAW + 1, dtype=torch.float32)
    return Contour(torch.arange(_JAW), yaw, vertices, weights)


def _mediapipe(tables: Mapping[str, Any], faces: np.ndarray, path: Path) -> Embedding:
    places = _split(tables, "")
    indices = np.asarray(tables["landmark_indices"]).reshape(-1)
    if places is None or places[0].shape != indices.shape:
        raise ModelError(f"{path}: needs lmk_face_idx, lmk_b_coords and landmark_indices of one length")
    points = _indices(indices, len(MEDIAPIPE478), f"{path}: landmark_indices")
    return Embedding(MEDIAPIPE478, points, *pinned(*places, faces, path))


def pinned(triangles: np.ndarray, coordinates: np.ndarray, faces: np.ndarray, path: Path) -> tuple[Tensor, Tensor]:
    """Vertices (..., 3) and weights (..., 3) of points given by triangle and barycentric coordinates."""
    index = _indices(triangles, len(faces), f"{path}: a triangle index")
    weights = _weights(coordinates, (*triangles.shape, 3), f"{path}: barycentric coordinates")
    return torch.as_tensor(np.asarray(faces, dtype=np.int64)[index.numpy()]), weights


# ------------------------------------------------------------------ the open head's arrays


def _open_points(extras: Mapping[str, np.ndarray], part: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Layout indices (P,), vertices (P, 3) and weights (P, 3)."""
    points = _indices(extras[f"{part}_points"], count, f"{part}_points")
    return points, *_open_places(extras, part, (len(points), 3))


def _open_contour(extras: Mapping[str, np.ndarray]) -> Contour:
    yaw = torch.as_tensor(np.asarray(extras["ibug68_contour_yaw"], dtype=np.float32))
    if yaw.ndim != 1 or not bool((yaw.diff() > 0).all()):
        raise ModelError("the open head's ibug68_contour_yaw does not rise: make the file again")
    return Contour(torch.arange(_JAW), yaw, *_open_places(extras, "ibug68_contour", (len(yaw), _JAW, 3)))


def _open_places(extras: Mapping[str, np.ndarray], part: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    missing = [name for name in (f"{part}_vertices", f"{part}_weights") if name not in extras]
    if missing:
        raise ModelError(f"the open head has no {' and '.join(missing)}: make the file again")
    vertices = _indices(extras[f"{part}_vertices"], np.iinfo(np.int64).max, f"{part}_vertices")
    if tuple(vertices.shape) != shape:
        raise ModelError(f"the open head's {part}_vertices is {tuple(vertices.shape)}, expected {shape}")
    return vertices, _weights(extras[f"{part}_weights"], shape, f"{part}_weights")


def _indices(values: Any, count: int, what: str) -> Tensor:
    """int64 indices below `count`, else ModelError."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ModelError(f"{what}: {array.dtype} where whole numbers are expected")
    if array.size == 0 or array.min() < 0 or array.max() >= count:
        raise ModelError(f"{what} is outside 0..{count - 1}: the file belongs to another mesh, or is damaged")
    return torch.as_tensor(array.astype(np.int64))


def _weights(values: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """float32 weights of `shape` that sum to 1 over the last axis, else ModelError."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind != "f":
        raise ModelError(f"{what}: {array.shape} of {array.dtype}, expected {shape} of numbers")
    if not np.abs(array.sum(axis=-1) - 1).max() < 1e-2:  # so that NaN fails too
        raise ModelError(f"{what}: do not sum to 1, the file is damaged")
    return torch.as_tensor(array.astype(np.float32))
