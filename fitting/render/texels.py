"""Texture coordinates as a grid of places on the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.render.mesh import Mesh
from fitting.render.raycast import build_scene, cast


@dataclass(frozen=True)
class Texels:
    """The texels of a square map that lie on the surface."""

    size: int
    index: Int[np.ndarray, " texels"]  # row * size + column
    triangle: Int[np.ndarray, " texels"]
    barycentrics: Float[np.ndarray, "texels 3"]


def texels_on(
    mesh: Mesh, uv: Float[np.ndarray, "points 2"], uv_faces: Int[np.ndarray, "triangles 3"], size: int
) -> Texels:
    """Which triangle covers the centre of each texel, found by rays onto the unfolded mesh.

    `mesh` is the body at rest, which looks along z. Where triangles lie on each other in the map (the back of an
    eyeball under its front) the more exposed one wins: it is laid on top.
    """
    flat = np.concatenate([uv[uv_faces], 1 - exposure(mesh)[mesh.faces][..., None] / 2], axis=-1).reshape(-1, 3)
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    centres = np.stack([(column.ravel() + 0.5) / size, 1 - (row.ravel() + 0.5) / size], axis=-1)
    origins = np.concatenate([centres, np.zeros((size * size, 1))], axis=1)
    straight = np.broadcast_to(np.array([0, 0, 1], dtype=np.float32), origins.shape)
    scene = build_scene(flat, np.arange(len(flat)).reshape(-1, 3))
    triangle, barycentrics, _ = cast(scene, origins, straight)
    index = np.flatnonzero(triangle >= 0)
    return Texels(size, index, triangle[index], barycentrics[index])


def exposure(mesh: Mesh) -> Float[np.ndarray, " vertices"]:
    """How much of a vertex people see, 0..1: openness, and for what lids and lips cover, whether it looks forwards."""
    return np.clip((2 * mesh.openness + 0.5 + 0.5 * mesh.normals[:, 2]) / 3, 0, 1)
