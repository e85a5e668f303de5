"""Where a crop shows skin, where the regions that matter for expression, and where something else: from the mesh."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float

from fitting.render import raycast
from fitting.training.crop import SIZE, Square
from fitting.types import Body

IMPORTANT = ("lids", "irises", "brows", "lips")
# Of the distance between the outer eye corners: what is so near to a landmark belongs to its region.
REACH, DEPTH = 0.12, 1.0
LAYOUTS = ("mediapipe478", "ibug68")


def important_vertices(body: Body) -> Bool[np.ndarray, " vertices"]:
    """Vertices of the eyes, brows and lips: those near a landmark of theirs on the mean body. None without any."""
    neutral = body.neutral(1, 1)
    with torch.no_grad():
        vertices = body.pose(neutral).points[0, 0].double().cpu().numpy()
        found = np.zeros(len(vertices), dtype=bool)
        name = next((layout for layout in LAYOUTS if layout in body.embeddings), None)
        if name is None:
            return found
        embedding = body.embeddings[name]
        points = body.restrict(embedding).pose(neutral).points[0, 0].double().cpu().numpy()
    reach = REACH * extent(body, name, points)
    groups = embedding.layout.groups
    for group in IMPORTANT:
        # Through the open lips one sees teeth, tongue and throat: what lies behind them counts as well.
        flat = np.array([1.0, 1.0, REACH / DEPTH if group == "lips" else 1.0])
        at = np.isin(embedding.points.cpu().numpy(), groups.get(group, ()))
        for point in points[: len(at)][at]:
            found |= np.linalg.norm((vertices - point) * flat, axis=1) < reach
    return found


def extent(body: Body, layout: str, points: np.ndarray) -> float:
    """Metres between the outer eye corners; a third of the face's height where they are not known."""
    index = {int(p): k for k, p in enumerate(body.embeddings[layout].points)}
    ends = [[index[i] for i in side if i in index] for side in body.embeddings[layout].layout.size_pair]
    if all(ends):
        return float(np.linalg.norm(points[ends[0]].mean(axis=0) - points[ends[1]].mean(axis=0)))
    return float(np.ptp(points[:, 1]) / 3)


def draw(
    vertices: Float[np.ndarray, "vertices 3"],
    body: Body,
    important: Bool[np.ndarray, " vertices"],
    K: Float[np.ndarray, "3 3"],
    square: Square,
) -> Float[np.ndarray, "3 height width"]:
    """Other, skin, important: one of the three is 1 in every pixel of the crop. `vertices` in the world."""
    faces = np.asarray(body.faces)
    hits = raycast(vertices * [1, -1, -1], faces, square.intrinsics(K), (SIZE, SIZE))
    share = (important[faces[hits.triangle]] * hits.barycentrics).sum(axis=-1)
    region = np.where(hits.mask, np.where(share > 0.5, 2, 1), 0)
    return np.stack([region == k for k in range(3)]).astype(np.float32)
