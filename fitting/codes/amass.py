"""AMASS's npz: poses (N, 156 | 165 | 72), trans (N, 3), betas (10, 16 or more), mocap_framerate, gender.

156 numbers are SMPL-H's: root, 21 joints, both hands; 165 SMPL-X's: root, 21 joints, jaw, eyes, both hands; 72 SMPL's.
Fingers are whole rotations from a flat hand. The world has z up and no camera in it: a fit takes the pose from it, and
finds from the keypoints where the person stands and looks.
"""

from __future__ import annotations

import numpy as np

from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, rows
from fitting.track import Track
from fitting.types import Codes, InputError

FORMAT = "AMASS motion"
NOTE = "its world has no camera: place and heading are those of the capture"
HANDS = {"left_hand_pose": 45, "right_hand_pose": 45}
PARTS = {
    72: ("smpl", {"global_orient": 3, "body_pose": 69}),
    156: ("smplh", {"global_orient": 3, "body_pose": 63, **HANDS}),
    165: ("smplx", {"global_orient": 3, "body_pose": 63, "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3, **HANDS}),
}
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # from z up


def accepts(source: Source) -> bool:
    return source.suffix == ".npz" and {"poses", "trans", "betas"} <= source.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for arrays of other sizes."""
    content, path = source.content, source.path
    poses = rows(content["poses"], tuple(PARTS), None, "poses", path)
    frames = len(poses)
    model, parts = PARTS[poses.shape[1]]
    ends = np.cumsum(list(parts.values()))
    values = dict(zip(parts, np.split(poses, ends[:-1], axis=1), strict=True))
    values["betas"] = rows(content["betas"], tuple(range(1, 401)), frames, "betas", path)
    values["transl"] = rows(content["trans"], 3, frames, "trans", path)
    rate = next((content[key] for key in ("mocap_framerate", "mocap_frame_rate") if key in content), None)
    valid = np.ones(frames, dtype=bool)
    if "valid" in content:  # Keyfit writes it
        valid = np.ravel(content["valid"]).astype(bool)
        if len(valid) != frames:
            raise InputError(f"{path}: valid has {len(valid)} rows, poses has {frames}")
    return [
        Track(
            Codes(values, str(content.get("surface_model_type", model)), valid),
            tuple(f"{k:06d}" for k in range(frames)),
            FORMAT,
            fps=None if rate is None else float(np.ravel(rate)[0]),
            world_from_codes=np.tile(Y_UP, (frames, 1, 1)),
            has_camera=False,
            notes=(NOTE,),
        )
    ]
