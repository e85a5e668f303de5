"""Eyeballs of the open head: round, closed, fine enough to show iris and pupil, and exact mirror images.

MakeHuman's eyeballs have 72 vertices and are spheres to 0.4 mm. Each is replaced by a sphere whose rings lie on the
borders of pupil and iris; its centre and radius follow the old eyeball in every shape direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

RING_DEGREES = (4.5, 9.0, 13.0, 17.5, 22.0, 26.5, 32.0, 40.0, 50.0, 62.0, 75.0, 90.0, 106.0, 122.0, 138.0, 154.0, 167.0)
"""Polar angles of the rings about the straight-ahead axis +z; 9 degrees bounds the pupil, 22 the iris."""
PUPIL_DEGREES = 9.0
IRIS_DEGREES = 22.0
"""A 12 mm iris on MakeHuman's 16.5 mm eyeball."""
SEGMENTS = 24


@dataclass(frozen=True)
class UnitSphere:
    """Directions (S,3), triangles (T,3) wound outwards, texture coordinates (S,2) and polar angles (S,) in degrees."""

    directions: Float[np.ndarray, "vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]
    uvs: Float[np.ndarray, "vertices 2"]
    polar: Float[np.ndarray, " vertices"]


def unit_sphere(mirror: bool) -> UnitSphere:
    """The ring sphere of the left eye, or its mirror image with the same vertex order."""
    polar = np.radians(RING_DEGREES)
    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    ring = np.stack(
        [
            np.outer(np.sin(polar), np.cos(around)),
            np.outer(np.sin(polar), np.sin(around)),
            np.outer(np.cos(polar), np.ones(SEGMENTS)),
        ],
        axis=-1,
    )
    directions = np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3), [[0.0, 0.0, -1.0]]])
    degrees = np.concatenate([[0.0], np.repeat(RING_DEGREES, SEGMENTS), [180.0]])
    # Azimuthal equidistant map: the iris in the middle of the eye's own square.
    radius = degrees / 360.0
    angle = np.concatenate([[0.0], np.tile(around, len(polar)), [0.0]])
    uvs = 0.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    triangles = _sphere_triangles(len(polar))
    if mirror:
        directions = directions * [-1.0, 1.0, 1.0]
        triangles = triangles[:, [0, 2, 1]]
    return UnitSphere(directions, triangles, uvs, degrees)


def _sphere_triangles(rings: int) -> Int[np.ndarray, "triangles 3"]:
    last = 1 + rings * SEGMENTS
    triangles = []
    for s in range(SEGMENTS):
        n = (s + 1) % SEGMENTS
        triangles.append((0, 1 + s, 1 + n))
        for r in range(rings - 1):
            a, b = 1 + r * SEGMENTS + s, 1 + r * SEGMENTS + n
            triangles += [(a, a + SEGMENTS, b + SEGMENTS), (a, b + SEGMENTS, b)]
        triangles.append((last, last - SEGMENTS + n, last - SEGMENTS + s))
    return np.array(triangles)


def fit_sphere(points: Float[np.ndarray, "points 3"]) -> tuple[Float[np.ndarray, " 3"], float]:
    """Least-squares centre (3,) and radius of points (N,3)."""
    design = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(design, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def follow_directions(
    points: Float[np.ndarray, "points 3"], displacements: Float[np.ndarray, "points 3 components"]
) -> tuple[Float[np.ndarray, "3 components"], Float[np.ndarray, " components"]]:
    """How a sphere's centre (3,K) and radius (K,) follow displacements (N,3,K) of points (N,3) on it."""
    centre, radius = fit_sphere(points)
    normals = (points - centre) / radius
    design = np.concatenate([np.tile(np.eye(3), (len(points), 1)), normals.reshape(-1, 1)], axis=1)
    solution = np.linalg.lstsq(design, displacements.reshape(3 * len(points), -1), rcond=None)[0]
    return solution[:3], solution[3]
