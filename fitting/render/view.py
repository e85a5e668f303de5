"""What a camera sees of posed meshes: colour, depth, normals, triangle and barycentrics of every pixel.

Who finds the surface is a `Renderer`: rays on the CPU (embreex, the default, no OpenGL and no display), or
pytorch3d's rasteriser where it is installed. Everything else is the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.render import maps
from fitting.render.mesh import Camera, Mesh, join
from fitting.render.raycast import Hits, cast, mesh_window, pixels_to_rays
from fitting.render.shade import Layer, shade_layer


@runtime_checkable
class Renderer(Protocol):
    """Who finds the surface."""

    def hits(self, mesh: Mesh, camera: Camera) -> Hits:
        """The first surface behind the centre of every pixel."""
        ...

    def layer(self, mesh: Mesh, camera: Camera) -> Layer:
        """The anti-aliased colours of the part of the picture where the mesh may be."""
        ...


class Rays:
    """Rays through the pixels, on the CPU."""

    def hits(self, mesh: Mesh, camera: Camera) -> Hits:
        width, height = camera.size
        found = Hits(
            np.full((height, width), -1, dtype=np.int64),
            np.zeros((height, width, 3), dtype=np.float32),
            np.full((height, width), np.inf, dtype=np.float32),
        )
        window = mesh_window(camera.to_camera(mesh.vertices), camera.K, camera.size)
        if window.width * window.height == 0 or len(mesh.faces) == 0:
            return found
        rays = pixels_to_rays(window.pixels(), camera.K)
        origins = np.broadcast_to((-camera.translation @ camera.rotation).astype(np.float32), rays.shape)
        triangle, barycentrics, depth = cast(mesh.scene, origins, rays @ camera.rotation.astype(np.float32))
        shape = (window.height, window.width)
        found.triangle[window.slices] = triangle.reshape(shape)
        found.barycentrics[window.slices] = barycentrics.reshape(*shape, 3)
        found.depth[window.slices] = depth.reshape(shape)
        return found

    def layer(self, mesh: Mesh, camera: Camera) -> Layer:
        return shade_layer(mesh, camera)


RAYS = Rays()


@dataclass(frozen=True)
class View:
    """A picture of one or several meshes, found when asked for; who is nearer covers who is behind."""

    meshes: Sequence[Mesh]
    camera: Camera
    renderer: Renderer = field(default=RAYS)

    @cached_property
    def mesh(self) -> Mesh:
        """All of them as one."""
        return join(list(self.meshes))

    @cached_property
    def hits(self) -> Hits:
        width, height = self.camera.size
        if not self.meshes:
            nothing = np.full((height, width), -1), np.zeros((height, width, 3)), np.full((height, width), np.inf)
            return Hits(*nothing)
        return self.renderer.hits(self.mesh, self.camera)

    @property
    def triangle(self) -> Int[np.ndarray, "height width"]:
        """Counted through all meshes; -1 where nothing is."""
        return self.hits.triangle

    @property
    def barycentrics(self) -> Float[np.ndarray, "height width 3"]:
        return self.hits.barycentrics

    @property
    def depth(self) -> Float[np.ndarray, "height width"]:
        """Metres along the optical axis; inf where nothing is."""
        return self.hits.depth

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        return self.hits.mask

    @cached_property
    def who(self) -> Int[np.ndarray, "height width"]:
        """Which mesh is in front, counted from 0; -1 where none is."""
        ends = np.cumsum([len(mesh.faces) for mesh in self.meshes])
        return np.where(self.mask, np.searchsorted(ends, self.triangle, side="right"), -1)

    @cached_property
    def colour(self) -> Float[np.ndarray, "height width 4"]:
        """Premultiplied sRGB and coverage, 0..1."""
        picture = np.zeros((*self.camera.size[::-1], 4), dtype=np.float32)
        if self.meshes:
            layer = self.renderer.layer(self.mesh, self.camera)
            picture[layer.window.slices] = layer.rgba
        return picture

    @cached_property
    def normals(self) -> Float[np.ndarray, "height width 3"]:
        """Smooth unit normals in the camera's axes, outward; 0 where nothing is."""
        if not self.meshes:
            return np.zeros((*self.mask.shape, 3), dtype=np.float32)
        return maps.normal_map(self.hits, self.mesh.vertices, self.mesh.faces) @ self.camera.rotation.T

    @cached_property
    def wires(self) -> Float[np.ndarray, "height width"]:
        """How far each pixel is covered by a visible edge of a triangle, 0..1."""
        if not self.meshes:
            return np.zeros(self.mask.shape, dtype=np.float32)
        return maps.wire_map(self.hits, self.camera.to_pixels(self.mesh.vertices), self.mesh.faces)


def visible_vertices(mesh: Mesh, camera: Camera, tolerance: float = 2e-3) -> Bool[np.ndarray, " vertices"]:
    """Which vertices the camera sees: inside the picture, and no surface in front by more than `tolerance` of the
    mesh's extent. The tolerance keeps a vertex from hiding behind its own triangles."""
    pixels = camera.to_pixels(mesh.vertices)
    with np.errstate(invalid="ignore"):  # NaN: behind the camera
        inside = ((pixels >= -0.5) & (pixels < np.array(camera.size) - 0.5)).all(axis=1)
    centre = -camera.translation @ camera.rotation
    towards = (mesh.vertices - centre)[inside]
    distance = np.linalg.norm(towards, axis=1)
    origins = np.broadcast_to(centre.astype(np.float32), towards.shape)
    first = cast(mesh.scene, origins, towards / distance[:, None])[2]
    seen = np.zeros(len(mesh.vertices), dtype=bool)
    seen[inside] = first > distance - tolerance * float(np.ptp(mesh.vertices, axis=0).max())
    return seen
