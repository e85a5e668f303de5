"""From the frames and cameras of others to Keyfit's world, and back: rigid motions, weak perspective, hands.

Both turn a body about its root joint, whose place depends on its shape; so most of this needs the body.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import roma
import torch
from jaxtyping import Float

from fitting.camera import WORLD_FROM_CAMERA
from fitting.track import Track, is_rotation, parameters_of
from fitting.types import Body, InputError

CHUNK = 1024  # frames whose joints are in memory together
HANDS = ("left_hand_pose", "right_hand_pose", "left_hand_pca", "right_hand_pca")


def settled(track: Track, body: Body | None = None) -> Track:
    """The same motion without `world_from_codes`: global_orient and transl in Keyfit's world.

    With W = [R t], a point is W (G (v - j) + j + x): it turns about the root joint j by R G and moves by R (j + x) + t
    - j; t is NaN where the source does not know it. Where R is not the identity that needs `body` for j(betas);
    without one `transl` is left out.
    """
    W = track.world_from_codes
    if W is None:
        return track
    rotation, shift = W[:, :3, :3], W[:, :3, 3]
    turn = rotvec_to_rotmat(track.values.get("global_orient", np.zeros((len(track), 3))))
    place = track.values.get("transl", np.zeros((len(track), 3)))
    values: dict[str, np.ndarray | None] = {"global_orient": rotmat_to_rotvec(rotation @ turn), "transl": None}
    if not np.isfinite(shift).all():  # the source does not know where the body is
        return replace(track.with_values(values), world_from_codes=None)
    if body is not None or np.allclose(rotation, np.eye(3), atol=1e-12):
        joint = root_joint(track, body) if body is not None else np.zeros((len(track), 3))
        values["transl"] = np.einsum("fij,fj->fi", rotation, joint + place) + shift - joint
    return replace(track.with_values(values), world_from_codes=None)


def with_fingers(track: Track, body: Body | None) -> Track:
    """Hands as whole rotations from a flat hand; left out where the body does not know the mean hand they count from.

    Raises InputError for components that the body has not got.
    """
    hands = getattr(body, "hands", None)
    if hands is None:
        unknown = [n for n in HANDS if n in track.values and (track.hands_from_mean or n.endswith("_pca"))]
        if body is None or not unknown:
            return track
        note = f"{body.name} does not know the mean hand that these hands count from: they are left out"
        return replace(track.with_values(dict.fromkeys(unknown)), hands_from_mean=False, notes=(*track.notes, note))
    changes: dict[str, np.ndarray | None] = {}
    mean, components = hands.mean.double().cpu().numpy(), hands.components.double().cpu().numpy()
    for k, side in enumerate(("left", "right")):
        zero = mean[k] if track.hands_from_mean else 0.0
        pca = track.values.get(f"{side}_hand_pca")
        if pca is not None and f"{side}_hand_pose" in track.values:  # both are said: they are whole rotations then
            changes[f"{side}_hand_pca"] = None
        elif pca is not None:
            count = pca.shape[1]
            if count > components.shape[1]:
                raise InputError(
                    f"{track.format}: {count} components a hand, the model has {components.shape[1]}: put "
                    "MANO_LEFT.pkl and MANO_RIGHT.pkl beside its file"
                )
            changes |= {f"{side}_hand_pca": None, f"{side}_hand_pose": zero + pca @ components[k, :count]}
        elif track.hands_from_mean and f"{side}_hand_pose" in track.values:
            changes[f"{side}_hand_pose"] = zero + track.values[f"{side}_hand_pose"]
    return replace(track.with_values(changes), hands_from_mean=False)


def unsettled(
    track: Track, body: Body, codes_from_world: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "frames 3"], Float[np.ndarray, "frames 3"]]:
    """global_orient and transl of a settled track in another frame: for writers whose world is not Keyfit's."""
    W = np.broadcast_to(codes_from_world, (len(track), 4, 4))
    moved = settled(replace(track, world_from_codes=W), body)
    return moved.values["global_orient"], moved.values["transl"]


def root_joint(track: Track, body: Body) -> Float[np.ndarray, "frames 3"]:
    """Where the root joint of the shaped, unposed body is, metres; the expression moves it a little, too."""
    shape = track.with_values({n: None for n in track.values if is_rotation(n) or n == "transl"})
    bones, found = body.bones, []
    for first in range(0, len(track), CHUNK):
        parameters = parameters_of(bones, shape, slice(first, min(first + CHUNK, len(track))))
        with torch.no_grad():
            found.append(bones.pose(parameters).joints[:, 0, 0].double().cpu().numpy())
    return np.concatenate(found)


def placed(
    track: Track, K: Float[np.ndarray, "frames 3 3"], front: Float[np.ndarray, " frames"] | None = None
) -> Track:
    """A weak-perspective track under the pinhole camera `K`: exact in the plane `front` metres before the model's
    origin (None: 0), and everywhere as the focal length grows.

    With sigma pixels per metre and the origin at pixel (a, b): that plane stands at the depth f / sigma, the origin at
    x = (a - cx) / sigma, y = -(b - cy) / sigma.
    """
    if track.weak is None:
        return track
    scale, a, b = track.weak.T
    fx, fy = K[:, 0, 0], K[:, 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows without codes hold zeros
        depth = fx / scale + (0.0 if front is None else front)
        place = np.stack([(a - K[:, 0, 2]) / scale, -(b - K[:, 1, 2]) / scale * fx / fy, -depth], axis=1)
    if track.world_from_codes is not None:  # which turns what stands here, and the body about its root
        place = np.einsum("fji,fj->fi", track.world_from_codes[:, :3, :3], place)
    moved = track.with_values({"transl": place})
    return replace(moved, codes=replace(moved.codes, K=np.array(K, dtype=np.float64)), weak=None)


def recentred(
    places: Float[np.ndarray, "frames 3"],
    K: Float[np.ndarray, "frames 3 3"],
    onto: Float[np.ndarray, "frames 3 3"],
) -> Float[np.ndarray, "frames 3"]:
    """Places that the cameras `onto` see at the same pixels and size as `K` see these.

    Exact at the places themselves, and everywhere else only where both cameras are the same: no shift of a body does
    what a shift of the principal point does.
    """
    x, y, z = places.T
    depth = -z * onto[:, 0, 0] / K[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows without codes hold zeros
        u = K[:, 0, 0] * x / -z + K[:, 0, 2] - onto[:, 0, 2]
        v = K[:, 1, 1] * -y / -z + K[:, 1, 2] - onto[:, 1, 2]
    return np.stack([u * depth / onto[:, 0, 0], -v * depth / onto[:, 1, 1], -depth], axis=1)


def opencv(rotation: np.ndarray, shift: np.ndarray) -> Float[np.ndarray, "frames 4 4"]:
    """`world_from_codes` of a body in OpenCV camera axes: x_camera = R x + t."""
    motion = np.tile(np.eye(4), (len(shift), 1, 1))
    motion[:, :3, :3] = rotation
    motion[:, :3, 3] = shift
    return WORLD_FROM_CAMERA @ motion


def rotvec_to_rotmat(rows: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    return roma.rotvec_to_rotmat(torch.as_tensor(np.asarray(rows, dtype=np.float64))).numpy()


def rotmat_to_rotvec(rows: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Rotations that are not quite orthonormal, as float32 files hold them, are made so."""
    return roma.rotmat_to_rotvec(roma.special_procrustes(torch.as_tensor(np.asarray(rows, dtype=np.float64)))).numpy()


def sixd_to_rotmat(rows: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch 3 3"]:
    """pytorch3d's form: the first two rows, made orthonormal one after the other (Zhou et al., CVPR 2019)."""
    rows = np.asarray(rows, dtype=np.float64)
    first = rows[..., :3] / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
    second = rows[..., 3:] - (first * rows[..., 3:]).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-2)
