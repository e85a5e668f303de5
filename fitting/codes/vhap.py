"""VHAP's tracked_flame_params_<epoch>.npz: a clip in one file.

rotation, translation, neck_pose, jaw_pose (T, 3), eyes_pose (T, 6: left, right), shape (300,), expr (T, 100),
axis-angle; focal_length (1,) in units of the longer side, image_size (height, width). The camera stands at (0, 0, 1)
of VHAP's world and looks down -z with y up (OpenGL); its principal point is the picture's middle, width / 2 counted
from the picture's edge, so (width - 1) / 2 where pixel centres are whole numbers. FLAME 2023 with 5143 vertices: teeth
and offsets are VHAP's own and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fitting.camera import intrinsics
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, rows
from fitting.track import Track
from fitting.types import Codes

FORMAT = "VHAP parameters"
MODEL = "flame2023"
KEYS = {"rotation", "translation", "expr", "jaw_pose", "eyes_pose", "shape"}
BLOCKS = {
    "expr": ("expression", (50, 100)),
    "rotation": ("global_orient", (3,)),
    "translation": ("transl", (3,)),
    "neck_pose": ("neck_pose", (3,)),
    "jaw_pose": ("jaw_pose", (3,)),
}
CAMERA_Z = 1.0  # metres


def accepts(source: Source) -> bool:
    """The file, or a folder of them: the last epoch's is read."""
    file = chosen(source)
    return file.suffix == ".npz" and KEYS <= file.keys


def chosen(source: Source) -> Source:
    """Of several epochs, the last."""
    files = [file for file in source.files if re.fullmatch(r"tracked_flame_params.*\.npz", file.name)]
    return Source(files[-1]) if files else source


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for arrays of other sizes."""
    file = chosen(source)
    content, path = file.content, file.path
    frames = len(content["rotation"])
    motion = np.tile(np.eye(4), (frames, 1, 1))
    motion[:, 2, 3] = -CAMERA_Z
    size = picture(content, options)
    K = None
    if size is not None and "focal_length" in content:
        focal = float(np.ravel(content["focal_length"])[0]) * max(size)
        K = np.tile(intrinsics(focal, size), (frames, 1, 1))
    offsets = [key for key in ("static_offset", "dynamic_offset") if key in content]
    return [
        Track(
            Codes(blocks(content, frames, path), MODEL, np.ones(frames, dtype=bool), K),
            tuple(map(str, np.ravel(content["timestep_id"]))) if "timestep_id" in content else numbers(frames),
            FORMAT,
            image_sizes=None if size is None else np.tile(size, (frames, 1)),
            world_from_codes=motion,
            notes=tuple(f"{name} is VHAP's own: it is left out" for name in offsets),
        )
    ]


def blocks(content: Mapping[str, Any], frames: int, path: Path) -> dict[str, np.ndarray]:
    values = {
        name: rows(content[key], size, frames, key, path) for key, (name, size) in BLOCKS.items() if key in content
    }
    eyes = rows(content["eyes_pose"], 6, frames, "eyes_pose", path)
    values |= {"leye_pose": eyes[:, :3], "reye_pose": eyes[:, 3:]}
    return {"betas": rows(content["shape"], (100, 300), frames, "shape", path), **values}


def picture(content: Mapping[str, Any], options: CodesOptions) -> tuple[int, int] | None:
    """Width, height; the file has them the other way round."""
    if "image_size" not in content:
        return options.image_size
    height, width = np.ravel(content["image_size"])[:2]
    return int(width), int(height)


def numbers(frames: int) -> tuple[str, ...]:
    return tuple(f"{k:06d}" for k in range(frames))
