"""Observations made from known parameters, for tests: what a perfect detector would have seen."""

from __future__ import annotations

import numpy as np
import roma
import torch

from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.evidence import Case, bind, embedded_points
from fitting.types import Observations, Parameters

FLOAT64 = torch.zeros(0, dtype=torch.float64)
SIZE, FOCAL = (640, 480), 700.0


def rotations(degrees) -> torch.Tensor:
    """(frames, 3) turns about x, y, z as one axis-angle vector each -> (1, frames, 1, 3, 3)."""
    return roma.rotvec_to_rotmat(torch.deg2rad(torch.as_tensor(degrees).double()))[None, :, None]


def placed(body, degrees, place=(0.02, -0.01, -0.8)) -> Parameters:
    """The mean head, turned and moved; one frame per row of `degrees`."""
    frames = len(degrees)
    transl = torch.tensor(place).double().expand(1, frames, 3).clone()
    return body.neutral(1, frames).replace({"global_orient": rotations(degrees), "transl": transl})


def seen(body, parameters: Parameters, is_clip: bool = False, layout: str = "mediapipe478") -> Observations:
    """Noise-free keypoints of every frame of one problem, under a camera of FOCAL pixels."""
    embedding = body.embeddings[layout]
    frames = parameters["transl"].shape[1]
    K = torch.as_tensor(intrinsics(FOCAL, SIZE)).expand(frames, 3, 3)
    points = body.restrict(embedding).pose(parameters).points[0]
    keypoints = np.zeros((frames, len(embedding.layout), 2))
    keypoints[:, embedded_points(embedding)] = camera_to_pixels(world_to_camera(points), K.to(points)).numpy()
    confidence = np.zeros(keypoints.shape[:2])
    confidence[:, embedded_points(embedding)] = 1.0
    return Observations(
        person="000",
        layout=embedding.layout,
        keypoints=keypoints,
        confidence=confidence,
        names=tuple(f"{k:03d}" for k in range(frames)),
        image_sizes=np.tile(SIZE, (frames, 1)),
        is_clip=is_clip,
    )


def case_of(body, observations: Observations) -> Case:
    """Bound under the camera of `seen`, in float64."""
    K = np.tile(intrinsics(FOCAL, SIZE), (len(observations), 1, 1))
    return bind(body, observations, K, FLOAT64)


def degrees_apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(roma.rotmat_geodesic_distance(a, b))
