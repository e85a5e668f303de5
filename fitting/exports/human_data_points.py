"""Detected keypoints in HumanData's order of 190 points, and in OpenPose's of 25, by name.

HumanData has SMPL-X's 55 joints first, then 10 points of face and feet, finger tips, iBUG's 51 and 17, nine points of
other data sets, and from 153 on OpenPose's BODY_25 as points of their own: what OpenPose calls a hip lies elsewhere
than SMPL-X's. Order: MMHuman3D, mmhuman3d/core/conventions/keypoints_mapping/human_data.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from fitting.layouts import BODY25, IBUG68
from fitting.types import Observations

COUNT, OPENPOSE = 190, 153
CONVENTION = "human_data"
BODY = {
    "mid_hip": 0, "left_hip": 1, "right_hip": 2, "left_knee": 4, "right_knee": 5, "left_ankle": 7, "right_ankle": 8,
    "neck": 12, "left_shoulder": 16, "right_shoulder": 17, "left_elbow": 18, "right_elbow": 19, "left_wrist": 20,
    "right_wrist": 21, "nose": 55, "right_eye": 56, "left_eye": 57, "right_ear": 58, "left_ear": 59,
    "left_big_toe": 60, "left_small_toe": 61, "left_heel": 62, "right_big_toe": 63, "right_small_toe": 64,
    "right_heel": 65, "head_top": 147,
}  # fmt: skip
FINGERS = {"index": 0, "middle": 3, "pinky": 6, "ring": 9, "thumb": 12}  # after a hand's first joint
TIPS = ("thumb", "index", "middle", "ring", "pinky")
FIRST = {"left": (25, 66), "right": (40, 71)}  # a hand's first joint, its first tip
FACE, JAW_LINE, FIRST_INNER = 76, 127, 17  # where iBUG's 51 and its 17 begin


def places(observations: Observations) -> dict[int, int]:
    """HumanData's index of a point to the layout's, for those that both have."""
    names = observations.layout.point_names
    theirs = {**hands(), **face()}
    if observations.layout.name.startswith(("openpose", BODY25.name)):
        theirs |= {name: OPENPOSE + k for k, name in enumerate(BODY25.point_names)}
    else:
        theirs |= BODY
    return {theirs[name]: k for k, name in enumerate(names) if name in theirs}


def hands() -> dict[str, int]:
    found: dict[str, int] = {}
    for side, (joint, tip) in FIRST.items():
        for finger, first in FINGERS.items():
            found |= {f"{side}_{finger}_{n + 1}": joint + first + n for n in range(3)}
            found[f"{side}_{finger}_4"] = tip + TIPS.index(finger)
    return found


def face() -> dict[str, int]:
    names = IBUG68.point_names
    inner = {name: FACE + k for k, name in enumerate(names[FIRST_INNER:])}
    return inner | {name: JAW_LINE + k for k, name in enumerate(names[:FIRST_INNER])}


def in_human_data(observations: Observations) -> Mapping[str, np.ndarray]:
    """keypoints2d (frames, 190, 3): x, y, confidence; keypoints2d_mask (190,), 1 for points that are ever given."""
    index = places(observations)
    points = gathered(observations, index, COUNT)
    mask = np.zeros(COUNT, dtype=np.uint8)
    mask[list(index)] = 1
    return {"keypoints2d": points, "keypoints2d_mask": mask}


def in_body25(observations: Observations) -> Float[np.ndarray, "frames 25 3"]:
    """x, y, confidence; points that the layout does not have are 0."""
    names = observations.layout.point_names
    index = {k: names.index(name) for k, name in enumerate(BODY25.point_names) if name in names}
    return gathered(observations, index, len(BODY25))


def gathered(observations: Observations, index: Mapping[int, int], count: int) -> Float[np.ndarray, "frames points 3"]:
    found = np.zeros((len(observations), count, 3))
    theirs, mine = list(index), list(index.values())
    confidence = observations.confidence[:, mine]
    found[:, theirs, :2] = np.where(confidence[..., None] > 0, observations.keypoints[:, mine], 0.0)
    found[:, theirs, 2] = confidence
    return found
