"""How deep vertices lie inside other parts: found without gradient, from which the depth is differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from fitting.contact.masks import Mask
from fitting.contact.nearest import nearest_places
from fitting.contact.pairs import crossing_pairs, near_other_parts, part_boxes
from fitting.types import Surface

REACH = 0.05  # metres: how far from the boxes round all that crosses something may be buried
DEEPEST = 0.1  # metres between a buried vertex and the skin over it
NEAREST = 16  # triangles by their middles, among which the nearest one is looked for


@dataclass(frozen=True)
class Buried:
    """Vertices inside another part, and the places on that part's skin nearest to them."""

    vertex: Int[Tensor, " buried"]
    face: Int[Tensor, " buried"]
    weights: Float[Tensor, "buried 3"]  # of the face's corners


def find_buried(points: Float[Tensor, "vertices 3"], mask: Mask, quick: bool = True) -> Buried:
    """Of one body. Nothing is buried where no triangles cross. A vertex is inside where the skin nearest to it, of all
    parts that its own part is compared with, faces away from it. `quick` as in `crossing_pairs`."""
    points = points.detach()
    pairs = crossing_pairs(points, mask, quick)
    if len(pairs) == 0:
        return Buried(pairs[:, 0], pairs[:, 0], points.new_zeros(0, 3))
    surface = mask.surface
    middles = points[surface.faces].mean(dim=1)
    vertices = near_other_parts(points, points, surface.vertex_parts, part_boxes(points, surface), mask)
    vertices = vertices[near_crossings(points[vertices], pairs, points, surface)]
    faces = torch.nonzero(near_crossings(middles, pairs, points, surface))[:, 0]
    vertex, face = candidates(points, middles, vertices, faces, mask)
    weights, distance = nearest_places(points[vertex], points[surface.faces[face]])
    best = distance.argmin(dim=1, keepdim=True)
    face = face.gather(1, best)[:, 0]
    weights = weights.gather(1, best[..., None].expand(-1, -1, 3))[:, 0]
    inside = is_inside(points, vertex[:, 0], face, weights, mask)
    return Buried(vertex[inside, 0], face[inside], weights[inside])


def near_crossings(
    places: Float[Tensor, "places 3"], pairs: Int[Tensor, "pairs 2"], points: Tensor, surface: Surface
) -> Bool[Tensor, " places"]:
    """Places in or near the boxes round all that crosses, one box for every two parts."""
    parts = surface.face_parts[pairs].sort(dim=1).values
    kinds, kind = torch.unique(parts, dim=0, return_inverse=True)
    found = torch.zeros(len(places), dtype=torch.bool, device=places.device)
    for k in range(len(kinds)):
        corners = points[surface.faces[pairs[kind == k]]].flatten(0, 2)
        lower, upper = corners.amin(dim=0) - REACH, corners.amax(dim=0) + REACH
        found |= ((places > lower) & (places < upper)).all(dim=1)
    return found


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


def is_inside(points: Tensor, vertex: Tensor, face: Tensor, weights: Tensor, mask: Mask) -> Bool[Tensor, " vertices"]:
    """By the skin's smooth normal at the nearest place; never where that place lies on the edge of what is compared, or
    the two are neighbours on the resting skin."""
    surface = mask.surface
    corners = surface.faces[face]
    place, normal, rest = (
        (table[corners] * weights[..., None].to(table)).sum(dim=1)
        for table in (points, vertex_normals(points, surface.faces), surface.rest)
    )
    behind = ((points[vertex] - place) * normal).sum(dim=1) < 0
    on_edge = (mask.on_edge(surface.vertex_parts[vertex], corners) | (weights == 0)).all(dim=1)
    return behind & ~on_edge & mask.far(surface.rest[vertex], rest)


def vertex_normals(points: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, "vertices 3"]:
    """Unit normals, faces weighted by area."""
    a, b, c = points[faces].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    summed = torch.zeros_like(points).index_add_(0, faces.flatten(), normal.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(summed, dim=1)
