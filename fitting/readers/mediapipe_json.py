"""MediaPipe's 478 landmarks as people dump them to .json: frames of faces of points {x, y, z} or [x, y, z].

A frame without a face is [] or null. One face per frame may stand without the list around it, and a single picture
without the list of frames. Around it all, optionally: {"image_size": [width, height], "fps": 25, "frames": [...]};
"face_landmarks" or "landmarks" serve as well as "frames".
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.readers.files import read_text, with_size
from fitting.readers.landmarks import observe
from fitting.readers.mediapipe_rows import are_frames, landmarks_of
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations

_KEYS = ("frames", "face_landmarks", "landmarks")


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One record per person. Raises InputError for anything else, or where the picture's size is nowhere said."""
    content = _content(path)
    frames = _frames(path, content["frames"], options)
    found, _ = landmarks_of(path, frames, options)
    found = replace(
        found,
        image_size=content.get("image_size"),
        fps=content.get("fps"),
    )
    return observe(path, found, options)


def _content(path: Path) -> dict[str, Any]:
    """`frames`, and `image_size` and `fps` where the file has them."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{with_size(path)}: not valid json ({error}); is the file cut off?") from error
    content = content if isinstance(content, dict) else {"frames": content}
    key = next((k for k in _KEYS if isinstance(content.get(k), list)), None)
    if key is None or not content[key]:
        raise InputError(
            f"{with_size(path)}: expected a list of frames, found {'an empty one' if key else sorted(content)}"
        )
    head = {"frames": content[key]}
    try:
        if content.get("image_size") is not None:
            width, height = content["image_size"]
            head["image_size"] = (int(width), int(height))
        if content.get("fps") is not None:
            head["fps"] = float(content["fps"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{with_size(path)}: expected image_size [width, height] and fps, numbers: {error}") from error
    return head


def _frames(path: Path, frames: list, options: ReadOptions) -> list[Float[np.ndarray, "_ 478 2"]]:
    """Whatever lists were left out are put back."""
    if any(frame is not None and not isinstance(frame, (list, dict)) for frame in frames):
        raise InputError(f"{with_size(path)}: expected frames of faces of points, found {str(frames)[:60]}")
    depth = max(_depth(frame) for frame in frames)
    if depth == 0:  # one face
        frames = [[frames]]
    elif depth == 1:  # one face per frame, or the faces of one picture
        faces = [_face(path, face) for face in frames if face]
        frames = [[f] if f else [] for f in frames] if are_frames(faces, options) else [frames]
    return [np.array([_face(path, face) for face in frame or []]).reshape(-1, 478, 2) for frame in frames]


def _depth(node: Any) -> int:
    """0 for a point, 1 for a list of points, 2 for a list of faces; -1 for no face."""
    if isinstance(node, dict) or (isinstance(node, list) and node and not isinstance(node[0], (list, dict))):
        return 0
    if not isinstance(node, list) or not node:
        return -1
    return 1 + max(_depth(child) for child in node[:1])


def _face(path: Path, points: Any) -> Float[np.ndarray, "478 2"]:
    try:
        rows = [(p["x"], p["y"]) if isinstance(p, dict) else (p[0], p[1]) for p in points]
        face = np.array(rows, dtype=np.float64)  # null becomes NaN
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise InputError(f"{with_size(path)}: expected points {{x, y, z}} or [x, y, z], found {error!r}") from error
    if face.shape != (478, 2):
        raise InputError(f"{with_size(path)}: expected 478 points a face, found {len(face)}: ask MediaPipe for irises")
    return face
