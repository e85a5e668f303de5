"""Joints of the SMPL family by name, in the order of their model files, and which hangs on which.

SMPL has 24 (22 of the body and one for each hand), SMPL-H 52 (22, and 15 of each hand), SMPL-X 55 (22, jaw, eyes, 15 of
each hand). Names are those of the SMPL-X family; left and right are the subject's.
"""

from __future__ import annotations

_BODY = {  # joint -> parent
    "pelvis": "", "left_hip": "pelvis", "right_hip": "pelvis", "spine1": "pelvis", "left_knee": "left_hip",
    "right_knee": "right_hip", "spine2": "spine1", "left_ankle": "left_knee", "right_ankle": "right_knee",
    "spine3": "spine2", "left_foot": "left_ankle", "right_foot": "right_ankle", "neck": "spine3",
    "left_collar": "spine3", "right_collar": "spine3", "head": "neck", "left_shoulder": "left_collar",
    "right_shoulder": "right_collar", "left_elbow": "left_shoulder", "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow", "right_wrist": "right_elbow",
}  # fmt: skip
_FACE = {"jaw": "head", "left_eye_smplhf": "head", "right_eye_smplhf": "head"}


def _hand(side: str) -> dict[str, str]:
    fingers = [f"{side}_{finger}" for finger in ("index", "middle", "pinky", "ring", "thumb")]
    return {f"{f}{k}": f"{f}{k - 1}" if k > 1 else f"{side}_wrist" for f in fingers for k in (1, 2, 3)}


def _parents(tree: dict[str, str]) -> tuple[int, ...]:
    names = list(tree)
    return tuple(names.index(parent) if parent else -1 for parent in tree.values())


_SMPL = _BODY | {"left_hand": "left_wrist", "right_hand": "right_wrist"}
_SMPLH = _BODY | _hand("left") | _hand("right")
_SMPLX = _BODY | _FACE | _hand("left") | _hand("right")
SMPL_JOINTS, SMPL_PARENTS = tuple(_SMPL), _parents(_SMPL)
SMPLH_JOINTS, SMPLH_PARENTS = tuple(_SMPLH), _parents(_SMPLH)
SMPLX_JOINTS, SMPLX_PARENTS = tuple(_SMPLX), _parents(_SMPLX)
