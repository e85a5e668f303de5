"""GaussianAvatars' data set, as VHAP exports it: flame_param/%05d.npz, one per time step, and transforms.json.

The npz has VHAP's keys with a leading 1. transforms.json has one entry per picture: timestep_index, camera_index, cx,
cy, fl_x, fl_y, w, h, flame_param_path and transform_matrix, camera to world in OpenGL's axes. Translations are moved
to zero mean, and the cameras with them. With several cameras the first one's is taken. A time step without an entry is
one that nobody trains on: a frame without codes. Pixels are counted from the edge. FLAME 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, load_json, trailing_number
from fitting.codes.vhap import KEYS, MODEL, blocks
from fitting.track import Track
from fitting.types import InputError

FORMAT = "GaussianAvatars data set"
TRANSFORMS = ("transforms.json", "transforms_train.json")


def accepts(source: Source) -> bool:
    """The data set, its folder flame_param, or one file of that."""
    if source.path.is_dir():
        folder = parameters_folder(source.path)
        first = Source(folder).first(".npz") if folder else None
        return first is not None and KEYS <= first.keys
    return False


def parameters_folder(path: Path) -> Path | None:
    return next((p for p in (path / "flame_param", path) if p.is_dir() and p.name == "flame_param"), None)


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person, one row per time step. Raises InputError for damaged files."""
    folder = parameters_folder(source.path)
    assert folder is not None  # `accepts` has seen it
    files = [file for file in Source(folder).files if file.suffix == ".npz" and trailing_number(file.stem) is not None]
    cameras = read_cameras(folder.parent)
    count = max(map(number_of, files)) + 1
    chosen = [file for file in files if not cameras or number_of(file) in cameras]
    if not chosen:
        raise InputError(f"{folder.parent}: transforms.json has no entry for any of flame_param/*.npz")
    frames = {number_of(file): frame_of(file, cameras.get(number_of(file))) for file in chosen}
    every = [frames.get(k) for k in range(count)]
    return [replace(stack(every, [f"{k:06d}" for k in range(count)], MODEL, FORMAT), match="number")]


def number_of(file: Path) -> int:
    number = trailing_number(file.stem)
    assert number is not None
    return number


def read_cameras(folder: Path) -> dict[int, Mapping[str, Any]]:
    """The first camera's entry of every time step, over the files that divide the data set."""
    found: dict[int, Mapping[str, Any]] = {}
    for name in (*TRANSFORMS, "transforms_val.json", "transforms_test.json"):
        if not (folder / name).is_file():
            continue
        content = load_json(folder / name)
        for entry in content.get("frames", []):
            step = int(entry["timestep_index"])
            known = found.get(step)
            if known is None or entry.get("camera_index", 0) < known.get("camera_index", 0):
                found[step] = {**{k: v for k, v in content.items() if k != "frames"}, **entry}
    return found


def frame_of(file: Path, camera: Mapping[str, Any] | None) -> Frame:
    values = {name: row[0] for name, row in blocks(load(file), 1, file).items()}
    if camera is None:
        return Frame(values)
    width, height = int(camera["w"]), int(camera["h"])
    K = np.array([[camera["fl_x"], 0, camera["cx"] - 0.5], [0, camera["fl_y"], camera["cy"] - 0.5], [0, 0, 1]])
    motion = np.linalg.inv(np.array(camera["transform_matrix"], dtype=np.float64))
    return Frame(values, K=K, world_from_codes=motion, image_size=(width, height))
