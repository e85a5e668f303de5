"""Paint of the open head that does not follow from parts: brows, lash lines and the shade of hollows."""

from __future__ import annotations

import numpy as np

from fitting.bodies.open_head_mesh import HeadMesh

BROW_LINE = np.array([[0.0115, 0.0112], [0.021, 0.0135], [0.031, 0.0160], [0.041, 0.0165], [0.049, 0.0140], [0.0555, 0.0100]])
"""Middle of the left brow from nose to temple, x and y in metres from the midpoint between the eyes: the brow ridge."""
BROW_HALF_WIDTH = np.array([0.0038, 0.0042, 0.0040, 0.0036, 0.0028, 0.0018])


def brow_cover(mesh: HeadMesh, template: np.ndarray, face: np.ndarray) -> np.ndarray:
    """(V,) 0..1 hair of the brows on the template, whose origin lies between the eyes; soft over 2 mm at the edge."""
    line = _dense(BROW_LINE)
    width = _dense(BROW_HALF_WIDTH[:, None])[:, 0]
    points = np.stack([np.abs(template[face, 0]), template[face, 1]], axis=1)
    distance = np.linalg.norm(points[:, None] - line[None], axis=2) - width
    cover = np.zeros(mesh.vertex_count)
    cover[face] = np.clip(0.5 - distance.min(axis=1) / 2e-3, 0, 1)
    return cover


def _dense(rows: np.ndarray) -> np.ndarray:
    """Twenty points per stretch of a polyline (N,D)."""
    at = np.linspace(0, len(rows) - 1, 20 * len(rows))
    return np.stack([np.interp(at, np.arange(len(rows)), column) for column in rows.T], axis=1)


def lash_cover(mesh: HeadMesh) -> np.ndarray:
    """(V,) 0..1 dark line of the lashes: the margin of the upper lid, faint on the lower."""
    cover = np.zeros(mesh.vertex_count)
    for eye in (mesh.left_eye, mesh.right_eye):
        cover[eye.out(1)[eye.upper]] = cover[eye.out(2)[eye.upper]] = 0.8
        cover[eye.out(1)[eye.lower]] = 0.25
    return cover


def openness(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, rays: int = 96, reach: float = 0.06) -> np.ndarray:
    """(V,) share of the sky above each vertex that is free of the head within `reach` metres: 1 outside, 0 in a hollow."""
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices[faces], dtype=np.float32))
    free, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    origins = (vertices + 2e-4 * normals).astype(np.float32)
    for direction in _even_directions(rays):
        cosine = np.clip(normals @ direction, 0, None)
        hit = scene.run(origins, np.tile(direction, (len(origins), 1)).astype(np.float32), output=True)
        blocked = (np.asarray(hit["primID"]) >= 0) & (np.asarray(hit["tfar"]) < reach)
        free += cosine * ~blocked
        total += cosine
    return free / np.maximum(total, 1e-9)


def _even_directions(count: int) -> np.ndarray:
    """(count,3) unit vectors on a Fibonacci sphere."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
