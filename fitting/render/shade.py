"""A clean picture of a mesh without OpenGL: smooth normals, soft lights, ambient occlusion, anti-aliased edges.

One ray per pixel finds the surface; pixels on an edge (outline, fold, occlusion) are cast again with many rays, so
that smoothness is paid for only where it shows. Light is summed in linear RGB; sRGB is taken as its square root,
which stays within 4 % of full scale of the standard's curve and many times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.render import maps
from fitting.render.mesh import Camera, Mesh
from fitting.render.raycast import Window, cast, mesh_window, pixels_to_rays


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
EVEN = Lights(key_strength=0.0, fill_strength=0.0, rim_strength=0.0, sky=1.0, ground=0.92, gloss=0.0)
"""For surfaces whose colours have light in them already."""
INSIDE = np.float32(0.45)
"""Openness of a surface seen from its inside (an open neck)."""
SUBSAMPLES = (np.array([[1, -3], [-1, 3], [5, 1], [-3, -5], [-5, 5], [-7, -1], [3, 7], [7, -7]]) + 0.0) / 16
"""Where an edge pixel is cast again: eight rooks, no two in one row or column, so that any edge has eight steps."""


class Layer(NamedTuple):
    """A picture of a mesh where it may be: premultiplied sRGB and coverage, 0..1."""

    window: Window
    rgba: Float[np.ndarray, "height width 4"]


class Samples(NamedTuple):
    """What is seen at single points of a picture: premultiplied sRGB and coverage, triangle (-1: none), metres."""

    rgba: Float[np.ndarray, "samples 4"]
    triangle: Int[np.ndarray, " samples"]
    depth: Float[np.ndarray, " samples"]


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
    creases: bool = True,
) -> Bool[np.ndarray, "height width"]:
    """Pixels beside an outline, a step in depth (steeper than 84 degrees) or a crease of the surface (over 37)."""
    found = np.zeros(triangle.shape, dtype=bool)
    below, above, right, left = np.s_[1:], np.s_[:-1], np.s_[:, 1:], np.s_[:, :-1]
    for here, there in ((below, above), (right, left)):
        apart = (triangle[here] >= 0) != (triangle[there] >= 0)
        rows = np.nonzero((triangle[here] != triangle[there]) & ~apart)  # only a change of triangle can be a crease
        first, second = triangle[here][rows], triangle[there][rows]
        step = np.abs(depth[here][rows] - depth[there][rows]) > 10 * footprint * depth[there][rows]
        if creases:
            step |= np.einsum("ij,ij->i", facing[first], facing[second]) < 0.8
        apart[rows] = step
        found[here] |= apart
        found[there] |= apart
    return found


def _sample(mesh: Mesh, camera: Camera, pixels: Float[np.ndarray, "samples 2"], lights: Lights) -> Samples:
    """What is seen at points of the picture. The camera moves, the scene stays: it need not be built again."""
    rays = pixels_to_rays(pixels, camera.K)
    turn = camera.rotation.astype(np.float32)
    directions = rays @ turn  # row vectors: times R turns by its inverse
    origins = np.empty_like(rays)
    origins[:] = -camera.translation @ camera.rotation
    triangle, barycentrics, depth = cast(mesh.scene, origins, directions)
    return Samples(surface_colours(mesh, camera, rays, (triangle, barycentrics), lights), triangle, depth)


def surface_colours(
    mesh: Mesh,
    camera: Camera,
    rays: Float[np.ndarray, "samples 3"],
    found: tuple[Int[np.ndarray, " samples"], Float[np.ndarray, "samples 3"]],
    lights: Lights = STUDIO,
) -> Float[np.ndarray, "samples 4"]:
    """Premultiplied sRGB and coverage of what rays (camera axes) have `found`: triangle (-1: none), barycentrics."""
    triangle, barycentrics = found
    turn = camera.rotation.astype(np.float32)
    rgba = np.zeros((len(rays), 4), dtype=np.float32)
    seen = np.flatnonzero(triangle >= 0)
    outside = np.einsum("ij,ij->i", mesh.facing[triangle[seen]], rays[seen] @ turn) < 0
    values = maps.interpolate(mesh.carried, mesh.faces, triangle[seen], barycentrics[seen])
    normals = maps.normalised(values[:, :3] @ turn.T) * np.where(outside, np.float32(1), np.float32(-1))[:, None]
    light, gloss = _light(normals, -maps.normalised(rays[seen]), np.where(outside, values[:, 3], INSIDE), lights)
    colour = values[:, 4:7] if mesh.skin is None else mesh.skin.linear_colours(triangle[seen], barycentrics[seen])
    linear = colour * light[:, None] + gloss[:, None]
    opacity = np.minimum(values[:, 7:], 1)
    rgba[seen] = np.concatenate([np.sqrt(np.clip(linear, 0, 1)) * opacity, opacity], axis=1)
    return rgba


def _sample_finely(
    mesh: Mesh, camera: Camera, pixels: Float[np.ndarray, "pixels 2"], lights: Lights
) -> Float[np.ndarray, "pixels 4"]:
    """Mean colour and coverage over eight points inside each pixel."""
    rgba = _sample(mesh, camera, (pixels[:, None] + SUBSAMPLES).reshape(-1, 2), lights).rgba
    return rgba.reshape(len(pixels), -1, 4).mean(axis=1)


def _light(
    normals: Float[np.ndarray, "samples 3"],
    view: Float[np.ndarray, "samples 3"],
    open_share: Float[np.ndarray, " samples"],
    lights: Lights,
) -> tuple[Float[np.ndarray, " samples"], Float[np.ndarray, " samples"]]:
    """Diffuse light and gloss that leave a surface point towards `view`: hemisphere, key, fill and rim."""
    directions = np.stack([_unit(lights.key), _unit(lights.fill), _unit(lights.rim)], axis=-1)
    key, fill, rim = np.maximum(normals @ directions, 0).T
    up = 0.5 - 0.5 * normals[:, 1]
    ambient = (lights.ground + (lights.sky - lights.ground) * up) * open_share
    direct = lights.key_strength * key + lights.fill_strength * fill + lights.rim_strength * rim
    half = maps.normalised(view + _unit(lights.key))
    gloss = lights.gloss * np.maximum(np.einsum("ij,ij->i", normals, half), 0) ** np.float32(lights.sharpness)
    shadow = 0.45 + 0.55 * open_share  # lamps are broad: a cavity sees part of them only
    return ambient + direct * shadow, gloss * shadow


def _unit(direction: tuple[float, float, float]) -> Float[np.ndarray, " 3"]:
    return (np.asarray(direction) / np.linalg.norm(direction)).astype(np.float32)
