"""Cameras: every convention that has to do with pictures is stated here, once.

Pixels     x to the right, y down, the centre of the first pixel at (0, 0): its corner is at (-0.5, -0.5).
Camera     OpenCV axes: x right, y down, z forward; metres.
World      the frame the body's parameters live in: y up, x to the right of the picture, z towards the viewer, its
           origin in the camera's centre. A person who looks into the camera upright has a `global_orient` near the
           identity and a `transl` with negative z: the convention of FLAME regressors (DECA, EMOCA) and of OpenGL.
K          [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, always explicit.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# The world is the camera's frame turned half a turn about x; the same matrix leads both ways.
WORLD_FROM_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])


def world_to_camera(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Points (metres, y up) to OpenCV camera axes (metres, z forward)."""
    return points * points.new_tensor([1.0, -1.0, -1.0])


def focal_slopes(points: Float[Tensor, "*batch points 3"], K: Float[Tensor, "*#batch 3 3"]) -> Tensor:
    """d pixel / d logarithm of the focal length (*batch, points, 2) of places in the world: exp(log) f x / z + c."""
    return camera_to_pixels(world_to_camera(points), K) - K[..., None, :2, 2]


def camera_to_pixels(
    points: Float[Tensor, "*batch points 3"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch points 2"]:
    """Pinhole projection (Hartley & Zisserman, eq. 6.7) of points in front of the camera.

    A point nearer than a millimetre is projected as if it were a millimetre away, so that a stray line search
    yields a huge but finite residual instead of one that changes sign behind the camera.
    """
    depth = points[..., 2:].clamp(min=1e-3)
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], dim=-1)
    return points[..., :2] / depth * focal[..., None, :] + K[..., None, :2, 2]


def pixel_rows(
    points: Float[Tensor, "*batch points 3"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch points 2 3"]:
    """d pixel / d point in the world: with x to the right, y up and z backwards, u = -fx x / z, v = fy y / z."""
    camera = world_to_camera(points)
    depth = camera[..., 2].clamp(min=1e-3)
    fx, fy = K[..., None, 0, 0] / depth, K[..., None, 1, 1] / depth
    zero = torch.zeros_like(depth)
    du = torch.stack([fx, zero, fx * camera[..., 0] / depth], dim=-1)
    dv = torch.stack([zero, -fy, fy * camera[..., 1] / depth], dim=-1)
    return torch.stack([du, dv], dim=-2)


def intrinsics(focal: float, image_size: tuple[int, int], principal: tuple[float, float] | None = None) -> np.ndarray:
    """`K` (3, 3) for a focal length in pixels; the principal point defaults to the middle of the picture."""
    width, height = image_size
    cx, cy = principal if principal is not None else ((width - 1) / 2, (height - 1) / 2)
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], dtype=np.float64)


def fov_to_focal(fov_degrees: float, extent: int) -> float:
    """Focal length in pixels of a camera that sees `fov_degrees` over `extent` pixels."""
    return extent / (2 * math.tan(math.radians(fov_degrees) / 2))


def exif_to_focal(focal_35mm: float, image_size: tuple[int, int]) -> float:
    """Focal length in pixels from EXIF FocalLengthIn35mmFilm: 43.27 mm is the diagonal of 24 x 36 mm (CIPA DC-008)."""
    return focal_35mm / math.hypot(36.0, 24.0) * math.hypot(*image_size)
