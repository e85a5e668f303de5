"""The first guess: where the head is, from whatever keypoints are visible, and what a regressor said of it."""

from __future__ import annotations

import math

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.camera import fov_to_focal, intrinsics
from fitting.config import CameraConfig
from fitting.evidence import Case
from fitting.gaps import fill_rotations, fill_rows
from fitting.posture import is_whole_body, steadiness, with_arms
from fitting.rigid import align, initial_place
from fitting.types import Body, Codes, InputError, Observations, Parameters

LEAST_POINTS = 4
TOO_FEW = f"no frame has {LEAST_POINTS} or more visible keypoints: nothing can be placed"


def camera_matrices(observations: Observations, camera: CameraConfig) -> Float[np.ndarray, "frames 3 3"]:
    """K of every frame: from the start's or the file's camera, else as configured."""
    if camera.focal is None and camera.fov is None:
        for codes in (observations.start, observations.truth):
            if codes is not None and codes.K is not None:
                check_rows(codes, len(observations))
                return np.asarray(codes.K, dtype=np.float64)
    sizes = [(int(width), int(height)) for width, height in observations.image_sizes]
    hints = observations.focal_hints if observations.focal_hints is not None else np.full(len(sizes), np.nan)
    return np.stack(
        [
            intrinsics(focal_length(size, float(hint), camera), size, camera.principal)
            for size, hint in zip(sizes, hints, strict=True)
        ]
    )


def focal_length(size: tuple[int, int], hint: float, camera: CameraConfig) -> float:
    longer = max(size)
    if camera.focal is not None:
        return camera.focal
    if camera.fov is not None:
        return fov_to_focal(camera.fov, longer)
    if camera.use_exif and np.isfinite(hint):
        return float(hint)
    return camera.focal_factor * longer


def guess(case: Case, facing: float | None = None, arms: str = "hanging") -> Parameters:
    """Start parameters (1 problem, frames): the mean body placed rigidly on the keypoints, then whatever the detector
    or a regressor knows on top. `facing` fixes which way it looks, upright, in degrees to its left; None: it is found.

    Frames without keypoints are interpolated between their neighbours, or held at the ends. Raises InputError when no
    frame has enough keypoints, or the start belongs to another model.
    """
    body, observations = case.restricted, case.observations
    seen = placeable(case)
    if not seen.any():
        raise InputError(TOO_FEW)
    neutral = with_arms(body, body.neutral(1, len(observations)), arms)
    posed = body.pose(neutral.at(slice(0, 1)))
    points, pivot = posed.points[0, 0].double(), posed.joints[0, 0, 0].double()
    evidence = (case.keypoints.double(), start_weights(case).double(), case.K.double())
    coded = coded_rotations(observations.start, len(observations))
    if coded is not None:
        rotation = coded.to(points)
        place = initial_place(points, rotation, *evidence)
    elif facing is None:
        rotation, place = align(points, *evidence, head_rotations(observations))
    else:
        upright = torch.tensor([0.0, math.radians(facing), 0.0]).to(points)
        rotation = roma.rotvec_to_rotmat(upright).expand(len(observations), 3, 3)
        place = initial_place(points, rotation, *evidence)
    transl = place + (rotation @ pivot) - pivot
    rotation, transl = fill_rotations(rotation, seen), fill_rows(transl, seen)
    like = neutral["transl"]
    found = neutral.replace({"global_orient": rotation[None, :, None].to(like), "transl": transl[None].to(like)})
    found = with_blendshapes(body, found, observations)
    return with_codes(body, found, observations.start, seen)


def coded_rotations(codes: Codes | None, frames: int) -> Float[Tensor, "frames 3 3"] | None:
    """A regressor's word on which way the body looks, where it does not know where it stands; None otherwise."""
    if codes is None or not codes.valid.any() or "transl" in codes.values or "global_orient" not in codes.values:
        return None
    check_rows(codes, frames)
    turns = roma.rotvec_to_rotmat(torch.as_tensor(np.asarray(codes.values["global_orient"], dtype=np.float64)))
    return fill_rotations(turns, torch.as_tensor(codes.valid))


def placeable(case: Case) -> Bool[Tensor, " frames"]:
    """Frames that show enough to place a head by."""
    return (case.confidence > 0).sum(dim=1) >= LEAST_POINTS


def can_place(case: Case) -> bool:
    return bool(placeable(case).any())


def start_weights(case: Case) -> Float[Tensor, "frames points"]:
    """What each keypoint counts while the body is still rigid."""
    if is_whole_body(case.body):
        return steadiness(case.observations.layout, case.points, case.confidence)
    return case.confidence * contour_factors(case)


def contour_factors(case: Case) -> Float[Tensor, " points"]:
    """The contour slides over the skin as the head turns: a third of the others' weight."""
    contour = set(case.observations.layout.groups.get("contour", ()))
    return case.confidence.new_tensor([0.3 if int(p) in contour else 1.0 for p in case.points])


def head_rotations(observations: Observations) -> Float[Tensor, "frames 3 3"] | None:
    """MediaPipe's head matrix as a rotation in the world's axes, which are its own; NaN rows where unknown."""
    if observations.head_matrix is None:
        return None
    scaled = torch.as_tensor(observations.head_matrix[:, :3, :3], dtype=torch.float64)
    return scaled / scaled.norm(dim=1, keepdim=True)


def with_blendshapes(body: Body, parameters: Parameters, observations: Observations) -> Parameters:
    """Expression from MediaPipe's blendshapes, where the body has actions of those names."""
    scores, names = observations.blendshapes, getattr(body, "expression_names", ())
    if scores is None or not set(BLENDSHAPES) & set(names):
        return parameters
    expression = parameters["expression"].clone()
    known = np.nan_to_num(scores)
    for column, name in enumerate(BLENDSHAPES):
        if name in names:
            expression[0, :, names.index(name)] = torch.as_tensor(known[:, column]).to(expression)
    jaw = torch.as_tensor(known[:, BLENDSHAPES.index("jawOpen")] * 0.35).to(expression)
    vector = torch.stack([jaw, torch.zeros_like(jaw), torch.zeros_like(jaw)], dim=-1)
    return parameters.replace({"expression": expression, "jaw_pose": roma.rotvec_to_rotmat(vector)[None, :, None]})


def with_codes(body: Body, parameters: Parameters, codes: Codes | None, seen: Tensor) -> Parameters:
    """What a regressor said, block by block; shared blocks take the mean over its valid frames.

    Raises InputError when it has another number of frames, or a block has another size than the body's.
    """
    if codes is None or not codes.valid.any():
        return parameters
    check_rows(codes, len(seen))
    check_model(codes, body)
    changes = {}
    valid = torch.as_tensor(codes.valid)
    for block in body.blocks:
        if block.name not in codes.values:
            continue
        rows = np.asarray(codes.values[block.name], dtype=np.float64)
        if rows.shape[1] != block.tangent_size:
            raise InputError(
                f"start of {codes.model!r}: {block.name} has {rows.shape[1]} numbers, "
                f"{body.name} has {block.tangent_size}: choose the same model, or set body.betas / body.expressions"
            )
        value = block.from_rows(rows)
        if block.kind == "rotation":
            value = fill_rotations(value, valid)
        elif block.shared:
            value = value[valid].mean(dim=0, keepdim=True)
        else:
            value = fill_rows(value, valid)
        changes[block.name] = value[None].to(parameters["transl"])
    return parameters.replace(changes)


def check_model(codes: Codes, body: Body) -> None:
    """Raises InputError for coefficients of another basis: the same numbers are another face there. 'flame' is a FLAME
    whose version the file does not tell; poses mean the same in all of them."""
    names = {codes.model, body.name}
    unknown_version = "flame" in names and all(name.startswith("flame") for name in names)
    if len(names) > 1 and not unknown_version and {"betas", "expression"} & set(codes.values):
        raise InputError(
            f"start: these codes belong to {codes.model!r} and the body is {body.name!r}; its coefficients mean other "
            f"people: set body.model to {codes.model!r}, or take only their pose, without betas and "
            "expression: --codes.pose_only true"
        )


def check_rows(codes: Codes, frames: int) -> None:
    """Raises InputError for codes of another clip."""
    if len(codes.valid) != frames:
        raise InputError(
            f"start of {codes.model!r} has {len(codes.valid)} frames, the input has {frames}: "
            "give the codes that belong to this input"
        )


# MediaPipe's order.
BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
