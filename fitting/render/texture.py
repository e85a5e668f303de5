"""Colours of the visible surface, gathered from pictures into a map over texture coordinates (u to the right, v up).

A texel takes from a picture what lies behind its own place on the surface, if the camera sees that place: more where it
is looked at squarely, less towards outlines, where the fit and the picture part by a pixel or two. Over the frames of a
clip the colour is a robust mean: hair that hangs in once, a highlight, a hand do not count.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import binary_erosion, distance_transform_edt, map_coordinates

from fitting.render import maps
from fitting.render.mesh import Camera, Mesh
from fitting.render.raycast import cast
from fitting.render.shade import edges
from fitting.render.texels import Texels
from fitting.render.view import RAYS

LEAST_COSINE = 0.25
"""Surface turned further away than this (75 degrees) gives no colour."""
OUTLINE, STEP = 0.07, 0.014
"""Share of the mesh's thickness in the picture (area over half the outline's length: a disc's radius) within which
colours do not count: beside its outline, where the mesh may reach beyond the person (ears, hair) into the background;
beside a step in depth, such as lids and nostrils."""
NOISE = 6.0
"""Of 255: differences between frames that are no more than noise and breathing light."""
CHUNK = 1 << 16


def gather(
    mesh: Mesh, camera: Camera, image: UInt8[np.ndarray, "rows columns 3"], texels: Texels
) -> tuple[UInt8[np.ndarray, "texels 3"], Float[np.ndarray, " texels"]]:
    """The colour behind every texel in one picture, and how much it counts: 0 where the camera does not see it."""
    points = maps.interpolate(mesh.vertices, mesh.faces, texels.triangle, texels.barycentrics)
    normals = maps.normalised(maps.interpolate(mesh.normals, mesh.faces, texels.triangle, texels.barycentrics))
    centre = -camera.translation @ camera.rotation
    directions = maps.normalised(points - centre)
    cosine = -np.einsum("ij,ij->i", normals, directions)
    pixels = camera.to_pixels(points)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= np.array(camera.size) - 1)).all(axis=1)
    rows = np.flatnonzero((cosine > LEAST_COSINE) & inside)
    origins = np.broadcast_to(centre.astype(np.float32), (len(rows), 3))
    first = cast(mesh.scene, origins, directions[rows])[2]
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    rows = rows[first > np.linalg.norm(points[rows] - centre, axis=1) - 2e-3 * extent]
    weights = np.zeros(len(points), dtype=np.float32)
    colours = np.zeros((len(points), 3), dtype=np.uint8)
    at = pixels[rows].T[::-1]
    weights[rows] = cosine[rows] ** 2 * map_coordinates(outline_weight(mesh, camera), at, order=1, mode="nearest")
    for channel in range(3):
        colours[rows, channel] = map_coordinates(image[..., channel], at, order=1, mode="nearest")
    return colours, weights


def outline_weight(mesh: Mesh, camera: Camera) -> Float[np.ndarray, "height width"]:
    """0 on an outline or a step in depth, rising to 1 away from it."""
    hits = RAYS.hits(mesh, camera)
    if not hits.mask.any():
        return np.zeros(hits.mask.shape, dtype=np.float32)
    step = edges(hits.triangle, hits.depth, mesh.facing, float(1 / camera.K[0, 0]), creases=False)
    inner = binary_erosion(hits.mask)
    thickness = 2 * hits.mask.sum() / (hits.mask & ~inner).sum()
    inward, aside = distance_transform_edt(hits.mask), distance_transform_edt(~(step & inner))
    weight = np.minimum(inward / (OUTLINE * thickness + 1), aside / (STEP * thickness + 1))
    return np.clip(2 * weight - 1, 0, 1).astype(np.float32)


def robust_mean(
    colours: UInt8[np.ndarray, "frames texels 3"], weights: Float[np.ndarray, "frames texels"], rounds: int = 3
) -> Float[np.ndarray, "texels 3"]:
    """Weighted mean over the frames, 0..255, from which frames that differ are left out: Geman-McClure weights round
    the weighted median (Black & Rangarajan 1996). 0 where no frame has a weight."""
    found = np.zeros(colours.shape[1:], dtype=np.float32)
    seen = np.flatnonzero(weights.any(axis=0))
    for start in range(0, len(seen), CHUNK):
        part = seen[start : start + CHUNK]
        found[part] = _robust_mean(colours[:, part].astype(np.float32), weights[:, part].astype(np.float32), rounds)
    return found


def _robust_mean(colours: np.ndarray, weights: np.ndarray, rounds: int) -> np.ndarray:
    middle = weighted_median(colours, weights)
    apart = np.linalg.norm(colours - middle, axis=-1)
    spread = weighted_median(apart[..., None], weights)[..., 0]
    scale = 1.48 * spread + NOISE  # 1.48: the median distance of a normal distribution to its standard deviation
    for _ in range(rounds):
        trusted = weights / (1 + (apart / (2 * scale)) ** 2) ** 2
        total = trusted.sum(axis=0)
        middle = np.einsum("ft,ftc->tc", trusted, colours) / np.maximum(total, 1e-12)[:, None]
        apart = np.linalg.norm(colours - middle, axis=-1)
    return middle


def weighted_median(
    values: Float[np.ndarray, "frames items channels"], weights: Float[np.ndarray, "frames items"]
) -> Float[np.ndarray, "items channels"]:
    """The value at which half of the weight is reached, each channel for itself."""
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(np.broadcast_to(weights[..., None], values.shape), order, axis=0)
    reached = np.cumsum(ranked, axis=0)
    first = np.argmax(reached >= reached[-1] / 2, axis=0)
    return np.take_along_axis(np.take_along_axis(values, order, axis=0), first[None], axis=0)[0]
