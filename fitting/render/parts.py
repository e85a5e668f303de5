"""Which vertices of a mesh hang together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components


def loose_parts(faces: Int[np.ndarray, "triangles 3"], count: int) -> Int[np.ndarray, " vertices"]:
    """The number of the connected part that each vertex belongs to."""
    return connected_components(adjacency(faces, count), directed=False)[1].astype(np.int64)


def adjacency(faces: Int[np.ndarray, "triangles 3"], count: int) -> csr_matrix:
    """1 where two vertices share an edge."""
    first, second = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    links.data[:] = 1
    return links
