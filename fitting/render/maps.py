"""Depth, mask and normal maps from `Hits`, and the normals of a mesh: small pure functions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.render.raycast import Hits


def depth_map(hits: Hits, background: float = 0.0) -> Float[np.ndarray, "height width"]:
    """Metres along the optical axis, `background` where nothing is."""
    return np.where(hits.mask, hits.depth, background).astype(np.float32)


def mask_map(hits: Hits) -> Bool[np.ndarray, "height width"]:
    """Where the mesh is."""
    return hits.mask


def normal_map(
    hits: Hits, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, "height width 3"]:
    """Smooth unit normals in the axes of `vertices`, outward; 0 where nothing is."""
    normals = interpolate(
        vertex_normals(vertices, faces), faces, hits.triangle.ravel(), hits.barycentrics.reshape(-1, 3)
    )
    return normalised(normals).reshape(*hits.triangle.shape, 3)


def wire_map(
    hits: Hits,
    pixels: Float[np.ndarray, "vertices 2"],
    faces: Int[np.ndarray, "triangles 3"],
    width: float = 1.0,
) -> Float[np.ndarray, "height width"]:
    """How far each pixel is covered by the edges of the triangles seen there, lines `width` pixels wide (0..1).

    `pixels` is where the vertices project. Hidden edges do not show: only the first surface is looked at.
    """
    y, x = np.nonzero(hits.mask)
    corners = pixels[faces[hits.triangle[y, x]]]
    nearest = np.full(len(x), np.inf)
    for k in range(3):
        start, along = corners[:, k], corners[:, (k + 1) % 3] - corners[:, k]
        length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
        across = along[:, 0] * (y - start[:, 1]) - along[:, 1] * (x - start[:, 0])
        nearest = np.fmin(nearest, np.abs(across) / length)
    covered = np.zeros(hits.mask.shape, dtype=np.float32)
    covered[y, x] = np.clip(width / 2 + 0.5 - nearest, 0, 1)
    return covered


def interpolate(
    values: Float[np.ndarray, "vertices channels"],
    faces: Int[np.ndarray, "triangles 3"],
    triangle: Int[np.ndarray, " rays"],
    barycentrics: Float[np.ndarray, "rays 3"],
) -> Float[np.ndarray, "rays channels"]:
    """What the vertices carry, at points on triangles; 0 where the barycentrics are 0."""
    corners = faces[triangle]
    total = values[corners[:, 0]] * barycentrics[:, :1]
    for k in (1, 2):
        total += values[corners[:, k]] * barycentrics[:, k : k + 1]
    return total


def face_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, "triangles 3"]:
    """Outward normals (counter-clockwise triangles), as long as twice the triangle's area."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(b - a, c - a)


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals: the mean of the triangles round a vertex weighed by area; 0 for a vertex without triangles."""
    # bincount is several times faster than np.add.at and sums in float64.
    normals = np.repeat(face_normals(vertices, faces), 3, axis=0)
    corners, count = np.ravel(faces), len(vertices)
    total = np.stack([np.bincount(corners, normals[:, k], count) for k in range(3)], axis=-1)
    return normalised(total).astype(np.float32)


def normalised(vectors: Float[np.ndarray, "rows 3"]) -> Float[np.ndarray, "rows 3"]:
    """Unit vectors; a zero vector stays zero."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    length[length == 0] = 1
    return vectors / length[:, None]
