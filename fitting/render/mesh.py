"""A mesh with everything that is costly and does not depend on who looks, and the camera that looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import map_coordinates

from fitting.render import maps
from fitting.render.raycast import NEAREST, build_scene, cast

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

CLAY = (0.66, 0.74, 0.84)
"""sRGB of a mesh without colours: a cool tone that stands off from skin."""


@dataclass(frozen=True)
class Camera:
    """Who looks: `K`, the picture's (width, height), and the way from the mesh's axes to the camera's."""

    K: Float[np.ndarray, "3 3"]
    size: tuple[int, int]
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    translation: Float[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))

    def to_camera(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return points @ self.rotation.T + self.translation

    def to_pixels(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Where points are seen; NaN for those that are not in front of the camera."""
        placed = self.to_camera(points) @ np.asarray(self.K).T
        depth = np.where(placed[:, 2:] > NEAREST, placed[:, 2:], np.nan)
        return placed[:, :2] / depth


@dataclass(frozen=True)
class Skin:
    """A picture over texture coordinates: u to the right, v up, 0..1 over the picture, as in obj files."""

    picture: UInt8[np.ndarray, "rows columns 3"]
    uv: Float[np.ndarray, "points 2"]
    uv_faces: Int[np.ndarray, "triangles 3"]

    def linear_colours(
        self, triangle: Int[np.ndarray, " samples"], barycentrics: Float[np.ndarray, "samples 3"]
    ) -> Float[np.ndarray, "samples 3"]:
        """Linear RGB at points of triangles, between the four nearest texels."""
        rows, columns = self.picture.shape[:2]
        uv = maps.interpolate(self.uv, self.uv_faces, triangle, barycentrics)
        at = np.stack([(1 - uv[:, 1]) * rows - 0.5, uv[:, 0] * columns - 0.5])
        found = [map_coordinates(self.picture[..., k], at, np.float32, 1, mode="nearest") for k in range(3)]
        return (np.stack(found, axis=-1) / 255) ** 2


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in metres with optional sRGB colours (0..1) at its vertices; what is costly is kept."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "triangles 3"]
    colours: Float[np.ndarray, "vertices 3"] | None = None
    opacity: Float[np.ndarray, " vertices"] | None = None  # 0..1; None: opaque
    skin: Skin | None = None  # goes before `colours`

    @cached_property
    def scene(self) -> EmbreeScene:
        return build_scene(self.vertices, self.faces)

    @cached_property
    def normals(self) -> Float[np.ndarray, "vertices 3"]:
        return maps.vertex_normals(self.vertices, self.faces)

    @cached_property
    def openness(self) -> Float[np.ndarray, " vertices"]:
        return openness(self)

    @cached_property
    def facing(self) -> Float[np.ndarray, "triangles 3"]:
        return maps.normalised(maps.face_normals(self.vertices, self.faces)).astype(np.float32)

    @cached_property
    def carried(self) -> Float[np.ndarray, "vertices 8"]:
        """What is interpolated over a triangle: normal, openness, linear RGB, opacity."""
        colours = np.broadcast_to(CLAY, self.vertices.shape) if self.colours is None else self.colours
        opacity = np.ones(len(self.vertices)) if self.opacity is None else self.opacity
        columns = (self.normals, self.openness[:, None], np.clip(colours, 0, 1) ** 2, opacity[:, None])
        return np.concatenate(columns, axis=1).astype(np.float32)


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one: rays then find whoever is in front. Missing colours become clay, skins are left out."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    clay = [np.broadcast_to(CLAY, mesh.vertices.shape) for mesh in meshes]
    colours = [mesh.colours if mesh.colours is not None else grey for mesh, grey in zip(meshes, clay, strict=True)]
    opacity = [np.ones(len(mesh.vertices)) if mesh.opacity is None else mesh.opacity for mesh in meshes]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate(colours),
        np.concatenate(opacity),
    )


def openness(mesh: Mesh, rays: int = 10, reach: float = 0.3) -> Float[np.ndarray, " vertices"]:
    """Share of the sky that each vertex sees (1: all): ambient occlusion up to `reach` of the mesh's extent.

    The same spiral of cosine-weighted directions is used at every vertex, so that errors vary slowly over the
    surface instead of as noise. What is occluded near by counts more than what is far.
    """
    normals = mesh.normals
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    k = np.arange(rays) + 0.5
    radius, angle = np.sqrt(k / rays), k * np.pi * (3 - np.sqrt(5))
    local = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - k / rays)], axis=-1)
    directions = np.einsum("rk,vkc->vrc", local, _tangent_frames(normals)).astype(np.float32)
    origins = np.repeat(mesh.vertices + 2e-3 * extent * normals, rays, axis=0)
    _, _, distance = cast(mesh.scene, origins, directions.reshape(-1, 3))
    blocked = np.clip(1 - distance / (reach * extent), 0, 1)
    return (1 - blocked.reshape(-1, rays).mean(axis=1)).astype(np.float32)


def _tangent_frames(normals: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3 3"]:
    """Rows: two tangents and the normal (Duff et al. 2017, "Building an orthonormal basis, revisited")."""
    x, y, z = normals.astype(np.float64).T
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=-1)
    second = np.stack([b, sign + y * y * a, -y], axis=-1)
    return np.stack([first, second, normals], axis=1)
