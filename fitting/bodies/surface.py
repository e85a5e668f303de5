"""A body's skin as contact sees it: triangles by part, what hangs together with what, and where it is at rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.bodies.levers import subtree
from fitting.bodies.skinning import Skeleton
from fitting.types import Surface


def make_surface(
    faces: Int[Tensor, "faces 3"],
    skinning: Float[Tensor, "vertices joints"],
    skeleton: Skeleton,
    names: tuple[str, ...],
    turned_by: Mapping[str, slice],
    rest: Float[Tensor, "vertices 3"],
) -> Surface:
    """A face belongs to the joint that carries most of it, a vertex to the joint that carries most of that."""
    face_parts = skinning[faces].sum(dim=1).argmax(dim=1)
    parents = skeleton.parents
    touched = torch.zeros(skinning.shape, dtype=torch.bool, device=faces.device)
    touched[faces.flatten(), face_parts.repeat_interleave(3)] = True
    return Surface(
        faces=faces,
        face_parts=face_parts,
        vertex_parts=skinning.argmax(dim=1),
        touched=touched,
        hanging=skinning @ subtree(parents).to(skinning).mT,
        parents=parents,
        turned_by=turned_by,
        part_names=names,
        apart=tree_distance(parents).to(faces.device),
        rest=rest,
        rest_joints=skeleton.template,
        areas=vertex_areas(faces, rest),
    )


def tree_distance(parents: tuple[int, ...]) -> Int[Tensor, "joints joints"]:
    """Bones between two joints of a skeleton; a parent stands before its children."""
    distance = torch.zeros(len(parents), len(parents), dtype=torch.long)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            distance[joint, :joint] = distance[parent, :joint] + 1
            distance[:joint, joint] = distance[joint, :joint]
    return distance


def vertex_areas(faces: Int[Tensor, "faces 3"], points: Float[Tensor, "vertices 3"]) -> Float[Tensor, " vertices"]:
    """A third of every triangle to each of its corners, square metres."""
    a, b, c = points[faces].unbind(dim=1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6
    return points.new_zeros(len(points)).index_add(0, faces.flatten(), area.repeat_interleave(3))
