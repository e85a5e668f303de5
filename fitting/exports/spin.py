"""SPIN's data set npz: imgname, center, scale, pose (N, 72), shape (N, 10), has_smpl, gender, openpose, part.

`scale` is 1.2 times the longer side of the person's box over 200 pixels. OpenPose's 25 points are the fit's keypoints
of these names; `part` is empty. SMPL only: betas of SMPL-X are another shape there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.exports.bodies import boxes, in_camera
from fitting.exports.human_data_points import in_body25
from fitting.exports.target import Export, Target, require_body
from fitting.track import Track, sized
from fitting.writers.npz import write_npz

MARGIN, UNIT = 1.2, 200.0
BODY25, PARTS = 25, 24


def write(track: Track, target: Target) -> list[Path]:
    """One file; frames without codes are left out, as the format has no place for them. Raises OutputError."""
    body = require_body(target, "spin")
    kept = np.flatnonzero(track.valid)
    box = boxes(track, target, body)
    orient, _ = in_camera(track, body)
    count, seen = len(track), target.observations
    arrays = {
        "imgname": np.array([picture_name(name) for name in track.names]),
        "center": (box[:, :2] + box[:, 2:]) / 2,
        "scale": MARGIN * (box[:, 2:] - box[:, :2]).max(axis=1) / UNIT,
        "pose": np.concatenate([orient, sized(track.values["body_pose"], 69)], axis=1).astype(np.float32),
        "shape": sized(track.values["betas"], 10).astype(np.float32),
        "has_smpl": np.ones(count, dtype=np.uint8),
        "openpose": np.zeros((count, BODY25, 3)) if seen is None else in_body25(seen),
        "part": np.zeros((count, PARTS, 3)),
    }
    return [write_npz(target.folder / "spin.npz", {name: rows[kept] for name, rows in arrays.items()})]


def picture_name(name: str) -> str:
    return name if Path(name).suffix else f"{name}.jpg"


EXPORT = Export(
    write,
    models=("smpl",),
    needs=("betas", "global_orient", "body_pose", "transl"),
    needs_body=True,
    needs_camera=True,
)
