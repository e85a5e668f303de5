"""One frame of a run as things in space: meshes, the picture behind them, landmarks, residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from fitting.viewer.folder import Person

COLD, WARM, HOT = (64, 130, 220), (250, 205, 80), (215, 48, 38)
"""No error, HALF, twice HALF and beyond."""
HALF_PERCENT = 1.0
"""Landmark distance, in percent of the yard-stick, that is drawn in the middle colour."""


@dataclass(frozen=True)
class Backdrop:
    """Where a picture hangs in the world so that the input's camera sees it fill its view."""

    position: Float[np.ndarray, " 3"]
    width: float
    height: float


def backdrop(K: Float[np.ndarray, "3 3"], size: tuple[int, int], distance: float) -> Backdrop:
    """The picture's plane `distance` metres before the camera (world: y up, the camera looks along -z)."""
    width, height = size
    across, up = ((width - 1) / 2 - K[0, 2]) / K[0, 0], ((height - 1) / 2 - K[1, 2]) / K[1, 1]
    place = distance * np.array([across, -up, -1.0])
    return Backdrop(place, distance * width / K[0, 0], distance * height / K[1, 1])


def vertical_view(plane: Backdrop) -> float:
    """Radians from the top of the picture to its bottom, for who looks at its middle from the camera's place."""
    return float(2 * np.arctan(plane.height / 2 / np.linalg.norm(plane.position)))


def measured_in_space(person: Person, k: int, fitted: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Measured landmarks as deep as the fitted ones they belong to, in the world; NaN where not seen."""
    if len(fitted) == 0:
        return np.zeros((0, 3))
    K = person.arrays["K"][k]
    pixels = np.where(person.arrays["confidence"][k][:, None] > 0, person.arrays["keypoints"][k], np.nan)
    depth = -fitted[:, 2]
    x, y = (pixels - K[:2, 2]).T / [[K[0, 0]], [K[1, 1]]]
    return np.stack([x * depth, -y * depth, -depth], axis=-1)


def point_errors(person: Person, k: int) -> Float[np.ndarray, " points"]:
    """Distance of each fitted landmark from the measured one, in percent of the yard-stick; NaN where unknown."""
    apart = np.linalg.norm(person.arrays["projected"][k] - person.arrays["keypoints"][k], axis=-1).astype(np.float64)
    apart[person.arrays["confidence"][k] <= 0] = np.nan
    pixels, percent = person.arrays["error_px"][k], person.arrays["error_percent"][k]
    return apart * (percent / pixels) if pixels > 0 else apart * np.nan


def error_colours(percent: Float[np.ndarray, " items"]) -> UInt8[np.ndarray, "items 3"]:
    """Blue, yellow, red; grey where unknown."""
    share = np.clip(np.nan_to_num(percent) / HALF_PERCENT, 0, 2)[:, None]
    low, high = np.minimum(share, 1), np.maximum(share - 1, 0)
    mixed = np.array(COLD) * (1 - low) + np.array(WARM) * (low - high) + np.array(HOT) * high
    return np.where(np.isfinite(percent)[:, None], mixed, 150).round().astype(np.uint8)


def spread_errors(
    vertices: Float[np.ndarray, "vertices 3"],
    landmarks: Float[np.ndarray, "points 3"],
    percent: Float[np.ndarray, " points"],
    reach: float = 0.04,
) -> Float[np.ndarray, " vertices"]:
    """Landmark errors over the mesh: means weighted by nearness; NaN further than `reach` of the mesh's extent away."""
    from scipy.spatial import cKDTree

    known = np.isfinite(landmarks).all(axis=1) & np.isfinite(percent)
    found = np.full(len(vertices), np.nan)
    if not known.any():
        return found
    near = min(6, int(known.sum()))
    distance, index = cKDTree(landmarks[known]).query(vertices, k=near)
    distance, index = distance.reshape(-1, near), index.reshape(-1, near)
    size = reach * float(np.ptp(vertices, axis=0).max())
    weights = np.exp(-((distance / size) ** 2) * 2)
    close = distance[:, 0] < size
    mean = (weights * percent[known][index]).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
    found[close] = mean[close]
    return found


def residual_lines(
    fitted: Float[np.ndarray, "points 3"], measured: Float[np.ndarray, "points 3"], factor: float
) -> Float[np.ndarray, "lines 2 3"]:
    """From each fitted landmark towards the measured one, `factor` times as long."""
    known = np.isfinite(fitted).all(axis=1) & np.isfinite(measured).all(axis=1)
    return np.stack([fitted[known], fitted[known] + factor * (measured - fitted)[known]], axis=1)


def beside(vertices: Float[np.ndarray, "vertices 3"], gap: float = 1.15) -> Float[np.ndarray, " 3"]:
    """How far another mesh of this size is moved to stand to the right of it."""
    return np.array([gap * float(np.ptp(vertices[:, 0])), 0.0, 0.0])


def columns_of(person: Person) -> dict[str, tuple[str, Int[np.ndarray, " columns"]]]:
    """What can be drawn as curves: title -> (array's name, its columns), at most nine at a time."""
    found = {}
    for name in person.words("block_names"):
        count = person.arrays[name].shape[1]
        for first in range(0, count, 9):
            part = np.arange(first, min(first + 9, count))
            found[name if count <= 9 else f"{name} {part[0]}-{part[-1]}"] = (name, part)
    return {**found, "error_px": ("error_px", np.arange(1)), "error_percent": ("error_percent", np.arange(1))}
