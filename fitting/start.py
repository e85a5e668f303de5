"""The first guess: where the head is, from whatever keypoints are visible, and what a regressor said of it."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.camera import camera_to_pixels, fov_to_focal, intrinsics, pixel_rows, world_to_camera
from fitting.config import CameraConfig
from fitting.evidence import Case
from fitting.types import Body, Codes, InputError, Observations, Parameters

FIRST_ITERATIONS, LAST_ITERATIONS = 8, 15  # of all candidates, of the best one
LEAST_POINTS = 4
TOO_FEW = f"no frame has {LEAST_POINTS} or more visible keypoints: nothing can be placed"
ALIGN_AT_ONCE = 256  # frames in memory together


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


def guess(case: Case) -> Parameters:
    """Start parameters (1 problem, frames): the mean body placed rigidly on the keypoints, then whatever the detector
    or a regressor knows on top.

    Frames without keypoints are interpolated between their neighbours, or held at the ends. Raises InputError when no
    frame has enough keypoints, or the start belongs to another model.
    """
    body, observations = case.restricted, case.observations
    weights, seen = case.confidence * contour_factors(case), placeable(case)
    if not seen.any():
        raise InputError(TOO_FEW)
    neutral = body.neutral(1, len(observations))
    posed = body.pose(neutral)
    points, pivot = posed.points[0, 0].double(), posed.joints[0, 0, 0].double()
    hint = head_rotations(observations)
    rotation, place = align(points, case.keypoints.double(), weights.double(), case.K.double(), hint)
    transl = place + (rotation @ pivot) - pivot
    rotation, transl = fill_rotations(rotation, seen), fill_rows(transl, seen)
    like = neutral["transl"]
    found = neutral.replace({"global_orient": rotation[None, :, None].to(like), "transl": transl[None].to(like)})
    found = with_blendshapes(body, found, observations)
    return with_codes(body, found, observations.start, seen)


def placeable(case: Case) -> Bool[Tensor, " frames"]:
    """Frames that show enough to place a head by."""
    return (case.confidence > 0).sum(dim=1) >= LEAST_POINTS


def can_place(case: Case) -> bool:
    return bool(placeable(case).any())


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


def align(
    points: Float[Tensor, "points 3"],
    keypoints: Float[Tensor, "frames points 2"],
    weights: Float[Tensor, "frames points"],
    K: Float[Tensor, "frames 3 3"],
    hint: Float[Tensor, "frames 3 3"] | None = None,
) -> tuple[Float[Tensor, "frames 3 3"], Float[Tensor, "frames 3"]]:
    """Rotation and place of a rigid set of points in the world, per frame, weighted, whatever points are visible.

    Several starts are refined side by side and the best is kept: the scaled-orthographic solution, frontal, turned by
    50 degrees to either side and nodding, and the hint. A frame with fewer than four points keeps the frontal one.
    """
    parts = []
    for first in range(0, len(keypoints), ALIGN_AT_ONCE):
        rows = slice(first, first + ALIGN_AT_ONCE)
        parts.append(align_some(points, keypoints[rows], weights[rows], K[rows], None if hint is None else hint[rows]))
    return torch.cat([rotation for rotation, _ in parts]), torch.cat([place for _, place in parts])


def align_some(
    points: Tensor, keypoints: Tensor, weights: Tensor, K: Tensor, hint: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`align` for as many frames as are in memory together."""
    frames = len(keypoints)
    weights = weights * (torch.isfinite(keypoints).all(dim=-1))
    keypoints = torch.where(weights[..., None] > 0, keypoints, torch.zeros_like(keypoints))
    starts = [scaled_orthographic(points, keypoints, weights, K)]
    for axis, degrees in ((1, 0.0), (1, 50.0), (1, -50.0), (0, 35.0), (0, -35.0)):
        vector = torch.zeros(3, dtype=points.dtype)
        vector[axis] = np.deg2rad(degrees)
        starts.append(roma.rotvec_to_rotmat(vector).to(points).expand(frames, 3, 3))
    if hint is not None:
        known = torch.isfinite(hint).all(dim=-1).all(dim=-1)[:, None, None]
        starts.append(torch.where(known, hint.to(points), starts[1]))
    count = len(starts)
    rotation = torch.cat(starts)
    tile = [t.repeat(count, *[1] * (t.ndim - 1)) for t in (keypoints, weights, K)]
    place = initial_place(points, rotation, *tile)
    rotation, place, cost = refine(points, rotation, place, tile[0], tile[1], tile[2], FIRST_ITERATIONS)
    best = cost.unflatten(0, (count, frames)).argmin(dim=0)
    index = best * frames + torch.arange(frames, device=best.device)
    return refine(points, rotation[index], place[index], keypoints, weights, K, LAST_ITERATIONS)[:2]


def scaled_orthographic(points: Tensor, keypoints: Tensor, weights: Tensor, K: Tensor) -> Float[Tensor, "frames 3 3"]:
    """Rotation from the weighted least-squares affine camera, made orthonormal (Dementhon & Davis, POSIT, 1995)."""
    x, u, w = centred(points, keypoints, weights, K)
    gram = torch.einsum("fn,fni,fnj->fij", w, x, x) + 1e-9 * torch.eye(3).to(x)
    affine = torch.linalg.solve(gram, torch.einsum("fn,fni,fnj->fij", w, x, u)).mT  # 2 x 3
    left, _, right = torch.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    return torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], dim=1)


def centred(points: Tensor, keypoints: Tensor, weights: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points and viewing rays (world axes, y up) about their weighted means."""
    w = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    focal = torch.stack([K[:, 0, 0], -K[:, 1, 1]], dim=-1)
    u = (keypoints - K[:, None, :2, 2]) / focal[:, None]
    mean_x = w @ points
    mean_u = torch.einsum("fn,fnd->fd", w, u)
    return points - mean_x[:, None], u - mean_u[:, None], w


def initial_place(points: Tensor, rotation: Tensor, keypoints: Tensor, weights: Tensor, K: Tensor) -> Tensor:
    """Depth from the spread of the keypoints, position from their mean."""
    x, u, w = centred(points, keypoints, weights, K)
    turned = x @ rotation.mT
    spread_x = (w * turned[..., :2].square().sum(dim=-1)).sum(dim=1).sqrt()
    spread_u = (w * u.square().sum(dim=-1)).sum(dim=1).sqrt()
    depth = torch.where(spread_u > 0, spread_x / spread_u.clamp(min=1e-9), torch.ones_like(spread_u))
    focal = torch.stack([K[:, 0, 0], -K[:, 1, 1]], dim=-1)
    middle = torch.einsum("fn,fnd->fd", w, (keypoints - K[:, None, :2, 2]) / focal[:, None])
    mean_x = (w @ points)[:, None] @ rotation.mT
    return torch.cat([middle * depth[:, None], -depth[:, None]], dim=1) - mean_x[:, 0]


def refine(
    points: Tensor, rotation: Tensor, place: Tensor, keypoints: Tensor, weights: Tensor, K: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Levenberg-Marquardt on the six rigid unknowns, Huber at 3 % of the keypoints' extent; returns the cost too."""
    extent = (weights[..., None] * (keypoints - keypoints.mean(dim=1, keepdim=True))).norm(dim=-1).amax(dim=1)
    width = (0.03 * extent).clamp(min=1e-6)[:, None]

    def measure(R: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turned = points @ R.mT
        error = camera_to_pixels(world_to_camera(turned + t[:, None]), K) - keypoints
        size = error.norm(dim=-1)
        cost = torch.where(size < width, 0.5 * size.square(), width * (size - 0.5 * width))
        w = weights * (width / size.clamp(min=1e-12)).clamp(max=1.0)
        return turned, error, torch.stack([weights * cost, w])

    damping = torch.full((len(rotation), 1, 1), 1e-3).to(points)
    turned, error, state = measure(rotation, place)
    for _ in range(iterations):
        J = rigid_jacobian(turned, place, K)
        weighted = (J * state[1][..., None, None]).flatten(1, 2).mT
        normal = weighted @ J.flatten(1, 2)
        gradient = (weighted @ error.flatten(1)[..., None])[..., 0]
        scale = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12)
        step = -torch.linalg.solve(normal + damping * torch.diag_embed(scale), gradient)
        trial = (roma.rotvec_to_rotmat(step[:, :3]) @ rotation, place + step[:, 3:])
        measured = measure(*trial)
        better = measured[2][0].sum(dim=1) < state[0].sum(dim=1)
        rotation = torch.where(better[:, None, None], trial[0], rotation)
        place = torch.where(better[:, None], trial[1], place)
        turned = torch.where(better[:, None, None], measured[0], turned)
        error = torch.where(better[:, None, None], measured[1], error)
        state = torch.where(better[None, :, None], measured[2], state)
        damping = torch.where(better[:, None, None], damping * 0.2, damping * 8).clamp(1e-9, 1e6)
    return rotation, place, state[0].sum(dim=1)


def rigid_jacobian(turned: Tensor, place: Tensor, K: Tensor) -> Float[Tensor, "frames points 2 6"]:
    """d pixel / d (left rotation step, translation) in world axes."""
    by_place = pixel_rows(turned + place[:, None], K)
    by_turn = torch.linalg.cross(turned[..., None, :].expand_as(by_place), by_place)
    return torch.cat([by_turn, by_place], dim=-1)


def fill_rows(values: Float[Tensor, "frames _"], seen: Tensor) -> Tensor:
    """Linear between seen frames, held beyond the first and the last."""
    known = torch.nonzero(seen)[:, 0].cpu().numpy()
    every = np.arange(len(values))
    columns = [np.interp(every, known, column) for column in values[seen].cpu().numpy().T]
    return torch.as_tensor(np.stack(columns, axis=1), dtype=values.dtype, device=values.device)


def fill_rotations(rotations: Float[Tensor, "frames *joints 3 3"], seen: Tensor) -> Tensor:
    """Along the geodesic between seen frames, held beyond the first and the last."""
    known = torch.nonzero(seen)[:, 0]
    every = torch.arange(len(rotations), device=rotations.device)
    after = torch.searchsorted(known, every).clamp(max=len(known) - 1)
    before = torch.where(known[after] > every, (after - 1).clamp(min=0), after)
    gap = (known[after] - known[before]).clamp(min=1)
    share = ((every - known[before]) / gap).clamp(0, 1).to(rotations)
    first, last = rotations[known[before]], rotations[known[after]]
    turn = roma.rotmat_to_rotvec(last @ first.mT) * share.view(-1, *[1] * (rotations.ndim - 2))
    return roma.rotvec_to_rotmat(turn) @ first


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
        rows = torch.as_tensor(np.asarray(codes.values[block.name], dtype=np.float64))
        if rows.shape[1] != block.tangent_size:
            raise InputError(
                f"start of {codes.model!r}: {block.name} has {rows.shape[1]} numbers, "
                f"{body.name} has {block.tangent_size}: choose the same model, or set body.betas / body.expressions"
            )
        if block.kind == "rotation":
            value = fill_rotations(roma.rotvec_to_rotmat(rows.unflatten(1, (block.size, 3))), valid)
        elif block.shared:
            value = rows[valid].mean(dim=0, keepdim=True)
        else:
            value = fill_rows(rows, valid)
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
            f"faces: set body.model to {codes.model!r}, or give codes without betas and expression"
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
