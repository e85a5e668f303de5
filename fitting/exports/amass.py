"""AMASS-like npz of a clip: poses (N, 165 | 156 | 72), trans (N, 3), betas, mocap_frame_rate, gender, and SMPL-X's
parts by name (root_orient, pose_body, pose_hand, pose_jaw, pose_eye).

AMASS's world has z up: here x to the right of the picture, y away from the viewer. Fingers are whole rotations from a
flat hand. Frames without codes are interpolated; `valid` beside them says which.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.exports.bodies import SIDES, fingers, zeros_for
from fitting.exports.target import Export, Target, require_body
from fitting.track import Track
from fitting.worlds import unsettled
from fitting.writers.npz import write_npz

FPS = 25.0
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # from y up
FACE = ("jaw_pose", "leye_pose", "reye_pose")


def write(track: Track, target: Target) -> list[Path]:
    """One file for the clip. Raises OutputError."""
    body = require_body(target, "amass")
    root, place = unsettled(track, body, Z_UP)
    model = track.codes.model
    arrays = {"trans": place, "betas": track.values["betas"].mean(axis=0)}
    parts = {"root_orient": root, "pose_body": track.values["body_pose"]}
    if model != "smpl":
        parts["pose_hand"] = np.concatenate([fingers(track, body, side) for side in SIDES], axis=1)
    if model not in ("smpl", "smplh"):
        parts |= {"pose_jaw": joined(track, FACE[:1], 1), "pose_eye": joined(track, FACE[1:], 1)}
    order = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
    arrays["poses"] = np.concatenate([parts[name] for name in order if name in parts], axis=1)
    arrays |= {name: value.astype(np.float32) for name, value in {**arrays, **parts}.items()}
    arrays |= {
        "mocap_frame_rate": np.array(track.fps or FPS),
        "mocap_framerate": np.array(track.fps or FPS),
        "gender": np.array("neutral"),
        "surface_model_type": np.array(model),
        "valid": track.valid,
    }
    return [write_npz(target.folder / "amass.npz", arrays)]


def joined(track: Track, names: tuple[str, ...], joints: int) -> np.ndarray:
    return np.concatenate([track.values.get(name, zeros_for(track, joints)) for name in names], axis=1)


EXPORT = Export(
    write,
    models=("smplx", "smplh", "smpl", "open_body"),
    needs=("betas", "global_orient", "body_pose", "transl"),
    needs_body=True,
)
