"""68 landmarks in a numpy array: (68, 2) or (frames, 68, 2), pixels; of three columns the first two count."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.layouts import IBUG68
from fitting.readers.files import DAMAGED_ARRAY, require_content, with_size
from fitting.readers.landmarks import Landmarks, observe
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One person; several frames are a clip unless the options say photos. Raises InputError for any other array."""
    array = load(path)
    if array.ndim not in (2, 3) or array.shape[-2] != 68 or array.shape[-1] not in (2, 3) or not array.size:
        raise InputError(
            f"{with_size(path)}: expected 68 landmarks as (68, 2) or (frames, 68, 2), found {array.shape}: "
            "478 MediaPipe landmarks go in an .npz or .json, other sets need a layout of their own"
        )
    points = array[..., :2].reshape(1, -1, 68, 2).astype(np.float64)
    return observe(path, Landmarks(IBUG68, points, np.ones(points.shape[:2]), is_clip=points.shape[1] > 1), options)


def load(path: Path) -> np.ndarray:
    """A plain array of numbers; nothing in the file is executed. Raises InputError otherwise."""
    try:
        array = np.load(require_content(path), allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise InputError(f"{with_size(path)}: not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{with_size(path)}: expected an array of numbers, found {getattr(array, 'dtype', 'an archive')}"
        )
    return array
