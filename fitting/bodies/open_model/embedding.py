"""Finds where a detector's landmarks sit on a mesh, from renders.

For every landmark the surface sample is chosen whose projections explain its detections best in all views: smallest
mean 2D distance, capped so that a failed detection does not pull. Nothing is cast back onto the mesh, so contour points
and points that turn away are placed too. Mirrored landmarks are solved together, those of the midline on the midline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

CAP = 0.15
"""Distances count no more than this many eye distances."""
REFINED_TRIANGLES, STEPS = 24, 12
"""The best triangles by their centres are searched again, on a grid of so many steps."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in N views of a mesh of V vertices. P landmarks."""

    vertices: Float[np.ndarray, "views vertices 2"]
    """Float32 projected vertices, in eye distances."""
    depths: Float[np.ndarray, "views vertices"]
    """Float32 1 / depth, for perspective-correct interpolation."""
    points: Float[np.ndarray, "views landmarks 2"]
    """Float32 detections, in eye distances."""


@dataclass(frozen=True)
class Placement:
    """Surface points: corner vertex ids (P,3) and their barycentric weights (P,3)."""

    vertices: Int[np.ndarray, "*points 3"]
    weights: Float[np.ndarray, "*points 3"]

    def __getitem__(self, rows: np.ndarray | slice) -> Placement:
        return Placement(self.vertices[rows], self.weights[rows])


def joined(seen: Iterable[Detections]) -> Detections:
    """All views of several records in one."""
    seen = list(seen)
    return Detections(*(np.concatenate([getattr(part, field.name) for part in seen]) for field in fields(Detections)))


def projected(placement: Placement, detections: Detections) -> Float[np.ndarray, "views points 2"]:
    """Projections of surface points, in eye distances."""
    share = placement.weights.astype(np.float32) * detections.depths[:, placement.vertices]
    share /= share.sum(axis=-1, keepdims=True)
    return np.einsum("npk,npki->npi", share, detections.vertices[:, placement.vertices])


def sample_cost(
    samples: Placement, landmarks: Int[np.ndarray, " landmarks"], detections: Detections
) -> Float[np.ndarray, "landmarks samples"]:
    """Mean capped distance of each of C samples to the detections of each of L landmarks."""
    total = np.zeros((len(landmarks), len(samples.vertices)))
    for view in range(len(detections.points)):
        one = Detections(detections.vertices[view, None], detections.depths[view, None], detections.points[view, None])
        place = projected(samples, one)[0]
        target = one.points[0, landmarks]
        squared = (target[:, None, 0] - place[None, :, 0]) ** 2 + (target[:, None, 1] - place[None, :, 1]) ** 2
        total += np.minimum(np.sqrt(squared), CAP)
    return total / len(detections.points)


def mirrored_placement(placement: Placement, mirror: Int[np.ndarray, " vertices"]) -> Placement:
    return Placement(mirror[placement.vertices], placement.weights)


def place_pairs(
    pairs: Int[np.ndarray, "pairs 2"],
    faces: Int[np.ndarray, "triangles 3"],
    mirror: Int[np.ndarray, " vertices"],
    detections: Detections,
    allowed: Bool[np.ndarray, " triangles"],
) -> Placement:
    """(L,) placements of the left landmarks of pairs (L,2); their partners sit at the mirror images.

    `faces` (T,3), `allowed` (T,) marks triangles of the subject's left half that may carry these landmarks.
    """
    triangles = faces[allowed]
    coarse = Placement(triangles, np.full((len(triangles), 3), 1 / 3))
    cost = sample_cost(coarse, pairs[:, 0], detections)
    cost += sample_cost(mirrored_placement(coarse, mirror), pairs[:, 1], detections)
    chosen = [
        _refine(pair, triangles[np.argsort(row)[:REFINED_TRIANGLES]], mirror, detections)
        for pair, row in zip(pairs, cost, strict=True)
    ]
    return Placement(np.array([c[0] for c in chosen]), np.array([c[1] for c in chosen]))


def barycentric_grid(steps: int) -> Float[np.ndarray, "grid 3"]:
    """Evenly spread barycentric weights of a triangle, border included."""
    return np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps


def _refine(
    pair: Int[np.ndarray, " 2"],
    triangles: Int[np.ndarray, "triangles 3"],
    mirror: Int[np.ndarray, " vertices"],
    detections: Detections,
) -> tuple[Int[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    grid = barycentric_grid(STEPS)
    samples = Placement(np.repeat(triangles, len(grid), axis=0), np.tile(grid, (len(triangles), 1)))
    cost = sample_cost(samples, pair[:1], detections)[0]
    cost += sample_cost(mirrored_placement(samples, mirror), pair[1:], detections)[0]
    best = int(cost.argmin())
    return samples.vertices[best], samples.weights[best]


def place_midline(
    landmarks: Int[np.ndarray, " landmarks"], triangles: Int[np.ndarray, "edges 3"], detections: Detections
) -> Placement:
    """(L,) placements on the first edge of triangles (E,3) whose first two corners lie on the midline."""
    share = np.linspace(0, 1, 13)
    weights = np.tile(np.stack([1 - share, share, 0 * share], axis=1), (len(triangles), 1))
    samples = Placement(np.repeat(triangles, len(share), axis=0), weights)
    best = sample_cost(samples, landmarks, detections).argmin(axis=1)
    return samples[best]
