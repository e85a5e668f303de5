"""`.frame` files of metrical-tracker and pixel3dmm: one per frame, written by torch.save with numpy arrays inside.

metrical-tracker  flame {exp (1, 100), shape (1, 300), eyes (1, 12), jaw (1, 6), eyelids}, opencv {R, t, K}, img_size
                  (height, width); rotations are 6D, pytorch3d's; FLAME has no global rotation, the camera turns. FLAME
                  2020
pixel3dmm         flame {exp, shape, eyes, jaw, neck, R, t}, camera {R_base_0, t_base_0, fl, pp}; the head turns by R, t
                  before an OpenGL camera; fl in picture widths, pp in half widths. FLAME 2020 or 2023: the file does
                  not say

They are read without running what is in them: numpy arrays and plain values, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.codes.frames import Frame, numbered
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, trailing_number, vector
from fitting.track import Track
from fitting.types import InputError
from fitting.worlds import opencv, rotmat_to_rotvec, sixd_to_rotmat

METRICAL, PIXEL3DMM = "metrical-tracker checkpoints", "pixel3dmm checkpoints"
EYELIDS = "eyelid coefficients are no part of FLAME: they are left out of what is written"


def accepts(source: Source) -> bool:
    """A file, the folder `checkpoint` of them, or the folder above it."""
    return bool(frame_files(source.path))


def frame_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".frame" else []
    folders = [path, path / "checkpoint"]
    return next(
        ([f for f in Source(p).files if f.suffix == ".frame"] for p in folders if Source(p).first(".frame")), []
    )


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for a file that names foreign classes, or is not one of these."""
    files = frame_files(source.path)
    contents = {number_of(file, k): (load(file), file) for k, file in enumerate(files)}
    first = next(iter(contents.values()))[0]
    if not isinstance(first, Mapping) or "flame" not in first:
        raise InputError(f"{files[0]}: a dict with 'flame' is expected")
    convert, model, format = (metrical, "flame2020", METRICAL) if "opencv" in first else (pixel3dmm, "flame", PIXEL3DMM)
    frames = {number: convert(content, file) for number, (content, file) in contents.items()}
    track = numbered(frames, model, format, first=0)
    return [replace(track, notes=(EYELIDS,)) if "eyelids" in track.extras else track]


def number_of(file: Path, position: int) -> int:
    number = trailing_number(file.stem)
    return position if number is None else number


def metrical(content: Mapping[str, Any], path: Path) -> Frame:
    """x_camera = R x + t in OpenCV's axes: the block `opencv`."""
    flame, camera = part(content, "flame", path), part(content, "opencv", path)
    R = vector(camera["R"], 9, "opencv.R", path).reshape(3, 3)
    K = vector(camera["K"], 9, "opencv.K", path).reshape(3, 3)
    motion = opencv(R[None], vector(camera["t"], 3, "opencv.t", path)[None])[0]
    return Frame(
        values_of(flame, path), K=K, world_from_codes=motion, image_size=size_of(content), extras=eyelids(flame, path)
    )


def pixel3dmm(content: Mapping[str, Any], path: Path) -> Frame:
    flame, camera = part(content, "flame", path), part(content, "camera", path)
    size = size_of(content)
    extent = max(size) if size else 512
    f, pp = vector(camera["fl"], 1, "camera.fl", path)[0] * extent, vector(camera["pp"], 2, "camera.pp", path)
    reach = extent / 2 + 0.5
    # Its own projection mirrors x with width - 1 and leaves y: hence the two different halves.
    K = np.array([[f, 0, reach - 1 + pp[0] * reach], [0, f, reach + pp[1] * reach], [0, 0, 1]])
    head = rigid(sixd_to_rotmat(vector(flame["R"], 6, "flame.R", path)), vector(flame["t"], 3, "flame.t", path))
    base_R = next(value for key, value in camera.items() if str(key).startswith("R_base"))
    base_t = next(value for key, value in camera.items() if str(key).startswith("t_base"))
    base = rigid(vector(base_R, 9, "camera.R_base", path).reshape(3, 3), vector(base_t, 3, "camera.t_base", path))
    values = values_of(flame, path)
    values["neck_pose"] = rotmat_to_rotvec(sixd_to_rotmat(vector(flame["neck"], 6, "flame.neck", path)))
    return Frame(values, K=K, world_from_codes=base @ head, image_size=size, extras=eyelids(flame, path))


def values_of(flame: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    eyes = sixd_to_rotmat(vector(flame["eyes"], 12, "flame.eyes", path).reshape(2, 6))
    return {
        "betas": vector(flame["shape"], 300, "flame.shape", path),
        "expression": vector(flame["exp"], (50, 100), "flame.exp", path),
        "jaw_pose": rotmat_to_rotvec(sixd_to_rotmat(vector(flame["jaw"], 6, "flame.jaw", path))),
        "leye_pose": rotmat_to_rotvec(eyes[0]),
        "reye_pose": rotmat_to_rotvec(eyes[1]),
    }


def eyelids(flame: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    return {"eyelids": vector(flame["eyelids"], 2, "flame.eyelids", path)} if "eyelids" in flame else {}


def part(content: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    found = content.get(name)
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: no {name!r} in it, found {', '.join(map(str, content))}")
    return found


def size_of(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width, height; stored the other way round."""
    if "img_size" not in content:
        return None
    height, width = np.ravel(content["img_size"])[:2]
    return int(width), int(height)


def rigid(rotation: np.ndarray, shift: np.ndarray) -> Float[np.ndarray, "4 4"]:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, shift
    return motion
