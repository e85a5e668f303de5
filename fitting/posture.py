"""How a person stands who has not been looked at yet: arms hanging, and which keypoints tell where he is."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.types import Body, Layout, Parameters

# Radians from the T-pose about the joint's own axes (y up, x to the subject's left).
HANGING = {"left_shoulder": (0.0, 0.0, -1.1), "right_shoulder": (0.0, 0.0, 1.1)}
BENT = {"left_elbow": (0.0, -1.5, 0.0), "right_elbow": (0.0, 1.5, 0.0)}
# Crossed arms hang with the upper arms turned inwards by a radian: Rz(-1.1) Rx(1) of the left one.
CROSSED = {"left_shoulder": (0.894, -0.548, -1.003), "right_shoulder": (0.894, 0.548, 1.003)}
ARMS = {"hanging": HANGING, "forward": {**HANGING, **BENT}, "crossed": {**CROSSED, **BENT}}

# How well a keypoint tells where the trunk is; limbs may be anywhere. All others share REST between them.
STEADY = {
    "shoulder": 1.0, "hip": 1.0, "neck": 0.7, "mid_hip": 1.0, "nose": 0.4, "ear": 0.3, "eye": 0.2,
    "knee": 0.4, "ankle": 0.2, "elbow": 0.2, "wrist": 0.05,
}  # fmt: skip
REST = 0.3


def is_whole_body(body: Body) -> bool:
    return any(block.name == "body_pose" for block in body.blocks)


def with_arms(body: Body, parameters: Parameters, arms: str = "hanging") -> Parameters:
    """The same parameters with the arms down, or the forearms forward; a body without them is left as it is."""
    if "body_pose" not in parameters:
        return parameters
    pose = parameters["body_pose"].clone()
    for name, vector in ARMS[arms].items():
        if name in body.joint_names:
            joint = body.joint_names.index(name) - 1  # the root is global_orient
            pose[:, :, joint] = roma.rotvec_to_rotmat(pose.new_tensor(vector))
    return parameters.replace({"body_pose": pose})


def steadiness(layout: Layout, points: np.ndarray, confidence: Float[Tensor, "frames points"]) -> Tensor:
    """Confidence times how much a keypoint says about the trunk (frames, points)."""
    names = [layout.point_names[int(k)].removeprefix("left_").removeprefix("right_") for k in points]
    known = confidence.new_tensor([STEADY.get(name, 0.0) for name in names])
    others = confidence * (known == 0)
    share = REST * others / others.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.where(known > 0, confidence * known, share)
