"""Where a rigid set of points stands, from whatever of its keypoints are visible: alignment frame by frame."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import camera_to_pixels, pixel_rows, world_to_camera

FIRST_ITERATIONS, LAST_ITERATIONS = 8, 15  # of all candidates, of the best one
ALIGN_AT_ONCE = 256  # frames in memory together


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
