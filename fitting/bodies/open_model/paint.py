"""Paint of the open head that does not follow from parts: brows, lash lines and the shade of hollows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.mesh import HeadMesh
from fitting.render.raycast import build_scene, cast

BROW_LINE = np.array(
    [[0.0115, 0.0112], [0.021, 0.0135], [0.031, 0.0160], [0.041, 0.0165], [0.049, 0.0140], [0.0555, 0.0100]]
)
"""Middle of the left brow from nose to temple, x and y in metres from the midpoint between the eyes: on the brow ridge.

MediaPipe sees painted brows 1 to 2 mm above the ridge it takes for brows where there is no paint."""
BROW_HALF_WIDTH = np.array([0.0044, 0.0048, 0.0046, 0.0042, 0.0034, 0.0024])


def brow_cover(
    mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], face: Int[np.ndarray, " face"]
) -> Float[np.ndarray, " vertices"]:
    """0..1 hair of the brows on the template, whose origin lies between the eyes; soft over 2 mm at the edge."""
    line = _dense(BROW_LINE)
    width = _dense(BROW_HALF_WIDTH[:, None])[:, 0]
    points = np.stack([np.abs(template[face, 0]), template[face, 1]], axis=1)
    distance = np.linalg.norm(points[:, None] - line[None], axis=2) - width
    cover = np.zeros(mesh.vertex_count)
    cover[face] = np.clip(0.5 - distance.min(axis=1) / 2e-3, 0, 1)
    return cover


def _dense(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "points dim"]:
    """Twenty points per stretch of a polyline (N,D)."""
    at = np.linspace(0, len(rows) - 1, 20 * len(rows))
    return np.stack([np.interp(at, np.arange(len(rows)), column) for column in rows.T], axis=1)


def lash_cover(mesh: HeadMesh) -> Float[np.ndarray, " vertices"]:
    """0..1 dark line of the lashes: the margin of the upper lid, faint on the lower."""
    cover = np.zeros(mesh.vertex_count)
    for eye in (mesh.left_eye, mesh.right_eye):
        cover[eye.out(1)[eye.upper]] = cover[eye.out(2)[eye.upper]] = 0.8
        cover[eye.out(1)[eye.lower]] = 0.25
    return cover


def openness(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "triangles 3"],
    normals: Float[np.ndarray, "vertices 3"],
    rays: int = 96,
    reach: float = 0.06,
) -> Float[np.ndarray, " vertices"]:
    """Share of the sky above each vertex not hidden by the head within `reach` metres: 0 in a hollow."""
    free, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    scene, origins = build_scene(vertices, faces), vertices + 2e-4 * normals
    for direction in _even_directions(rays):
        cosine = np.clip(normals @ direction, 0, None)
        _, _, distance = cast(scene, origins, np.tile(direction, (len(origins), 1)))
        blocked = distance < reach
        free += cosine * ~blocked
        total += cosine
    return free / np.maximum(total, 1e-9)


def _even_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """(count,3) unit vectors on a Fibonacci sphere."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
