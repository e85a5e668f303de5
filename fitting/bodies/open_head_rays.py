"""First hits of rays on a mesh (embreex), for making the open head; pictures for users are the room `render`'s work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class RayHits(NamedTuple):
    """R rays."""

    triangle: np.ndarray
    """(R,) int, -1 where nothing is hit."""
    barycentrics: np.ndarray
    """(R,3)."""
    distance: np.ndarray
    """(R,) in lengths of the ray's direction, inf where nothing is hit."""

    @property
    def seen(self) -> np.ndarray:
        return self.triangle >= 0


def cast_rays(vertices: np.ndarray, triangles: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> RayHits:
    """What rays (R,3) from origins (R,3) meet first on a mesh (V,3), (T,3)."""
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices[triangles], dtype=np.float32))
    start, along = (np.ascontiguousarray(rows, dtype=np.float32) for rows in (origins, directions))
    found = scene.run(start, along, output=True)
    triangle = np.asarray(found["primID"], dtype=np.int64)
    u, v = np.asarray(found["u"]), np.asarray(found["v"])
    distance = np.where(triangle >= 0, np.asarray(found["tfar"]), np.inf)
    return RayHits(triangle, np.stack([1 - u - v, u, v], axis=-1), distance)


def look(vertices: np.ndarray, triangles: np.ndarray, K: np.ndarray, size: int) -> RayHits:
    """What a pinhole camera in the origin (OpenCV axes) sees, pixel by pixel, row by row, of a square picture."""
    x, y = np.meshgrid(np.arange(size, dtype=float), np.arange(size, dtype=float))
    directions = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ np.linalg.inv(K).T
    return cast_rays(vertices, triangles, np.zeros_like(directions), directions)
