"""IMavatar's json: code.json, DECA's codes by frame number from 1; and flame_params.json, what its fit leaves.

code.json         {"1": {"shape": [[100]], "exp": [[50]], "pose": [[6]]}, ...}
flame_params.json {"frames": [{"file_path": "./image/1", "world_mat": 3x4, "expression": [50], "pose": [15], ...}],
                   "intrinsics": [-fx/size, fy/size, cx/size, cy/size], "shape_params": [100]}; FLAME's vertices x 4

The camera looks down -z with y up, R = I: Keyfit's world. `pose` is root, neck, jaw, left eye, right eye. FLAME 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fitting.codes.deca import MODEL, frame_of
from fitting.codes.frames import Frame, numbered, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, trailing_number, vector
from fitting.track import Track
from fitting.types import InputError

CODES_FORMAT = "IMavatar code.json"
FORMAT = "IMavatar flame_params.json"
SCALE = 4.0  # of FLAME's vertices in IMavatar's world
DEFAULT_SIZE = 512
POSE = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


def accepts(source: Source) -> bool:
    if source.suffix != ".json" or not source.path.is_file() or not source.path.stat().st_size:
        return False
    return {"frames", "shape_params"} <= source.keys or is_codes(source.content)


def is_codes(content: Any) -> bool:
    first = next(iter(content.items()), None) if isinstance(content, Mapping) else None
    return first is not None and first[0].isdecimal() and isinstance(first[1], Mapping) and "exp" in first[1]


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for numbers that are missing or too many."""
    if is_codes(source.content):
        frames = {int(k): frame_of(v, source.path) for k, v in source.content.items()}
        return [numbered(frames, MODEL, CODES_FORMAT, first=1)]
    return [fitted(source.content, source.path, options)]


def fitted(content: Mapping[str, Any], path: Path, options: CodesOptions) -> Track:
    size = options.image_size[0] if options.image_size else DEFAULT_SIZE
    K = intrinsics(vector(content["intrinsics"], 4, "intrinsics", path), size)
    shape = vector(content["shape_params"], (100, 300), "shape_params", path)
    names, frames = [], []
    for entry in content["frames"]:
        name = PurePosixPath(str(entry["file_path"])).stem
        names.append(name)
        frames.append(frame(entry, shape, K, size, path))
    if not frames:
        raise InputError(f"{path}: no frames in it")
    numbers = [trailing_number(name) for name in names]
    if all(number is not None for number in numbers):  # ffmpeg's frames, from 1
        return numbered(dict(zip(numbers, frames, strict=True)), MODEL, FORMAT, first=1)  # type: ignore[arg-type]
    return replace(stack(frames, names, MODEL, FORMAT), match="name")


def frame(entry: Mapping[str, Any], shape: np.ndarray, K: np.ndarray, size: int, path: Path) -> Frame:
    where = f"{entry['file_path']}: "
    pose = vector(entry["pose"], 15, where + "pose", path).reshape(5, 3)
    motion = np.eye(4)
    motion[:3] = vector(entry["world_mat"], 12, where + "world_mat", path).reshape(3, 4)
    motion[:3, 3] /= SCALE
    values = {"betas": shape, "expression": vector(entry["expression"], (50, 100), where + "expression", path)}
    return Frame(
        {**values, **dict(zip(POSE, pose, strict=True))}, K=K, world_from_codes=motion, image_size=(size, size)
    )


def intrinsics(stored: np.ndarray, size: int) -> np.ndarray:
    fx, fy, cx, cy = stored * size
    return np.array([[-fx, 0, cx], [0, fy, cy], [0, 0, 1]])
