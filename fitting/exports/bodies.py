"""What writers of whole bodies share: hands as components, the frame of an OpenCV camera, boxes round people."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.camera import WORLD_FROM_CAMERA
from fitting.exports.decoded import meshes, to_pixels
from fitting.exports.fixed_camera import middle_cameras, under
from fitting.exports.target import Target, cameras
from fitting.track import Track
from fitting.types import Body
from fitting.worlds import unsettled

SIDES = ("left", "right")
SMPLX_JOINTS = {
    "global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15, "jaw_pose": 1, "leye_pose": 1,
    "reye_pose": 1,
}  # fmt: skip


def in_camera(track: Track, body: Body) -> tuple[Float[np.ndarray, "frames 3"], Float[np.ndarray, "frames 3"]]:
    """global_orient and transl in OpenCV's camera axes, of the family's own forward pass."""
    return unsettled(track, body, np.linalg.inv(WORLD_FROM_CAMERA))


def centred(track: Track, target: Target) -> Track:
    """Moved so that a camera whose principal point is the picture's middle sees the same."""
    return track.with_values({"transl": under(track, middle_cameras(track), target, track.values["transl"])})


def fingers(track: Track, body: Body, side: str) -> Float[np.ndarray, "frames 45"]:
    """A hand as whole rotations from a flat hand; where the codes have none, the hand the body has by itself."""
    name, hands = f"{side}_hand_pose", getattr(body, "hands", None)
    if name in track.values:
        return track.values[name]
    at_rest = np.zeros(45) if hands is None else hands.zero[SIDES.index(side)].double().cpu().numpy()
    return np.tile(at_rest, (len(track), 1))


def hand_components(body: Body, side: str, pose: Float[np.ndarray, "frames 45"], count: int) -> np.ndarray | None:
    """The first `count` coefficients about the mean hand that come nearest; None where the model has none."""
    hands = getattr(body, "hands", None)
    if hands is None or hands.components.shape[1] < count:
        return None
    k = SIDES.index(side)
    basis = hands.components[k, :count].double().cpu().numpy()
    return np.linalg.lstsq(basis.T, (pose - hands.mean[k].double().cpu().numpy()).T, rcond=None)[0].T


def from_mean(body: Body, side: str, pose: Float[np.ndarray, "frames 45"]) -> Float[np.ndarray, "frames 45"]:
    """Fingers counted from the model's mean hand, as flat_hand_mean False wants them."""
    hands = getattr(body, "hands", None)
    return pose if hands is None else pose - hands.mean[SIDES.index(side)].double().cpu().numpy()


def boxes(track: Track, target: Target, body: Body) -> Float[np.ndarray, "frames 4"]:
    """left, top, right, bottom of the body in the picture: round its keypoints if a fit is written, else its mesh."""
    K = cameras(track)
    seen = target.observations
    found = np.zeros((len(track), 4))
    for k, mesh in enumerate(meshes(body, track)):
        points = to_pixels(mesh[None], K[k : k + 1])[0]
        if seen is not None and (seen.confidence[k] > 0).any():
            points = np.asarray(seen.keypoints[k][seen.confidence[k] > 0])
        found[k] = [*points.min(axis=0), *points.max(axis=0)]
    return found


def zeros_for(track: Track, joints: int) -> np.ndarray:
    return np.zeros((len(track), 3 * joints))
