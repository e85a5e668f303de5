"""GaussianAvatars' data set without its pictures: flame_param/%05d.npz, canonical_flame_param.npz, transforms.json.

As VHAP exports it: translations moved to zero mean and the camera with them, pixels counted from the picture's edge.
Frames that were not fitted are left out of transforms.json, so that nothing is trained on them; their numbers stay
free. Pictures belong at images/%05d_00.png, masks at fg_masks/%05d_00.png.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from fitting.exports.target import Export, Target
from fitting.exports.vhap import CAMERA_Z, parameters
from fitting.track import Track
from fitting.writers.atomic import write_text
from fitting.writers.npz import write_npz

CANONICAL_JAW = 0.3  # radians: the mouth is open in the canonical pose
SHARED = ("shape",)


def write(track: Track, target: Target) -> list[Path]:
    """Raises OutputError where something cannot be written."""
    arrays, focal, size = parameters(track, target)
    middle = arrays["translation"].mean(axis=0)
    arrays["translation"] = arrays["translation"] - middle
    written = [write_npz(target.folder / "canonical_flame_param.npz", canonical(arrays))]
    for k in range(len(track)):
        one = {name: value if name in SHARED else value[k : k + 1] for name, value in arrays.items()}
        written.append(write_npz(target.folder / "flame_param" / f"{k:05d}.npz", one))
    matrix = np.eye(4)
    matrix[:3, 3] = np.array([0, 0, CAMERA_Z]) - middle
    frames = [frame(int(k), track.names[k], camera(focal, size), matrix) for k in np.flatnonzero(track.valid)]
    steps = [entry["timestep_index"] for entry in frames]
    content = {"frames": frames, **camera(focal, size), "timestep_indices": steps, "camera_indices": [0]}
    return [*written, write_text(target.folder / "transforms.json", json.dumps(content, indent=1) + "\n")]


def canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    zeros = {name: np.zeros_like(value[:1]) for name, value in arrays.items() if name not in SHARED}
    jaw = np.array([[CANONICAL_JAW, 0, 0]], dtype=np.float32)
    return {**zeros, "jaw_pose": jaw, "shape": arrays["shape"]}


def camera(focal: float, size: tuple[int, int]) -> dict[str, float | int]:
    width, height = size
    return {
        "cx": width / 2,
        "cy": height / 2,
        "fl_x": focal,
        "fl_y": focal,
        "h": height,
        "w": width,
        "camera_angle_x": 2 * math.atan(width / (2 * focal)),
        "camera_angle_y": 2 * math.atan(height / (2 * focal)),
    }


def frame(k: int, name: str, seen_by: dict[str, float | int], matrix: np.ndarray) -> dict[str, object]:
    return {
        "timestep_index": int(k),
        "timestep_index_original": int(k),
        "timestep_id": name,
        "camera_index": 0,
        "camera_id": "0",
        **seen_by,
        "transform_matrix": matrix.tolist(),
        "file_path": f"images/{k:05d}_00.png",
        "fg_mask_path": f"fg_masks/{k:05d}_00.png",
        "flame_param_path": f"flame_param/{k:05d}.npz",
    }


EXPORT = Export(
    write,
    models=("flame2023",),
    needs=("betas", "expression", "global_orient", "jaw_pose", "transl"),
    needs_camera=True,
)
