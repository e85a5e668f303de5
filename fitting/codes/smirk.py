"""SMIRK's outputs, which its users save as npz, npy, pkl or pt: pose_params 3, cam 3, shape_params 300,
expression_params 50, jaw_params 3, eyelid_params 2; (B, D), or one file per frame in a folder.

FLAME 2020. Eyelids are two extra blendshapes that FLAME does not have: they are kept beside the codes. `cam` is weak
perspective in a 224-pixel crop; with `tform` or `crop` in the file it becomes a camera of the full image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.crops import tform_to_crop
from fitting.codes.deca import with_camera
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, rows
from fitting.track import Track
from fitting.types import Codes, InputError

FORMAT = "SMIRK codes"
MODEL = "flame2020"
BLOCKS = {
    "shape_params": ("betas", (300,)),
    "expression_params": ("expression", (50,)),
    "pose_params": ("global_orient", (3,)),
    "jaw_params": ("jaw_pose", (3,)),
}
EXTRAS = {"eyelid_params": ("eyelids", (2,)), "cam": ("cam", (3,))}
EYELIDS = "eyelid coefficients are no part of FLAME: they are left out of what is written"


def accepts(source: Source) -> bool:
    if source.path.is_dir():
        return bool(source.files) and {"expression_params", "jaw_params"} <= Source(source.files[0]).keys
    return source.suffix in (".npz", ".npy", ".pkl", ".pt") and {"expression_params", "jaw_params"} <= source.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for arrays of other sizes."""
    if not source.path.is_dir():
        return [track_of(source.content, source.path)]
    parts = [track_of(load(file), file) for file in source.files]
    if any(len(part) != 1 for part in parts):
        raise InputError(f"{source.path}: one frame a file is expected")
    return [replace(joined(parts), names=tuple(file.stem for file in source.files), match="name")]


def track_of(content: Mapping[str, Any], path: Path) -> Track:
    count = max(len(np.atleast_2d(content[key])) for key in BLOCKS if key in content)
    values = {
        name: rows(content[key], size, count, key, path) for key, (name, size) in BLOCKS.items() if key in content
    }
    extras = {
        name: rows(content[key], size, count, key, path) for key, (name, size) in EXTRAS.items() if key in content
    }
    crops = None
    if "tform" in content:
        crops = np.stack([tform_to_crop(m, path) for m in np.asarray(content["tform"]).reshape(-1, 3, 3)])
    elif "crop" in content:
        crops = rows(content["crop"], 3, count, "crop", path)
    return with_camera(
        Track(
            Codes(values, MODEL, np.ones(count, dtype=bool)),
            tuple(f"{k:06d}" for k in range(count)),
            FORMAT,
            crops=None if crops is None else np.array(np.broadcast_to(crops, (count, 3))),
            extras=extras,
            notes=(EYELIDS,) if "eyelids" in extras else (),
        )
    )


def joined(parts: list[Track]) -> Track:
    """Several tracks of the same things, one after the other."""

    def join(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        known = [array for array in arrays if array is not None]
        return np.concatenate(known) if len(known) == len(arrays) else None

    first = parts[0]
    codes = Codes(
        {name: np.concatenate([part.values[name] for part in parts]) for name in first.values},
        first.codes.model,
        np.concatenate([part.valid for part in parts]),
        join([part.codes.K for part in parts]),
    )
    return replace(
        first,
        codes=codes,
        names=tuple(name for part in parts for name in part.names),
        weak=join([part.weak for part in parts]),
        crops=join([part.crops for part in parts]),
        world_from_codes=join([part.world_from_codes for part in parts]),
        image_sizes=join([part.image_sizes for part in parts]),
        extras={name: np.concatenate([part.extras[name] for part in parts]) for name in first.extras},
    )
