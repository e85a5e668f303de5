"""Colours for the part of a surface that no picture shows: a smooth continuation of what is seen, over the mesh.

Over the mesh and not over the map: neighbours on the surface may lie far apart in texture coordinates.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.sparse import diags
from scipy.sparse.linalg import splu

from fitting.render import maps
from fitting.render.parts import adjacency, loose_parts
from fitting.render.texels import Texels

GLIMPSE = 0.25
"""Loose parts (eyeballs, teeth, tongue; not the skin, which is the largest) of which no larger share was seen keep the
model's own colours: a slit between the lids does not tell where iris and white are once the eye turns."""
GUTTER = 1 / 128
"""Share of the map's side over which colours go on beside the surface."""
SURE = 0.15
"""Weight (a surface seen squarely in one picture has 1) at which a texel's own colour counts half."""


def complete(
    colours: Float[np.ndarray, "texels 3"],
    weights: Float[np.ndarray, " texels"],
    texels: Texels,
    faces: Int[np.ndarray, "triangles 3"],
    otherwise: Float[np.ndarray, "vertices 3"],
) -> Float[np.ndarray, "size size 3"]:
    """The whole map, 0..255: gathered colours where the surface was seen, their continuation elsewhere.

    A part of the mesh of which nothing was seen takes `otherwise`.
    """
    means, known = vertex_means(colours, weights, texels, faces, len(otherwise))
    part = loose_parts(faces, len(otherwise))
    share, size = np.bincount(part, known) / np.bincount(part), np.bincount(part)
    glimpsed = ((share < GLIMPSE) & (size < size.max()))[part]
    smooth = extend(means, known & ~glimpsed, faces, otherwise)
    weights = np.where(glimpsed[faces[texels.triangle, 0]], 0, weights)
    below = maps.interpolate(smooth, faces, texels.triangle, texels.barycentrics)
    share = (weights / (weights + SURE))[:, None]
    picture = np.zeros((texels.size**2, 3))
    picture[texels.index] = share * colours + (1 - share) * below
    return with_gutter(picture.reshape(texels.size, texels.size, 3), texels)


def vertex_means(
    colours: Float[np.ndarray, "texels 3"],
    weights: Float[np.ndarray, " texels"],
    texels: Texels,
    faces: Int[np.ndarray, "triangles 3"],
    count: int,
) -> tuple[Float[np.ndarray, "vertices 3"], Bool[np.ndarray, " vertices"]]:
    """Mean colour of the texels round every vertex, and whether enough of it was seen to say so."""
    corners = faces[texels.triangle].ravel()
    share = (texels.barycentrics * weights[:, None]).ravel()
    total = np.bincount(corners, share, count)
    area = np.bincount(corners, texels.barycentrics.ravel(), count)
    repeated = np.repeat(colours, 3, axis=0)
    sums = np.stack([np.bincount(corners, share * repeated[:, k], count) for k in range(3)], axis=-1)
    return sums / np.maximum(total, 1e-12)[:, None], total > SURE * np.maximum(area, 1e-12)


def extend(
    values: Float[np.ndarray, "vertices 3"],
    known: Bool[np.ndarray, " vertices"],
    faces: Int[np.ndarray, "triangles 3"],
    otherwise: Float[np.ndarray, "vertices 3"],
) -> Float[np.ndarray, "vertices 3"]:
    """Unknown vertices become the mean of their neighbours (a harmonic function on the mesh's edges)."""
    links, part = adjacency(faces, len(values)), loose_parts(faces, len(values))
    reached = np.isin(part, part[known])
    filled = np.where(known[:, None], values, otherwise)
    unknown = np.flatnonzero(reached & ~known)
    if len(unknown):
        matrix = (diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()[unknown]
        outer = np.flatnonzero(known)
        solved = splu(matrix[:, unknown].tocsc()).solve(-(matrix[:, outer] @ values[outer]))
        filled[unknown] = solved
    return filled


def with_gutter(picture: Float[np.ndarray, "size size 3"], texels: Texels) -> Float[np.ndarray, "size size 3"]:
    """Texels beside the surface repeat the nearest one on it, so that filtering draws in no black; further out the map
    has its mean colour."""
    covered = np.zeros(picture.shape[:2], dtype=bool)
    covered.ravel()[texels.index] = True
    if covered.all() or not covered.any():
        return picture
    distance, nearest = distance_transform_edt(~covered, return_indices=True)
    near = (distance <= max(2.0, GUTTER * texels.size))[..., None]
    return np.where(near, picture[tuple(nearest)], picture[covered].mean(axis=0))
