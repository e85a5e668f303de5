"""Colours for the part of a surface that no picture shows: a smooth continuation of what is seen, over the mesh.

Over the mesh and not over the map: neighbours on the surface may lie far apart in texture coordinates.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from fitting.render import maps
from fitting.render.texture import Texels

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
    smooth = extend(*vertex_means(colours, weights, texels, faces, len(otherwise)), faces, otherwise)
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
    links = adjacency(faces, len(values))
    _, part = connected_components(links, directed=False)
    reached = np.isin(part, part[known])
    filled = np.where(known[:, None], values, otherwise)
    unknown = np.flatnonzero(reached & ~known)
    if len(unknown):
        matrix = (diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()[unknown]
        outer = np.flatnonzero(known)
        solved = splu(matrix[:, unknown].tocsc()).solve(-(matrix[:, outer] @ values[outer]))
        filled[unknown] = solved
    return filled


def adjacency(faces: Int[np.ndarray, "triangles 3"], count: int) -> csr_matrix:
    """1 where two vertices share an edge."""
    first, second = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    links.data[:] = 1
    return links


def with_gutter(picture: Float[np.ndarray, "size size 3"], texels: Texels) -> Float[np.ndarray, "size size 3"]:
    """Texels beside the surface repeat the nearest one on it, so that filtering draws in no black."""
    covered = np.zeros(picture.shape[:2], dtype=bool)
    covered.ravel()[texels.index] = True
    if covered.all() or not covered.any():
        return picture
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return picture[tuple(nearest)]
