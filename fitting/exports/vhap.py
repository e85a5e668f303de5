"""VHAP's tracked_flame_params_0.npz: the keys and conventions are described at the reader, fitting/codes/vhap.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.exports.fixed_camera import clip_focal, middle_cameras, under
from fitting.exports.target import Export, Target, sizes_of
from fitting.track import Track, sized
from fitting.writers.npz import write_npz

CAMERA_Z = 1.0  # metres: the camera stands at (0, 0, 1)
SHAPES, EXPRESSIONS = 300, 100


def write(track: Track, target: Target) -> list[Path]:
    """One file for the clip. Raises OutputError where pictures differ in size."""
    arrays, focal, (width, height) = parameters(track, target)
    arrays |= {
        "timestep_id": np.array(track.names),
        "n_processed_frames": np.array(len(track)),
        "focal_length": np.array([focal / max(width, height)], dtype=np.float32),
        "image_size": np.array([height, width]),
    }
    return [write_npz(target.folder / "tracked_flame_params_0.npz", arrays)]


def parameters(track: Track, target: Target) -> tuple[dict[str, np.ndarray], float, tuple[int, int]]:
    """The arrays in VHAP's world, the focal length in pixels, and the picture's width and height."""
    width, height = (int(n) for n in sizes_of(track)[0])
    focal = clip_focal(track)
    place = under(track, middle_cameras(track, focal), target, track.values["transl"])
    zero = np.zeros((len(track), 3))
    eyes = [track.values.get(name, zero) for name in ("leye_pose", "reye_pose")]
    arrays = {
        "rotation": track.values["global_orient"],
        "translation": place + [0, 0, CAMERA_Z],
        "neck_pose": track.values.get("neck_pose", zero),
        "jaw_pose": track.values["jaw_pose"],
        "eyes_pose": np.concatenate(eyes, axis=1),
        "shape": sized(track.values["betas"], SHAPES).mean(axis=0),
        "expr": sized(track.values["expression"], EXPRESSIONS),
    }
    return {name: value.astype(np.float32) for name, value in arrays.items()}, focal, (width, height)


EXPORT = Export(
    write,
    models=("flame2023",),
    needs=("betas", "expression", "global_orient", "jaw_pose", "transl"),
    needs_camera=True,
)
