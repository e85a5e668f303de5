"""IMavatar's code.json and, where a camera is known, flame_params.json: described at fitting/codes/imavatar.py.

Frames without codes are left out of flame_params.json; code.json has every frame, since IMavatar counts on through it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fitting.exports.decoded import landmarks, to_pixels
from fitting.exports.target import Export, Target, cameras, require_body, sizes_of
from fitting.track import Track, sized
from fitting.types import OutputError
from fitting.writers.atomic import write_text

SCALE = 4.0  # of FLAME's vertices in IMavatar's world
SHAPES, EXPRESSIONS = 100, 50
POSE = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
LAYOUT = "ibug68"


def write(track: Track, target: Target) -> list[Path]:
    """Raises OutputError for pictures that are not square: IMavatar divides both axes by one size."""
    written = [write_text(target.folder / "code.json", json.dumps(entries(track)) + "\n")]
    if track.codes.K is None or "transl" not in track.values:
        return written
    return [*written, write_text(target.folder / "flame_params.json", json.dumps(fitted(track, target)) + "\n")]


def entries(track: Track) -> dict[str, dict[str, list]]:
    """DECA's codes by frame number from 1."""
    pose = np.concatenate([track.values["global_orient"], track.values["jaw_pose"]], axis=1)
    shape = sized(track.values["betas"], SHAPES)
    expression = sized(track.values["expression"], EXPRESSIONS)
    return {
        str(k + 1): {"shape": [shape[k].tolist()], "exp": [expression[k].tolist()], "pose": [pose[k].tolist()]}
        for k in range(len(track))
    }


def fitted(track: Track, target: Target) -> dict[str, object]:
    size = square(track)
    K = cameras(track)
    body = require_body(target, "imavatar")
    if LAYOUT not in body.embeddings:
        raise OutputError(f"imavatar: {body.name} has no 68 landmarks: put landmark_embedding.npy beside its file")
    keypoints = 2 * to_pixels(landmarks(body, track, LAYOUT), K) / size - 1
    zero = np.zeros((len(track), 3))
    pose = np.concatenate([track.values.get(name, zero) for name in POSE], axis=1)
    expression = sized(track.values["expression"], EXPRESSIONS)
    frames = [
        {
            "file_path": f"./image/{k + 1}",
            "world_mat": np.c_[np.eye(3), SCALE * track.values["transl"][k]].tolist(),
            "expression": expression[k].tolist(),
            "pose": pose[k].tolist(),
            "bbox": [*np.nanmin(keypoints[k], axis=0).tolist(), *np.nanmax(keypoints[k], axis=0).tolist()],
            "flame_keypoints": np.nan_to_num(keypoints[k]).tolist(),
        }
        for k in np.flatnonzero(track.valid)
    ]
    fx, fy, cx, cy = K[0, 0, 0], K[0, 1, 1], K[0, 0, 2], K[0, 1, 2]
    return {
        "frames": frames,
        "intrinsics": [-fx / size, fy / size, cx / size, cy / size],
        "shape_params": sized(track.values["betas"], SHAPES).mean(axis=0).tolist(),
    }


def square(track: Track) -> int:
    """The side of all pictures, with one camera for all of them."""
    sizes = sizes_of(track)
    if len(np.unique(sizes)) != 1:
        found = " and ".join(f"{w} x {h}" for w, h in np.unique(sizes, axis=0).tolist())
        raise OutputError(f"imavatar: square pictures of one size are needed, found {found}: crop them first")
    if not np.allclose(cameras(track), cameras(track)[0]):
        raise OutputError("imavatar: it has one camera for all frames, these codes have several")
    return int(sizes[0, 0])


EXPORT = Export(
    write, models=("flame2020",), needs=("betas", "expression", "global_orient", "jaw_pose"), needs_body=True
)
