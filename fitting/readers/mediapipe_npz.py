"""MediaPipe's 478 landmarks in an .npz, normalised as MediaPipe gives them.

Keys: `landmarks` (frames, 478, 2|3), (faces, 478, 2|3) of one picture or (frames, faces, 478, 2|3), 0..1 of the
picture; optional `image_size` (width, height), `fps`, `timestamps` (frames,), `detected` (frames,),
`blendshapes` (rows, 52), `transform` (rows, 4, 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.layouts.persons import gather
from fitting.readers.files import DAMAGED_ARRAY, require_content, with_size
from fitting.readers.landmarks import observe
from fitting.readers.mediapipe_rows import are_frames, landmarks_of
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations

_OPTIONAL = ("image_size", "fps", "timestamps", "detected", "blendshapes", "transform")


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One record per person. Raises InputError for other shapes, or where the picture's size is nowhere said."""
    arrays = _load(path)
    landmarks = _landmarks(path, arrays, options)
    frames = list(landmarks)
    found, rows = landmarks_of(path, frames, options)
    found = replace(
        found,
        image_size=_image_size(path, arrays),
        fps=float(arrays["fps"]) if "fps" in arrays else None,
        timestamps=arrays.get("timestamps"),
        blendshapes=_extra(arrays.get("blendshapes"), landmarks, rows, (52,)),
        head_matrix=_extra(arrays.get("transform"), landmarks, rows, (4, 4)),
    )
    return observe(path, found, options)


def _load(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with np.load(require_content(path), allow_pickle=False) as archive:
            if "landmarks" not in archive.files:
                raise InputError(f"{with_size(path)}: expected an array `landmarks`, found {archive.files}")
            return {name: archive[name] for name in ("landmarks", *_OPTIONAL) if name in archive.files}
    except DAMAGED_ARRAY as error:
        raise InputError(f"{with_size(path)}: not a readable .npz archive: {error}") from error


def _landmarks(path: Path, arrays: Mapping[str, np.ndarray], options: ReadOptions) -> np.ndarray:
    """(frames, faces, 478, 2), NaN where `detected` is false."""
    landmarks = arrays["landmarks"]
    if landmarks.ndim == 2:
        landmarks = landmarks[None]
    shape = landmarks.shape
    if landmarks.ndim not in (3, 4) or shape[-2] != 478 or shape[-1] not in (2, 3) or landmarks.dtype.kind != "f":
        raise InputError(f"{with_size(path)}: expected `landmarks` (frames, 478, 3), found {shape} {landmarks.dtype}")
    landmarks = landmarks[..., :2].astype(np.float64)
    if landmarks.ndim == 3:
        of_frames = {"detected", "fps", "timestamps"} & set(arrays) or are_frames(list(landmarks), options)
        landmarks = landmarks[:, None] if of_frames else landmarks[None]
    if arrays.get("detected") is not None and len(arrays["detected"]) == len(landmarks):
        landmarks = np.where(arrays["detected"].reshape(-1, 1, 1, 1), landmarks, np.nan)
    return landmarks


def _extra(
    values: np.ndarray | None, landmarks: np.ndarray, rows: np.ndarray, rest: tuple[int, ...]
) -> np.ndarray | None:
    """What stands beside each face, ordered as the persons are; None where the file has no such table."""
    faces = landmarks.shape[:2]
    if values is None or values.shape[-len(rest) :] != rest or values.size != np.prod((*faces, *rest)):
        return None
    return gather(rows, list(values.reshape(*faces, *rest).astype(np.float64)), rest)


def _image_size(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    size = arrays.get("image_size")
    if size is None:
        return None
    if size.shape != (2,) or not (size > 0).all():
        raise InputError(f"{with_size(path)}: expected `image_size` (width, height), found {size}")
    return int(size[0]), int(size[1])
