"""How deep vertices lie inside other parts: found without gradient, from which the depth is differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from fitting.contact.masks import Mask
from fitting.contact.near import boxes_of_pairs, in_any, near_other_parts, part_boxes
from fitting.contact.nearest import nearest_places
from fitting.contact.pairs import pairs_between
from fitting.types import Surface

REACH = 0.05  # metres: how far from the boxes round all that crosses something may be buried
DEEPEST = 0.1  # metres between a buried vertex and the skin over it
NEAREST = 16  # triangles by their middles, among which the nearest one is looked for


@dataclass(frozen=True)
class Buried:
    """Vertices inside another part, in order, and the places on that part's skin nearest to them."""

    vertex: Int[Tensor, " buried"]
    face: Int[Tensor, " buried"]
    weights: Float[Tensor, "buried 3"]  # of the face's corners


@dataclass(frozen=True)
class Ways:
    """Vertices, and the nearest places to them on some faces."""

    vertex: Int[Tensor, " vertices"]
    face: Int[Tensor, " vertices"]
    weights: Float[Tensor, "vertices 3"]
    distance: Float[Tensor, " vertices"]

    def at(self, rows: Tensor) -> Ways:
        return Ways(self.vertex[rows], self.face[rows], self.weights[rows], self.distance[rows])


def find_buried(points: Float[Tensor, "vertices 3"], mask: Mask, quick: bool = True) -> Buried:
    """Of one body. Nothing is buried where no triangles cross. A vertex is inside where the skin nearest to it, of all
    parts that its own part is compared with, faces away from it. `quick` as in `crossing_pairs`."""
    points, surface = points.detach(), mask.surface
    around = part_boxes(points.float(), surface)
    pairs = pairs_between(points.float(), around, mask, quick)
    if len(pairs) == 0:
        return Buried(pairs[:, 0], pairs[:, 0], points.new_zeros(0, 3))
    boxes = boxes_of_pairs(pairs, points, surface, REACH)
    middles = middles_of(points, surface)
    vertices = near_other_parts((points, points), surface.vertex_parts, around, mask)
    vertices = vertices[in_any(points[vertices], boxes)]
    found = nearest_skin(points, middles, vertices, in_any(middles, boxes), mask)
    found = found.at(is_inside(points, found, mask))
    order = found.vertex.argsort()
    return Buried(found.vertex[order], found.face[order], found.weights[order])


def middles_of(points: Float[Tensor, "vertices 3"], surface: Surface) -> Float[Tensor, "faces 3"]:
    a, b, c = surface.faces.unbind(dim=1)
    return (points[a] + points[b] + points[c]) / 3


def nearest_skin(points: Tensor, middles: Tensor, vertices: Tensor, faces: Tensor, mask: Mask) -> Ways:
    """Of the given faces, those of parts that a vertex's own part is compared with; without vertices that have none."""
    vertex, face = candidates(points, middles, vertices, faces, mask)
    weights, distance = nearest_places(points[vertex], points[mask.surface.faces[face]])
    best = distance.argmin(dim=1, keepdim=True)
    weights = weights.gather(1, best[..., None].expand(-1, -1, 3))[:, 0]
    return Ways(vertex[:, 0], face.gather(1, best)[:, 0], weights, distance.gather(1, best)[:, 0])


def candidates(
    points: Tensor, middles: Tensor, vertices: Tensor, faces: Tensor, mask: Mask
) -> tuple[Int[Tensor, "vertices 1"], Int[Tensor, "vertices nearest"]]:
    """For every vertex some faces of other parts that are near it; vertices whose part has none near are left out."""
    surface = mask.surface
    parts, parts_of_faces = surface.vertex_parts[vertices], surface.face_parts[faces]
    found = [(vertices[:0], faces.new_zeros(0, NEAREST))]
    for part in torch.unique(parts).tolist():
        offered, some = faces[mask.parts[part][parts_of_faces]], vertices[parts == part]
        lower, upper = points[some].amin(dim=0) - DEEPEST, points[some].amax(dim=0) + DEEPEST
        offered = offered[((middles[offered] > lower) & (middles[offered] < upper)).all(dim=1)]
        if len(offered):
            # A tree for few questions: quick to make, not quick to ask.
            tree = cKDTree(middles[offered].cpu().numpy(), leafsize=32, compact_nodes=False, balanced_tree=False)
            _, place = tree.query(points[some].cpu().numpy(), k=range(1, NEAREST + 1))
            place = (
                torch.as_tensor(place).to(offered).clamp(max=len(offered) - 1)
            )  # beyond the last where there are fewer
            found.append((some, offered[place]))
    return torch.cat([some for some, _ in found])[:, None], torch.cat([near for _, near in found])


def is_inside(points: Tensor, found: Ways, mask: Mask) -> Bool[Tensor, " vertices"]:
    """By the skin's smooth normal at the nearest place; never where that place lies on the edge of what is compared, or
    the two are neighbours on the resting skin."""
    surface, vertex, weights = mask.surface, found.vertex, found.weights
    corners = surface.faces[found.face]
    used, where = torch.unique(corners, return_inverse=True)
    place, normal, rest = (
        (table * weights[..., None].to(table)).sum(dim=1)
        for table in (points[corners], vertex_normals(points, surface.faces, used)[where], surface.rest[corners])
    )
    behind = ((points[vertex] - place) * normal).sum(dim=1) < 0
    on_edge = (mask.on_edge(surface.vertex_parts[vertex], corners) | (weights == 0)).all(dim=1)
    return behind & ~on_edge & mask.far(surface.rest[vertex], rest)


def vertex_normals(
    points: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], wanted: Int[Tensor, " wanted"]
) -> Float[Tensor, "wanted 3"]:
    """Unit normals of some vertices, faces weighted by area."""
    number = torch.full((len(points),), -1, device=points.device)
    number[wanted] = torch.arange(len(wanted), device=points.device)
    at = number[faces]
    faces, at = (table[(at >= 0).any(dim=1)] for table in (faces, at))
    a, b, c = points[faces].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a).repeat_interleave(3, dim=0)
    known = at.flatten() >= 0
    summed = points.new_zeros(len(wanted), 3).index_add_(0, at.flatten()[known], normal[known])
    return torch.nn.functional.normalize(summed, dim=1)
