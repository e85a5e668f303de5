"""MediaPipe's 478 landmarks as people dump them to .json: frames of faces of points {x, y, z} or [x, y, z].

A frame without a face is [] or null. One face per frame may stand without the list around it, and a single picture
without the list of frames. Around it all, optionally: {"image_size": [width, height], "fps": 25, "frames": [...]};
"face_landmarks" or "landmarks" serve as well as "frames".
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.readers.files import with_size
from fitting.readers.json_values import outline
from fitting.readers.landmarks import observe
from fitting.readers.mediapipe_rows import are_frames, landmarks_of
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations

_KEYS = ("frames", "face_landmarks", "landmarks")


def read_content(path: Path, content: Any, options: ReadOptions) -> list[Observations]:
    """One record per person. Raises InputError for anything else, or where the picture's size is nowhere said."""
    head = head_of(path, content)
    frames = _frames(path, head["frames"], options)
    found, _ = landmarks_of(path, frames, options)
    return observe(path, replace(found, image_size=head.get("image_size"), fps=head.get("fps")), options)


def head_of(path: Path, content: Any) -> dict[str, Any]:
    """`frames`, and `image_size` and `fps` where the file has them."""
    tree = content if isinstance(content, dict) else {"frames": content}
    key = next((k for k in _KEYS if isinstance(tree.get(k), list)), None)
    if key is None or not tree[key]:
        raise InputError(
            f"{with_size(path)}: found {outline(content)}; known are OpenPose's `people`, COCO's `images` and "
            "`annotations`, results (`image_id`, `keypoints`), MMPose's `instance_info`, MediaPipe's lists of frames"
        )
    head = {"frames": tree[key]}
    try:
        if tree.get("image_size") is not None:
            width, height = tree["image_size"]
            head["image_size"] = (int(width), int(height))
        if tree.get("fps") is not None:
            head["fps"] = float(tree["fps"])
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
