"""Keyfit's own params.npz as codes to start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.readers.files import DAMAGED_ARRAY, require_content
from fitting.types import Codes, InputError

# Arrays of params.npz that are not blocks of parameters.
NOT_BLOCKS = {"K", "keypoints", "confidence", "projected", "world_from_camera", "image_sizes", "timestamps"}


def read_codes(path: Path) -> Codes:
    """Parameters of an earlier fit, one row per frame. Raises InputError where the file is not one of Keyfit's."""
    require_content(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except DAMAGED_ARRAY as error:
        raise InputError(f"start {path}: not a readable params.npz ({error})") from error
    missing = [name for name in ("model", "valid") if name not in arrays]
    if missing:
        raise InputError(f"start {path}: no {missing[0]!r} inside, so it is not a params.npz of Keyfit")
    valid = arrays["valid"].astype(bool)
    values = {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if name not in NOT_BLOCKS
        and not name.endswith("_sd")
        and array.ndim == 2
        and array.dtype.kind == "f"
        and len(array) == len(valid)
    }
    return Codes(values, str(arrays["model"]), valid, arrays.get("K"))
