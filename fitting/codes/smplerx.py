"""SMPLer-X's smplx/<frame>_<box>.npz with meta/<the same>.json: one body of one frame, SMPL-X.

Axis-angle; hands of 15 joints from the mean hand; transl in OpenCV's axes. The camera is the person's own: meta has
focal [fx, fy] and princpt [cx, cy] in pixels of the full image, other ones for every box.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.codes.frames import Frame, numbered
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load_json, vector
from fitting.codes.turns import camera, turns
from fitting.track import Track
from fitting.unpickle import CODES, load_npz
from fitting.worlds import opencv

FORMAT = "SMPLer-X results"
MODEL = "smplx"
NAME = re.compile(r"(\d+)_(\d+)")
KEYS = {"global_orient", "body_pose", "left_hand_pose", "jaw_pose", "transl", "expression"}
JOINTS = {
    "global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15, "jaw_pose": 1, "leye_pose": 1,
    "reye_pose": 1,
}  # fmt: skip


def accepts(source: Source) -> bool:
    files = result_files(source.path)
    return bool(files) and KEYS <= Source(files[0]).keys


def result_files(path: Path) -> list[Path]:
    """In the folder `smplx`, or the one above it."""
    if not path.is_dir():
        return []
    folder = path / "smplx" if (path / "smplx").is_dir() else path
    return [file for file in Source(folder).files if file.suffix == ".npz" and NAME.fullmatch(file.stem)]


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per box number. Raises InputError."""
    people: dict[int, dict[int, Frame]] = defaultdict(dict)
    for file in result_files(source.path):
        match = NAME.fullmatch(file.stem)
        assert match is not None
        people[int(match[2])][int(match[1])] = frame_of(file)
    first = 0 if any(0 in frames for frames in people.values()) else 1
    return [
        replace(numbered(frames, MODEL, FORMAT, first), person=f"{k:03d}", hands_from_mean=True)
        for k, (_, frames) in enumerate(sorted(people.items()))
    ]


def frame_of(file: Path) -> Frame:
    content = load_npz(file, CODES)
    values = {name: turns(content[name], n, 1, name, file)[0] for name, n in JOINTS.items() if name in content}
    values |= {name: vector(content[name], 10, name, file) for name in ("betas", "expression")}
    shift = vector(content["transl"], 3, "transl", file)
    return Frame(values, K=intrinsics(file), world_from_codes=opencv(np.eye(3)[None], shift[None])[0])


def intrinsics(file: Path) -> np.ndarray | None:
    """Of the person's box, where its meta file is there."""
    meta = file.parent.parent / "meta" / f"{file.stem}.json"
    content = load_json(meta) if meta.is_file() else None
    if not isinstance(content, Mapping) or "focal" not in content:
        return None
    focal = vector(content["focal"], 2, "focal", meta)
    return camera(focal, vector(content["princpt"], 2, "princpt", meta))
