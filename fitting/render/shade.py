"""A clean picture of a mesh without OpenGL: smooth normals, soft lights, ambient occlusion, anti-aliased edges.

One ray per pixel finds the surface; pixels on an edge (outline, fold, occlusion) are cast again with many rays, so
that smoothness is paid for only where it shows. Light is summed in linear RGB and shown in sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fitting.render import maps
from fitting.render.raycast import Window, build_scene, cast, mesh_window, pixels_to_rays

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

CLAY = (0.66, 0.74, 0.84)
"""sRGB of a mesh without colours: a cool tone that stands off from skin."""


@dataclass(frozen=True)
class Lights:
    """Lights fixed to the camera. Directions lead to the light in camera axes (x right, y down, z forward)."""

    key: tuple[float, float, float] = (-0.50, -0.65, -0.80)
    key_strength: float = 0.88
    fill: tuple[float, float, float] = (0.85, -0.05, -0.55)
    fill_strength: float = 0.24
    rim: tuple[float, float, float] = (0.55, -0.55, 0.65)
    rim_strength: float = 0.16
    sky: float = 0.40  # light that comes from straight above; half-way between at the horizon
    ground: float = 0.13
    gloss: float = 0.045
    sharpness: float = 22.0  # Blinn-Phong exponent of the gloss


STUDIO = Lights()
INSIDE = np.float32(0.45)
"""Openness of a surface seen from its inside (an open neck)."""
SUBSAMPLES = (np.array([[1, -3], [-1, 3], [5, 1], [-3, -5], [-5, 5], [-7, -1], [3, 7], [7, -7]]) + 0.0) / 16
"""Where an edge pixel is cast again: eight rooks, no two in one row or column, so that any edge has eight steps."""


@dataclass(frozen=True)
class Camera:
    """Who looks: `K`, the picture's (width, height), and the way from the mesh's axes to the camera's."""

    K: Float[np.ndarray, "3 3"]
    size: tuple[int, int]
    rotation: Float[np.ndarray, "3 3"] | None = None  # None: the mesh is in camera axes already
    translation: Float[np.ndarray, " 3"] | None = None

    def to_camera(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return points if self.rotation is None else points @ self.rotation.T + self.translation


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in metres with optional sRGB colours (0..1) at its vertices; what is costly is kept."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "triangles 3"]
    colours: Float[np.ndarray, "vertices 3"] | None = None

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
    def carried(self) -> Float[np.ndarray, "vertices 7"]:
        """What is interpolated over a triangle: normal, openness, linear RGB."""
        colours = np.broadcast_to(CLAY, self.vertices.shape) if self.colours is None else self.colours
        columns = (self.normals, self.openness[:, None], np.clip(colours, 0, 1) ** 2.2)
        return np.concatenate(columns, axis=1).astype(np.float32)


class Layer(NamedTuple):
    """A picture of a mesh where it may be: premultiplied sRGB and coverage, 0..1."""

    window: Window
    rgba: Float[np.ndarray, "height width 4"]


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one: rays then find whoever is in front. Missing colours become clay."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    coloured = any(mesh.colours is not None for mesh in meshes)
    clay = [np.broadcast_to(CLAY, mesh.vertices.shape) for mesh in meshes]
    colours = [mesh.colours if mesh.colours is not None else grey for mesh, grey in zip(meshes, clay, strict=True)]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate(colours) if coloured else None,
    )


def shade(mesh: Mesh, camera: Camera, lights: Lights = STUDIO) -> Float[np.ndarray, "height width 4"]:
    """The whole picture, premultiplied sRGB and coverage, 0..1: the background is left to the caller."""
    width, height = camera.size
    picture = np.zeros((height, width, 4), dtype=np.float32)
    layer = shade_layer(mesh, camera, lights)
    picture[layer.window.slices] = layer.rgba
    return picture


def shade_layer(mesh: Mesh, camera: Camera, lights: Lights = STUDIO) -> Layer:
    """The part of the picture that the mesh may cover."""
    window = mesh_window(camera.to_camera(mesh.vertices), camera.K, camera.size)
    shape = (window.height, window.width)
    if 0 in shape or len(mesh.faces) == 0:
        return Layer(window, np.zeros((*shape, 4), dtype=np.float32))
    pixels = window.pixels()
    rgba, triangle, depth = _sample(mesh, camera, pixels, lights)
    footprint = float(1.0 / camera.K[0, 0])
    edge = edges(triangle.reshape(shape), depth.reshape(shape), mesh.facing, footprint).ravel()
    if edge.any():
        rgba[edge] = _sample_finely(mesh, camera, pixels[edge], lights)
    return Layer(window, rgba.reshape(*shape, 4))


def composite(
    layer: Layer, background: Float[np.ndarray, "height width 3"], opacity: float = 1.0
) -> Float[np.ndarray, "height width 3"]:
    """The layer over a picture (sRGB 0..1, a new array)."""
    picture = np.array(background, dtype=np.float32)
    below = picture[layer.window.slices]
    below *= 1 - opacity * layer.rgba[..., 3:]
    below += opacity * layer.rgba[..., :3]
    return picture


def edges(
    triangle: Int[np.ndarray, "height width"],
    depth: Float[np.ndarray, "height width"],
    facing: Float[np.ndarray, "triangles 3"],
    footprint: float,
) -> np.ndarray:
    """Pixels beside an outline, a step in depth (steeper than 84 degrees) or a crease of the surface (over 37)."""
    found = np.zeros(triangle.shape, dtype=bool)
    below, above, right, left = np.s_[1:], np.s_[:-1], np.s_[:, 1:], np.s_[:, :-1]
    for here, there in ((below, above), (right, left)):
        apart = (triangle[here] >= 0) != (triangle[there] >= 0)
        rows = np.nonzero((triangle[here] != triangle[there]) & ~apart)  # only a change of triangle can be a crease
        first, second = triangle[here][rows], triangle[there][rows]
        step = np.abs(depth[here][rows] - depth[there][rows]) > 10 * footprint * depth[there][rows]
        crease = np.einsum("ij,ij->i", facing[first], facing[second]) < 0.8
        apart[rows] = step | crease
        found[here] |= apart
        found[there] |= apart
    return found


def openness(mesh: Mesh, rays: int = 24, reach: float = 0.3) -> Float[np.ndarray, " vertices"]:
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


def _sample(mesh: Mesh, camera: Camera, pixels: Float[np.ndarray, "samples 2"], lights: Lights):
    """Colour and coverage, triangle, depth at points of the picture."""
    rays = pixels_to_rays(pixels, camera.K)
    origins, directions = np.zeros_like(rays), rays
    if camera.rotation is not None:  # the camera moves, the scene stays: row vectors times R turn by its inverse
        origins[:] = -camera.translation @ camera.rotation
        directions = rays @ camera.rotation.astype(np.float32)
    triangle, barycentrics, depth = cast(mesh.scene, origins, directions)
    rgba = np.zeros((len(pixels), 4), dtype=np.float32)
    seen = np.flatnonzero(triangle >= 0)
    outside = np.einsum("ij,ij->i", mesh.facing[triangle[seen]], directions[seen]) < 0
    values = maps.interpolate(mesh.carried, mesh.faces, triangle[seen], barycentrics[seen])
    normals = values[:, :3] if camera.rotation is None else values[:, :3] @ camera.rotation.T.astype(np.float32)
    rgba[seen, :3] = _colour(normals, values[:, 3], values[:, 4:], outside, rays[seen], lights)
    rgba[seen, 3] = 1.0
    return rgba, triangle, depth


def _sample_finely(mesh: Mesh, camera: Camera, pixels: Float[np.ndarray, "pixels 2"], lights: Lights):
    """Mean colour and coverage over eight points inside each pixel."""
    rgba, _, _ = _sample(mesh, camera, (pixels[:, None] + SUBSAMPLES).reshape(-1, 2), lights)
    return rgba.reshape(len(pixels), -1, 4).mean(axis=1)


def _colour(normals, open_share, colours, outside, rays, lights: Lights) -> Float[np.ndarray, "samples 3"]:
    """sRGB of hit points from what they carry, in camera axes; the inside of the surface is seen darker."""
    view = -maps.normalised(rays)
    normals = maps.normalised(normals) * np.where(outside, np.float32(1), np.float32(-1))[:, None]
    light, gloss = _light(normals, view, np.where(outside, open_share, INSIDE), lights)
    return np.clip(colours * light[:, None] + gloss[:, None], 0, 1) ** np.float32(1 / 2.2)


def _light(normals, view, open_share, lights: Lights):
    """Diffuse light and gloss that leave a surface point."""

    def cosine(direction):
        return np.maximum(normals @ _unit(direction), 0)

    up = 0.5 - 0.5 * normals[:, 1]
    ambient = (lights.ground + (lights.sky - lights.ground) * up) * open_share
    direct = lights.key_strength * cosine(lights.key) + lights.fill_strength * cosine(lights.fill)
    rim = lights.rim_strength * cosine(lights.rim)
    half = maps.normalised(view + _unit(lights.key))
    gloss = lights.gloss * np.maximum(np.einsum("ij,ij->i", normals, half), 0) ** lights.sharpness
    shadow = 0.25 + 0.75 * open_share  # lamps are broad: a cavity sees part of them only
    return ambient + (direct + rim) * shadow, gloss * shadow


def _unit(direction: tuple[float, float, float]) -> Float[np.ndarray, " 3"]:
    return (np.asarray(direction) / np.linalg.norm(direction)).astype(np.float32)
