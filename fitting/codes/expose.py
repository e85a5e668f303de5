"""ExPose's <image>_params.npz: rotation matrices global_orient, body_pose (21), hands (15), jaw_pose; betas,
expression (10); transl (3), focal_length_in_px, center (2): a camera of the full image in OpenCV's axes. Hands are
whole rotations. SMPL-X.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, vector
from fitting.codes.turns import camera, turns
from fitting.track import Track
from fitting.unpickle import CODES, load_npz
from fitting.worlds import opencv

FORMAT = "ExPose parameters"
MODEL = "smplx"
KEYS = {"body_pose", "focal_length_in_px", "transl", "center"}
JOINTS = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15, "jaw_pose": 1}


def accepts(source: Source) -> bool:
    files = param_files(source)
    return bool(files) and KEYS <= Source(files[0]).keys


def param_files(source: Source) -> list[Path]:
    if source.path.is_file():
        return [source.path] if source.suffix == ".npz" else []
    own = [file for file in source.files if file.name.endswith("_params.npz")]
    return own or sorted(source.path.glob("*/*_params.npz"))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One row per file. Raises InputError."""
    files = param_files(source)
    names = [Path(file.name.removesuffix("_params.npz")).stem for file in files]
    return [replace(stack([frame_of(file) for file in files], names, MODEL, FORMAT), match="name")]


def frame_of(file: Path) -> Frame:
    content = load_npz(file, CODES)
    values = {name: turns(content[name], n, 1, name, file)[0] for name, n in JOINTS.items() if name in content}
    values |= {name: vector(content[name], 10, name, file) for name in ("betas", "expression")}
    focal = vector(content["focal_length_in_px"], 1, "focal_length_in_px", file)
    shift = vector(content["transl"], 3, "transl", file)
    return Frame(
        values,
        K=camera(focal, vector(content["center"], 2, "center", file)),
        world_from_codes=opencv(np.eye(3)[None], shift[None])[0],
    )
