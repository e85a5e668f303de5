"""MediaPipe's pose and holistic landmarks as people dump them, to .json or .npz, normalised; one person.

.json: frames `{"pose_landmarks": [{"x", "y", "z", "visibility"}] or [[x, y, z, visibility]], "left_hand_landmarks",
"right_hand_landmarks", "face_landmarks"}`, any of them null or left out; alone, in a list, or in
`{"image_size", "fps", "frames"}`. .npz: the same names, (frames, points, 3 or 4), NaN where not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.layouts import HOLISTIC135, MEDIAPIPE33, with_midpoints
from fitting.layouts.convert import to_layout
from fitting.layouts.mediapipe_parts import in_picture, join_parts
from fitting.readers.files import DAMAGED_ARRAY, require_content, with_size
from fitting.readers.json_values import outline
from fitting.readers.landmarks import Landmarks, observe
from fitting.readers.mediapipe_json import head_of
from fitting.readers.options import ReadOptions
from fitting.types import InputError, NoPersonError, Observations

_POSE, _LEFT, _RIGHT, _FACE = "pose_landmarks", "left_hand_landmarks", "right_hand_landmarks", "face_landmarks"
_COUNTS = {_POSE: (33,), _LEFT: (21,), _RIGHT: (21,), _FACE: (478, 468)}


def accepts(path: Path) -> bool:
    """An .npz with a pose in it; json comes by way of `json_file.py`."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _POSE in archive.files
    except DAMAGED_ARRAY:
        return False  # the next reader says what is wrong


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One person. Raises InputError for other shapes, or where the picture's size is nowhere said."""
    try:
        with np.load(require_content(path), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in (*_COUNTS, "image_size", "fps")}
    except DAMAGED_ARRAY as error:
        raise InputError(f"{with_size(path)}: not a readable .npz archive: {error}") from error
    parts = {name: _rows(path, name, arrays[name]) for name in _COUNTS if name in arrays}
    size = arrays.get("image_size")
    if size is not None and (size.shape != (2,) or not (size > 0).all()):
        raise InputError(f"{with_size(path)}: expected `image_size` (width, height), found {size}")
    fps = float(arrays["fps"]) if "fps" in arrays else None
    return _observe(path, parts, None if size is None else (int(size[0]), int(size[1])), fps, options)


def matches(content: Any) -> bool:
    frames = content.get("frames", [content]) if isinstance(content, dict) else content
    return isinstance(frames, list) and any(isinstance(frame, dict) and _POSE in frame for frame in frames)


def read_content(path: Path, content: Any, options: ReadOptions) -> list[Observations]:
    """One person. Raises InputError for other counts of points, or where the picture's size is nowhere said."""
    head = head_of(path, [content] if isinstance(content, dict) and "frames" not in content else content)
    frames = [frame or {} for frame in head["frames"]]
    parts = {name: _stacked(path, name, frames) for name in _COUNTS if any(frame.get(name) for frame in frames)}
    return _observe(path, parts, head.get("image_size"), head.get("fps"), options)


def _stacked(path: Path, name: str, frames: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "frames points 3"]:
    found = [_points(path, name, frame[name]) if frame.get(name) else None for frame in frames]
    first = next(points for points in found if points is not None)
    if any(points is not None and len(points) != len(first) for points in found):
        raise InputError(f"{with_size(path)}: `{name}` has not the same number of points in all frames")
    return _rows(path, name, np.stack([np.full_like(first, np.nan) if p is None else p for p in found]))


def _points(path: Path, name: str, listed: Any) -> Float[np.ndarray, "points 4"]:
    """x, y, z, visibility; 1 where no visibility is said."""
    try:
        rows = [
            (p["x"], p["y"], p.get("z", 0.0), p.get("visibility", 1.0)) if isinstance(p, dict) else (*p, 1.0)[:4]
            for p in (listed["landmark"] if isinstance(listed, dict) else listed)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{with_size(path)}: `{name}`: expected points {{x, y, z, visibility}} or lists of these, "
            f"found {outline(listed)}"
        ) from error


def _rows(path: Path, name: str, array: np.ndarray) -> Float[np.ndarray, "frames points 3"]:
    """x, y, confidence: the pose's visibility; hands and face are there or not. NaN in frames without the part."""
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1] not in _COUNTS[name] or array.shape[2] not in (3, 4):
        wanted = " or ".join(map(str, _COUNTS[name]))
        raise InputError(f"{with_size(path)}: `{name}`: expected {wanted} points of 3 or 4, found {array.shape}")
    certainty = array[..., 3] if array.shape[2] == 4 and name == _POSE else np.ones(array.shape[:2])
    rows = np.concatenate([array[..., :2], certainty[..., None]], axis=-1).astype(np.float64)
    return np.where(np.isfinite(array).all(axis=(1, 2), keepdims=True), rows, np.nan)


def _observe(
    path: Path,
    parts: Mapping[str, Float[np.ndarray, "frames points 3"]],
    image_size: tuple[int, int] | None,
    fps: float | None,
    options: ReadOptions,
) -> list[Observations]:
    """In the pose's own layout where the file has nothing but the pose, else in that of all parts."""
    if not any(np.isfinite(part).any() for part in parts.values()):
        raise NoPersonError(f"{path}: nobody in any frame: every landmark is missing")
    frames = len(next(iter(parts.values())))
    every = {n: parts.get(n, np.full((frames, counts[0], 3), np.nan)) for n, counts in _COUNTS.items()}
    if set(parts) == {_POSE}:
        layout = with_midpoints(MEDIAPIPE33)
        points = to_layout(np.nan_to_num(every[_POSE]), MEDIAPIPE33, layout)
    else:
        layout = HOLISTIC135
        points = join_parts(every[_POSE], (every[_LEFT], every[_RIGHT]), every[_FACE])
    confidence = in_picture(points)
    found = Landmarks(layout, points[None, ..., :2], confidence[None], frames > 1, True, image_size=image_size, fps=fps)
    return observe(path, found, options)
