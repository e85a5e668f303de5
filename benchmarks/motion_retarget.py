"""Captured motion on SMPL-X's joints: 21 body joints and the pelvis, axis-angle, T-pose rest.

Only directions are carried over, no lengths: joint j of SMPL-X takes the world rotation of the bone that does its work,
after the rotation that lays SMPL-X's bone at rest on the file's bone at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from benchmarks.motion_files import Motion, read_acclaim, read_bvh

JOINTS = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle"),
    *("spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)

# Where SMPL-X's bones point at rest; a joint that is not here keeps the file's frame.
REST = {
    **{f"{side}_{joint}": (0.0, -1.0, 0.0) for side in ("left", "right") for joint in ("hip", "knee")},
    **{f"{side}_ankle": (0.0, -0.45, 0.9) for side in ("left", "right")},
    **{f"left_{joint}": (1.0, 0.0, 0.0) for joint in ("shoulder", "elbow", "wrist")},
    **{f"right_{joint}": (-1.0, 0.0, 0.0) for joint in ("shoulder", "elbow", "wrist")},
}

SIDES = {"left": ("l", "Left"), "right": ("r", "Right")}
CMU = {
    "pelvis": "root", "spine1": "lowerback", "spine2": "upperback", "spine3": "thorax", "neck": "lowerneck",
    "head": "head",
    **{
        f"{side}_{joint}": f"{letter}{bone}"
        for side, (letter, _) in SIDES.items()
        for joint, bone in (
            ("hip", "femur"), ("knee", "tibia"), ("ankle", "foot"), ("foot", "toes"), ("collar", "clavicle"),
            ("shoulder", "humerus"), ("elbow", "radius"), ("wrist", "hand"),
        )
    },
}  # fmt: skip


def bvh_limbs(**bones: str) -> dict[str, str]:
    return {f"{side}_{joint}": f"{word}{bone}" for side, (_, word) in SIDES.items() for joint, bone in bones.items()}


MIXAMO_LIMBS = bvh_limbs(
    hip="UpLeg", knee="Leg", ankle="Foot", foot="ToeBase", collar="Shoulder", shoulder="Arm", elbow="ForeArm",
    wrist="Hand",
)  # fmt: skip
MIXAMO = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    **MIXAMO_LIMBS,
}  # fmt: skip
# One joint for the whole spine, one for neck and head: their turn is shared out evenly.
PLAIN_WALK = {"pelvis": "Hips", "spine3": "Spine", "head": "Head", **MIXAMO_LIMBS}
MOCAPBANK = {
    "pelvis": "Hips", "spine3": "Chest2", "neck": "Neck", "head": "Head",
    **bvh_limbs(
        hip="Hip", knee="Knee", ankle="Ankle", collar="Collar", shoulder="Shoulder", elbow="Elbow", wrist="Wrist"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Poses:
    """A motion on SMPL-X's joints."""

    name: str
    global_orient: Float[np.ndarray, "frames 3"]
    body_pose: Float[np.ndarray, "frames 63"]
    fps: float


def retarget(name: str, motion: Motion, bones: Mapping[str, str]) -> Poses:
    world = np.empty((len(motion.rotations), len(JOINTS), 3, 3))
    for j, joint in enumerate(JOINTS):
        if joint not in bones:
            world[:, j] = world[:, PARENTS[j]]
            continue
        index = motion.names.index(bones[joint])
        world[:, j] = motion.rotations[:, index]
        if joint in REST and np.linalg.norm(motion.rest[index]) > 0:
            world[:, j] = world[:, j] @ shortest_turn(np.array(REST[joint]), motion.rest[index])
    share(world, bones, ("spine1", "spine2", "spine3"), "pelvis")
    share(world, bones, ("neck", "head"), "spine3")
    local = [world[:, 0], *(world[:, PARENTS[j]].transpose(0, 2, 1) @ world[:, j] for j in range(1, len(JOINTS)))]
    vectors = np.concatenate([Rotation.from_matrix(rotation).as_rotvec() for rotation in local], axis=1)
    return Poses(name, vectors[:, :3], vectors[:, 3:], motion.fps)


def share(world: np.ndarray, bones: Mapping[str, str], joints: tuple[str, ...], base: str) -> None:
    """Where the file has fewer joints: each of `joints` takes an equal part of the last one's turn from `base`."""
    if all(joint in bones for joint in joints):
        return
    start = world[:, JOINTS.index(base)]
    turn = Rotation.from_matrix(start.transpose(0, 2, 1) @ world[:, JOINTS.index(joints[-1])]).as_rotvec()
    for k, joint in enumerate(joints):
        part = Rotation.from_rotvec(turn * (k + 1) / len(joints)).as_matrix()
        world[:, JOINTS.index(joint)] = start @ part


def shortest_turn(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that takes the direction of a to that of b; these are never opposite here."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), a @ b
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def read_all(folder: Path) -> list[Poses]:
    """The motions of `folder` (CMU 01_01 and 11_01, three BVH files) and the SMPL-X poses."""
    cmu, bvh = folder / "cmu", folder / "bvh"
    poses = np.load(folder / "smplx_poses_8x165.npy").reshape(8, 55, 3)
    wrapped = Rotation.from_rotvec(poses.reshape(-1, 3)).as_rotvec().reshape(8, 165)  # one elbow turns by 4 radians
    return [
        *(
            retarget(name, read_acclaim(cmu / f"{name[:2]}.asf", cmu / f"{name}.amc"), CMU)
            for name in ("01_01", "11_01")
        ),
        retarget("8Walk", read_bvh(bvh / "AV_8Walk_Meredith_HVHA_Rep1.bvh"), PLAIN_WALK),
        retarget("freebvh", read_bvh(bvh / "test_freebvh.bvh"), MIXAMO),
        retarget("mocapbank", read_bvh(bvh / "test_mocapbank.bvh"), MOCAPBANK),
        Poses("smplx", wrapped[:, :3], wrapped[:, 3:66], 1.0),
    ]
