"""Files in, pictures or landmarks out: one file = one input format = one line in `READERS`.

A reader has `accepts(path) -> bool` and `read(path, options) -> Pictures | list[Observations]`; the first that
accepts a path reads it. Readers of pictures give `Pictures`, for a detector; readers of landmarks give one
`Observations` per person.
"""

from __future__ import annotations

from pathlib import Path

from fitting.readers import (
    image,
    image_folder,
    json_file,
    keypoint_folder,
    landmark_folder,
    mediapipe_body,
    mediapipe_npz,
    npy68,
    openface,
    sample,
    text68,
    video,
)
from fitting.readers.files import require_content
from fitting.readers.options import ReadOptions
from fitting.readers.sample import shipped_landmarks
from fitting.types import InputError, Observations, Pictures

READERS = (
    sample,
    image,
    video,
    npy68,
    text68,
    openface,
    mediapipe_body,
    mediapipe_npz,
    json_file,
    keypoint_folder,
    landmark_folder,
    image_folder,  # takes any folder: last
)

__all__ = ["READERS", "ReadOptions", "read", "shipped_landmarks"]


def read(source: str | Path, options: ReadOptions | None = None) -> Pictures | list[Observations]:
    """What the path holds. Raises InputError where it is missing, empty, damaged or of no known format."""
    path, options = Path(source), options or ReadOptions()
    if not sample.accepts(path):
        require_content(path)
    for reader in READERS:
        if reader.accepts(path):
            return reader.read(path, options)
    raise InputError(
        f"{path}: no reader for '{path.suffix}' files; known are images, videos, folders of them, 68 landmarks "
        "(.npy, .txt, .lms, .pts, OpenFace .csv), MediaPipe's (.npz, .json) and keypoints of bodies (.json)"
    )
