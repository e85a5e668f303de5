"""What a camera sees of a triangle mesh, found with rays (embreex): no OpenGL, no display."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

NEAREST = 1e-3
"""Metres: a vertex nearer to the camera than this has no place in the picture (see `camera.camera_to_pixels`)."""


class Hits(NamedTuple):
    """First surface behind every pixel."""

    triangle: Int[np.ndarray, "height width"]  # -1 where nothing is
    barycentrics: Float[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]  # metres along z; inf where nothing is

    @property
    def mask(self) -> np.ndarray:
        return self.triangle >= 0


class Window(NamedTuple):
    """A rectangle of whole pixels: its first column and row, its width and height."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a picture with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def pixels(self) -> Float[np.ndarray, "pixels 2"]:
        """Centres (x, y) of all its pixels, row by row."""
        x, y = np.meshgrid(
            np.arange(self.left, self.left + self.width, dtype=np.float64),
            np.arange(self.top, self.top + self.height, dtype=np.float64),
        )
        return np.stack([x.ravel(), y.ravel()], axis=-1)


def pixels_to_rays(pixels: Float[np.ndarray, "pixels 2"], K: np.ndarray) -> Float[np.ndarray, "pixels 3"]:
    """Directions with z = 1 (float32) through points of the picture: the distance along one is the depth."""
    rays = np.ones((len(pixels), 3), dtype=np.float32)
    for axis in (0, 1):
        rays[:, axis] = (pixels[:, axis] - K[axis, 2]) / K[axis, axis]
    return rays


def build_scene(vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]) -> EmbreeScene:
    """The mesh (metres) ready to be hit. `robust`: without it rays slip between triangles that share an edge."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    scene = EmbreeScene(robust=True)
    corners = np.ascontiguousarray(vertices, dtype=np.float32)
    TriangleMesh(scene, corners, np.ascontiguousarray(faces, dtype=np.int32))
    return scene


def cast(
    scene: EmbreeScene, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
) -> tuple[Int[np.ndarray, " rays"], Float[np.ndarray, "rays 3"], Float[np.ndarray, " rays"]]:
    """Triangle (-1: none), barycentrics (0: none) and distance in lengths of `directions` (inf: none) of first hits."""
    found = scene.run(
        np.ascontiguousarray(origins, dtype=np.float32), np.ascontiguousarray(directions, dtype=np.float32), output=1
    )
    triangle = np.asarray(found["primID"])
    seen = triangle >= 0
    u, v = np.asarray(found["u"]), np.asarray(found["v"])
    barycentrics = np.stack([1 - u - v, u, v], axis=-1)
    barycentrics[~seen] = 0.0
    return triangle, barycentrics, np.where(seen, np.asarray(found["tfar"]), np.float32(np.inf))


def mesh_window(vertices: Float[np.ndarray, "vertices 3"], K: np.ndarray, size: tuple[int, int]) -> Window:
    """The part of the picture that a mesh (camera axes, metres) may cover; the whole one if it reaches the lens."""
    width, height = size
    depth = vertices[:, 2]
    if len(vertices) == 0 or depth.max() < NEAREST:
        return Window(0, 0, 0, 0)
    if depth.min() < NEAREST:
        return Window(0, 0, width, height)
    pixels = vertices @ np.asarray(K).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    low = np.clip(np.floor(pixels.min(axis=0)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, [width, height]).astype(int)
    extent = np.maximum(high - low, 0)
    return Window(int(low[0]), int(low[1]), int(extent[0]), int(extent[1]))


def raycast(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "triangles 3"],
    K: np.ndarray,
    size: tuple[int, int],
) -> Hits:
    """First hits of the mesh (OpenCV camera axes, metres) for a camera `K` and a picture of `size` (width, height)."""
    width, height = size
    triangle = np.full((height, width), -1, dtype=np.int64)
    barycentrics = np.zeros((height, width, 3), dtype=np.float32)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    window = mesh_window(np.asarray(vertices)[np.unique(faces)], K, size)
    if window.width * window.height:
        rays = pixels_to_rays(window.pixels(), K)
        found = cast(build_scene(vertices, faces), np.zeros_like(rays), rays)
        shape = (window.height, window.width)
        triangle[window.slices] = found[0].reshape(shape)
        barycentrics[window.slices] = found[1].reshape(*shape, 3)
        depth[window.slices] = found[2].reshape(shape)
    return Hits(triangle, barycentrics, depth)
