"""Where the head of MakeHuman's base mesh ends, and what its vertices belong to."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

# Vertex ranges of the base mesh hm08 (basemesh_vertex_groups.json): first and last.
BASE_RANGES = {
    "tongue": (13380, 13605),
    "left_eyeball": (14598, 14669),
    "right_eyeball": (14670, 14741),
    "lower_teeth": (14992, 15059),
    "upper_teeth": (15060, 15127),
}
NECK_RINGS = 3
"""Rings of quads kept below the head of MakeHuman's own segmentation."""


def head_vertices(
    quads: Int[np.ndarray, "quads 4"], segments: Shaped[np.ndarray, " segmented"]
) -> tuple[Int[np.ndarray, " kept"], Bool[np.ndarray, " quads"]]:
    """Kept base vertices (V,) and kept quads (bool). The mask is symmetric because segment and ring growth are."""
    inside = np.zeros(len(quads), dtype=bool)
    inside[: len(segments)] = np.isin(segments, ["head", "eye_cavity.L", "eye_cavity.R", "mouth_cavity"])
    is_body = (quads < BASE_RANGES["tongue"][0]).all(axis=1)
    for _ in range(NECK_RINGS):
        inside = is_body & np.isin(quads, quads[inside]).any(axis=1)
    for first, last in BASE_RANGES.values():
        inside |= ((quads >= first) & (quads <= last)).all(axis=1)
    return np.unique(quads[inside]), inside


def vertex_segments(
    quads: Int[np.ndarray, "quads 4"], segments: Shaped[np.ndarray, " segmented"], vertices: int
) -> Shaped[np.ndarray, " vertices"]:
    """Segment of each base vertex: any cavity wins over head, head over body."""
    result = np.full(vertices, "", dtype="U16")
    for name in ("body", "head", "eye_cavity.L", "eye_cavity.R", "mouth_cavity"):
        result[np.unique(quads[: len(segments)][segments == name])] = name
    head = np.unique(quads[: len(segments)][segments == "head"])
    cavity_rim = np.isin(result[head], ["eye_cavity.L", "eye_cavity.R", "mouth_cavity"])
    result[head[cavity_rim]] = "head"
    return result


def vertex_groups(keep: Int[np.ndarray, " kept"]) -> Shaped[np.ndarray, " kept"]:
    """Skin, or the range of the base mesh that each kept vertex is in."""
    groups = np.full(len(keep), "skin", dtype="U16")
    for name, (first, last) in BASE_RANGES.items():
        groups[(keep >= first) & (keep <= last)] = name
    return groups


def used_uvs(
    uvs: Float[np.ndarray, "uvs 2"], quad_uvs: Int[np.ndarray, "quads 4"]
) -> tuple[Float[np.ndarray, "used 2"], Int[np.ndarray, "quads 4"]]:
    """The texture coordinates that quads use, and the indices into them."""
    used, compact = np.unique(quad_uvs, return_inverse=True)
    return uvs[used], compact.reshape(quad_uvs.shape)
