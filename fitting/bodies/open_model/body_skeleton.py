"""SMPL-X's 55 joints on MakeHuman's rig, and the same person standing in SMPL-X's T-pose.

MakeHuman rests in a wide A-pose: arms 45 degrees down, elbows bent 40 degrees forwards, fingers curled. SMPL-X's pose
parameters mean something only from its own rest: arms along the x axis, palms down, fingers straight, legs upright.
Every sampled person is brought there on his own, so that bones of all people point the same way at rest.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.smpl_joints import SMPLX_JOINTS, SMPLX_PARENTS

_FINGERS = {"index": 2, "middle": 3, "pinky": 5, "ring": 4, "thumb": 1}
_BONES = {
    "pelvis": "root", "spine1": "spine04", "spine2": "spine03", "spine3": "spine02", "neck": "neck01", "head": "head",
    "jaw": "jaw", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "foot": "toe2-1",
    "collar": "clavicle", "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "eye_smplhf": "eye",
} | {f"{name}{k}": f"finger{number}-{k}" for name, number in _FINGERS.items() for k in (1, 2, 3)}  # fmt: skip


def bone_of(joint: str) -> str:
    """MakeHuman's bone whose head is the joint."""
    side, _, stem = joint.partition("_")
    return f"{_BONES[stem]}.{side[0].upper()}" if side in ("left", "right") else _BONES[joint]


JOINT_BONES = tuple(bone_of(joint) for joint in SMPLX_JOINTS)
TOES = {f"toe{k}-1.{side}": f"toe2-1.{side}" for k in (1, 3, 4, 5) for side in "LR"}
"""All toes are SMPL-X's one joint of the foot; MakeHuman has a chain for each."""
_INDEX = {name: k for k, name in enumerate(SMPLX_JOINTS)}
DOWN, FORWARD = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])


def joint_mirror() -> Int[np.ndarray, " 55"]:
    """The joint on the other side."""
    swap = {"left": "right", "right": "left"}
    names = [name.split("_", 1) for name in SMPLX_JOINTS]
    return np.array([_INDEX["_".join([swap[n[0]], n[1]])] if n[0] in swap else _INDEX["_".join(n)] for n in names])


def with_pelvis(joints: Float[np.ndarray, "samples 55 3"]) -> Float[np.ndarray, "samples 55 3"]:
    """The pelvis halfway between the hips and the first joint of the spine, where SMPL-X has it: MakeHuman's root
    bone begins behind the back. Nothing else turns about it, so that it may be put anywhere."""
    joints = joints.copy()
    hips = 0.5 * (joints[:, _INDEX["left_hip"]] + joints[:, _INDEX["right_hip"]])
    joints[:, 0] = 0.5 * (hips + joints[:, _INDEX["spine1"]])
    return joints


# ------------------------------------------------------------------ the T-pose


def t_pose_rotations(joints: Float[np.ndarray, "samples 55 3"]) -> Float[np.ndarray, "samples 55 3 3"]:
    """World rotations that bring each joint's part from the A-pose to the T-pose."""
    turns = np.tile(np.eye(3), (*joints.shape[:2], 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _pose_leg(turns, joints, side)
        _pose_arm(turns, joints, side, sign)
    return turns


def _pose_leg(turns: np.ndarray, joints: np.ndarray, side: str) -> None:
    """The line from hip to ankle upright; the foot keeps the sole on the ground."""
    hip, ankle = _INDEX[f"{side}_hip"], _INDEX[f"{side}_ankle"]
    turn = swing(joints[:, ankle] - joints[:, hip], DOWN)
    turns[:, hip] = turns[:, _INDEX[f"{side}_knee"]] = turn


def _pose_arm(turns: np.ndarray, joints: np.ndarray, side: str, sign: float) -> None:
    """Upper arm, forearm and hand along x; the hinge of the elbow upright, the palm down, half of the hand's twist
    taken by the forearm."""
    shoulder, elbow, wrist = (_INDEX[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist"))
    along = np.array([sign, 0.0, 0.0])
    upper, fore = joints[:, elbow] - joints[:, shoulder], joints[:, wrist] - joints[:, elbow]
    hinge = np.cross(upper, fore)  # its bending brings the forearm forwards
    turns[:, shoulder] = _frame_to(upper, hinge, along, sign * DOWN)
    straight = swing_each(np.einsum("nij,nj->ni", turns[:, shoulder], fore), along) @ turns[:, shoulder]
    knuckles = {name: _INDEX[f"{side}_{name}1"] for name in ("index", "middle", "pinky")}
    reach = joints[:, knuckles["middle"]] - joints[:, wrist]
    across = joints[:, knuckles["index"]] - joints[:, knuckles["pinky"]]
    palm = sign * np.cross(reach, across)  # out of the palm
    hand = _frame_to(reach, palm, along, DOWN)
    twist = twist_about(hand @ np.swapaxes(straight, 1, 2), along)
    turns[:, elbow] = about(along, 0.5 * twist) @ straight
    turns[:, wrist] = hand
    for finger in ("index", "middle", "ring", "pinky"):
        _straighten(turns, joints, [_INDEX[f"{side}_{finger}{k}"] for k in (1, 2, 3)], hand)
    for k in (1, 2, 3):
        turns[:, _INDEX[f"{side}_thumb{k}"]] = hand


def _straighten(turns: np.ndarray, joints: np.ndarray, chain: list[int], hand: np.ndarray) -> None:
    """A finger's three bones into the plane of the palm, in the direction that its first has there, half as spread."""
    first, second, third = chain
    bones = [joints[:, second] - joints[:, first], joints[:, third] - joints[:, second]]
    bones.append(bones[1])  # the last bone's end is not a joint: the curl of the second goes on in the third
    flat = np.einsum("nij,nj->ni", hand, bones[0]) * [1.0, 0.0, 0.5]
    for joint, bone in zip(chain, bones, strict=True):
        turns[:, joint] = swing_each(np.einsum("nij,nj->ni", hand, bone), flat) @ hand


def place_joints(
    joints: Float[np.ndarray, "samples 55 3"], turns: Float[np.ndarray, "samples 55 3 3"]
) -> Float[np.ndarray, "samples 55 3"]:
    """Where the joints are when every part is turned; the pelvis is the origin."""
    placed = np.zeros_like(joints)
    for joint, parent in enumerate(SMPLX_PARENTS):
        if parent >= 0:
            offset = joints[:, joint] - joints[:, parent]
            placed[:, joint] = placed[:, parent] + np.einsum("nij,nj->ni", turns[:, parent], offset)
    return placed


def unskinned(
    vertices: Float[np.ndarray, "vertices 3"],
    weights: Float[np.ndarray, "vertices 55"],
    joints: Float[np.ndarray, "55 3"],
    turns: Float[np.ndarray, "55 3 3"],
    placed: Float[np.ndarray, "55 3"],
) -> Float[np.ndarray, "vertices 3"]:
    """One person's vertices in the T-pose, such that skinning brings them back to the A-pose exactly.

    The A-pose was modelled by hand, with arms where people have them; what linear skinning loses at a bent joint is
    lost towards the T-pose instead. So blended are the transforms back, and their inverse is applied.
    """
    back = np.swapaxes(turns, 1, 2)
    shift = joints - np.einsum("jik,jk->ji", back, placed)
    transforms = np.concatenate([back.reshape(-1, 9), shift], axis=1)
    blended = weights @ transforms
    return np.linalg.solve(blended[:, :9].reshape(-1, 3, 3), (vertices - blended[:, 9:])[..., None])[..., 0]


# ------------------------------------------------------------------ rotations between directions


def swing(source: Float[np.ndarray, "samples 3"], target: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "samples 3 3"]:
    """The shortest rotations of directions onto one."""
    return swing_each(source, np.broadcast_to(target, source.shape))


def swing_each(source: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "samples 3 3"]:
    """The shortest rotations of directions onto others (Rodrigues, without the angle)."""
    a, b = unit(source), unit(np.broadcast_to(target, source.shape))
    axis, cosine = np.cross(a, b), (a * b).sum(axis=1)
    K = np.zeros((len(a), 3, 3))
    K[:, 0, 1], K[:, 0, 2], K[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    K = K - np.swapaxes(K, 1, 2)
    return np.eye(3) + K + K @ K / (1 + cosine)[:, None, None]


def _frame_to(first: np.ndarray, second: np.ndarray, to_first: np.ndarray, to_second: np.ndarray) -> np.ndarray:
    """Rotations that bring `first` onto one axis, and `second` as near as it goes to another at right angles."""
    a, b = unit(first), unit(second - unit(first) * (unit(first) * second).sum(axis=1, keepdims=True))
    source = np.stack([a, b, np.cross(a, b)], axis=2)
    target = np.stack([to_first, to_second, np.cross(to_first, to_second)], axis=1)
    return target @ np.swapaxes(source, 1, 2)


def twist_about(rotation: Float[np.ndarray, "samples 3 3"], axis: np.ndarray) -> Float[np.ndarray, " samples"]:
    """The angle by which rotations turn about an axis (swing-twist, from the quaternion's vector part)."""
    skew = np.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        axis=1,
    )
    trace = np.trace(rotation, axis1=1, axis2=2)
    return 2 * np.arctan2(skew @ axis, 1 + trace)


def about(axis: np.ndarray, angle: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "samples 3 3"]:
    K = np.cross(np.eye(3), axis)
    s, c = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + s * K + (1 - c) * (K @ K)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
