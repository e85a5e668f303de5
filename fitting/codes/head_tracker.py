"""flame-head-tracker's <frame>.npz, from 0: shape (1, 300), exp (1, 100), head_pose, jaw_pose, neck_pose, eye_pose,
cam (1, 6) = [yaw, pitch, roll, x, y, z], K (1, 3, 3).

The camera's own pose turns by Rz(roll) Ry(yaw) Rx(pitch) and moves by (x, y, z) in axes with y up: a point is seen at
R^T (x - t). K is that of a picture of 256 pixels, the one the tracker worked on: a re-aligned crop where `realign` was
on, and then this camera is the crop's. Pictures lie inside the files; only the codes are read. FLAME 2020.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch

from fitting.codes.frames import Frame, numbered
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, trailing_number, vector
from fitting.track import Track
from fitting.types import InputError
from fitting.unpickle import CODES, load_npz

FORMAT = "flame-head-tracker files"
MODEL = "flame2020"
KEYS = {"shape", "exp", "eye_pose", "cam", "fov"}
SIZE = 256


def accepts(source: Source) -> bool:
    file = source if source.path.is_file() else source.first(".npz")
    return file is not None and KEYS <= file.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person; frames that are missing are empty rows. Raises InputError."""
    files = [f for f in source.files if f.suffix == ".npz"] or [source.path]
    numbers = [trailing_number(file.stem) for file in files]
    if any(number is None for number in numbers):
        raise InputError(f"{source.path}: files named by their frame's number are expected, found {files[0].name}")
    frames = {number: frame_of(file) for number, file in zip(numbers, files, strict=True) if number is not None}
    track = numbered(frames, MODEL, FORMAT, first=0)
    note = "the camera is that of the 256-pixel picture the tracker worked on, a crop where it re-aligned the face"
    return [replace(track, notes=(note,))]


def frame_of(file: Path) -> Frame:
    content = load_npz(file, CODES)
    eyes = vector(content["eye_pose"], 6, "eye_pose", file)
    values = {
        "betas": vector(content["shape"], (100, 300), "shape", file),
        "expression": vector(content["exp"], (50, 100), "exp", file),
        "jaw_pose": vector(content["jaw_pose"], 3, "jaw_pose", file),
        "global_orient": vector(content["head_pose"], 3, "head_pose", file),
        "leye_pose": eyes[:3],
        "reye_pose": eyes[3:],
    }
    if "neck_pose" in content:
        values["neck_pose"] = vector(content["neck_pose"], 3, "neck_pose", file)
    yaw, pitch, roll, *place = vector(content["cam"], 6, "cam", file)
    turn = roma.euler_to_rotmat("ZYX", torch.tensor([roll, yaw, pitch], dtype=torch.float64)).numpy()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn.T, -turn.T @ np.array(place)
    K = vector(content["K"], 9, "K", file).reshape(3, 3).copy()
    K[:2, 2] -= 0.5  # it counts pixels from the picture's edge
    return Frame(values, K=K, world_from_codes=motion, image_size=(SIZE, SIZE))
