"""PIXIE's <name>_param.pkl: shape (200), exp (50), global_pose, body_pose (21), jaw_pose, hands (15): rotation
matrices, already relative to the parent joint; hands are whole rotations.

Its camera is orthographic in a crop that the file does not tell: the body is placed by keypoints. SMPL-X, neutral.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, vector
from fitting.codes.turns import turns
from fitting.track import Track
from fitting.worlds import opencv

FORMAT = "PIXIE parameters"
MODEL = "smplx"
KEYS = {"body_pose", "global_pose", "body_cam"}
JOINTS = {
    "global_pose": ("global_orient", 1),
    "body_pose": ("body_pose", 21),
    "jaw_pose": ("jaw_pose", 1),
    "left_hand_pose": ("left_hand_pose", 15),
    "right_hand_pose": ("right_hand_pose", 15),
}
NOTE = "its camera is that of a crop which the file does not give: the body is placed by keypoints"


def accepts(source: Source) -> bool:
    files = param_files(source)
    return bool(files) and KEYS <= Source(files[0]).keys


def param_files(source: Source) -> list[Path]:
    """The file, those of a folder, or one in each of its folders."""
    if source.path.is_file():
        return [source.path] if source.suffix == ".pkl" else []
    own = [file for file in source.files if file.name.endswith("_param.pkl")]
    return own or sorted(source.path.glob("*/*_param.pkl"))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One row per file. Raises InputError."""
    files = param_files(source)
    names = [file.name.removesuffix(".pkl").removesuffix("_param") for file in files]
    track = stack([frame_of(file) for file in files], names, MODEL, FORMAT)
    return [replace(track, match="name", notes=(NOTE,))]


def frame_of(file: Path) -> Frame:
    content = load(file)
    values = {
        name: turns(content[key], joints, 1, key, file)[0] for key, (name, joints) in JOINTS.items() if key in content
    }
    values["betas"] = vector(content["shape"], (10, 200), "shape", file)
    values["expression"] = vector(content["exp"], (10, 50), "exp", file)
    return Frame(values, world_from_codes=opencv(np.eye(3)[None], np.full((1, 3), np.nan))[0])
