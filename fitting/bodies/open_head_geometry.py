"""The open head before any landmarks: mean, directions of shape and expression, joints, skinning, parts and paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.bodies import open_head_basis as basis
from fitting.bodies.open_head_expressions import Expressions, expression_directions
from fitting.bodies.open_head_eyes import fit_sphere, follow_directions
from fitting.bodies.open_head_mesh import PART_NAMES, HeadMesh, build_mesh, face_region, vertex_parts
from fitting.bodies.open_head_paint import brow_cover, lash_cover, openness
from fitting.bodies.open_head_render import vertex_normals
from fitting.bodies.open_head_source import HeadSource

TRAINING = 4000
"""The first sampled adults make the directions; the others are held out to measure them."""
COMPONENTS = 100


@dataclass(frozen=True)
class Geometry:
    """The head without landmarks. V vertices, S identity and E expression directions."""

    mesh: HeadMesh
    template: np.ndarray
    """(V,3) metres."""
    identity: np.ndarray
    """(V,3,S) metres per standard deviation."""
    expressions: Expressions
    joints: np.ndarray
    """(5,3)."""
    joint_identity: np.ndarray
    """(5,3,S)."""
    weights: np.ndarray
    """(V,5)."""
    part: np.ndarray
    face: np.ndarray
    paint: dict[str, np.ndarray]
    """(V,) 0..1 each: brow_cover, lash_cover, openness."""
    size_sd: float
    explained: np.ndarray


def make_geometry(source: HeadSource) -> Geometry:
    """Mean head, shape directions and skinning on the final mesh."""
    samples, importance = aligned_training_heads(source)
    components = basis.identity_basis(samples, source.mirror, importance, COMPONENTS)
    mesh = build_mesh(source, samples.mean_vertices)
    template, identity = on_mesh(source, mesh, samples.mean_vertices, components.directions)
    template = template + lip_closure(mesh, template)
    origin = 0.5 * (template[mesh.left_equator].mean(axis=0) + template[mesh.right_equator].mean(axis=0))
    joints, joint_identity = with_eye_centres(
        mesh, template, identity, samples.mean_joints, components.joint_directions
    )
    weights = on_mesh_weights(source, mesh)
    face = face_region(source, mesh)
    cover = brow_cover(mesh, template - origin, face)
    part = vertex_parts(source, mesh, template, np.flatnonzero(cover > 0.5))
    return Geometry(
        mesh=mesh,
        template=template - origin,
        identity=identity,
        expressions=expression_directions(source, mesh, template),
        joints=joints - origin,
        joint_identity=joint_identity,
        weights=weights,
        part=part,
        face=face,
        paint=vertex_paint(mesh, template - origin, cover, part),
        size_sd=float(samples.relative_size.std()),
        explained=components.explained,
    )


def aligned_training_heads(source: HeadSource) -> tuple[basis.AlignedSamples, np.ndarray]:
    """Training heads freed of position, rotation and size; and the weights (V,) of their components.

    Size is the face's: landmarks see only the face, so a direction that enlarged it would be mistaken for depth.
    """
    vertices, joints = basis.rest_samples(source, slice(0, TRAINING))
    area = basis.vertex_areas(vertices.mean(axis=0), source.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
    masks = source.mask_columns()
    on_head = source.segment == "head"
    face = on_head & (masks["face"] > 0.5) & (masks["ears"] < 0.5)
    face = face | face[source.mirror]
    area = 0.5 * (area + area[source.mirror])
    # Half by area, half by vertex: whichever way the face is measured, its size stays within 0.3 % per direction.
    size_weight = face * (area / area[face].mean() + 1)
    aligned = basis.without_size(basis.align(vertices, joints, source.mirror, size_weight), size_weight)
    eyeball = np.char.endswith(source.group, "eyeball")
    importance = area * np.select([face, on_head, eyeball], [1.0, 0.35, 0.5], 0.1)
    return aligned, importance


def on_mesh(
    source: HeadSource, mesh: HeadMesh, mean: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V,3) and directions (V,3,S) on the final mesh: kept vertices as they are, spheres for the eyeballs."""
    template = np.zeros((mesh.vertex_count, 3))
    identity = np.zeros((mesh.vertex_count, 3, directions.shape[2]))
    template[: len(mesh.kept)], identity[: len(mesh.kept)] = mean[mesh.kept], directions[mesh.kept]
    sides = zip(("left_eyeball", "right_eyeball"), mesh.spheres, (mesh.left_eyeball, mesh.right_eyeball), strict=True)
    for name, sphere, ids in sides:
        old = np.flatnonzero(source.group == name)
        centre, radius = fit_sphere(mean[old])
        moved, grown = follow_directions(mean[old], directions[old])
        template[ids] = centre + radius * sphere.directions
        identity[ids] = moved[None] + sphere.directions[:, :, None] * grown
    return symmetric_about_mirror(template, identity, mesh.mirror)


def symmetric_about_mirror(
    template: np.ndarray, identity: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Removes what rounding left of asymmetry: each direction is either symmetric or antisymmetric."""
    flipped = identity[mirror] * basis.MIRROR[:, None]
    sign = np.where(np.einsum("vik,vik->k", identity, flipped) < 0, -1.0, 1.0)
    return 0.5 * (template + basis.mirrored(template, mirror)), 0.5 * (identity + sign * flipped)


def lip_closure(mesh: HeadMesh, template: np.ndarray) -> np.ndarray:
    """(V,3) that brings the lips of the mean head together near the corners, where they stand 0.7 mm apart."""
    mouth, shift = mesh.mouth, np.zeros_like(template)
    contact = template[mouth.out(1)]
    upper, lower = contact[mouth.upper], contact[mouth.lower]
    for step in range(-3, 8):
        fade = np.exp(-(((step - 1) / (3.5 if step > 1 else 2.5)) ** 2))
        for columns, sign in ((mouth.upper, -1.0), (mouth.lower, 1.0)):
            ids = mouth.out(step)[columns]
            x = template[ids, 0]
            gap = np.interp(x, upper[:, 0], upper[:, 1]) - np.interp(x, lower[:, 0], lower[:, 1])
            shift[ids, 1] = 0.5 * sign * fade * np.maximum(gap + 0.1e-3, 0)
    return shift


def vertex_paint(mesh: HeadMesh, template: np.ndarray, cover: np.ndarray, part: np.ndarray) -> dict[str, np.ndarray]:
    normals = vertex_normals(template, mesh.triangles)
    free = openness(template, mesh.triangles, normals)
    for name, least in (("teeth", 0.85), ("tongue", 0.6), ("mouth_interior", 0.3)):
        inside = part == PART_NAMES.index(name)
        free[inside] = np.maximum(free[inside], least)  # measured with the mouth closed, seen with the mouth open
    return {
        "brow_cover": cover,
        "lash_cover": lash_cover(mesh),
        "openness": 0.5 * (free + free[mesh.mirror]),
    }


def with_eye_centres(mesh, template, identity, joints, joint_identity) -> tuple[np.ndarray, np.ndarray]:
    """Puts the eye joints into the centres of the spheres, where a turning eye stays in its socket."""
    joints, joint_identity = joints.copy(), joint_identity.copy()
    for joint, ids in ((3, mesh.left_equator), (4, mesh.right_equator)):
        joints[joint] = template[ids].mean(axis=0)
        joint_identity[joint] = identity[ids].mean(axis=0)
    return joints, joint_identity


def on_mesh_weights(source: HeadSource, mesh: HeadMesh) -> np.ndarray:
    """(V,5) symmetric skinning weights; eyeballs turn with their own joint alone."""
    weights = np.zeros((mesh.vertex_count, 5))
    weights[: len(mesh.kept)] = source.weights[mesh.kept]
    weights[mesh.left_eyeball, 3] = 1
    weights[mesh.right_eyeball, 4] = 1
    return 0.5 * (weights + weights[mesh.mirror][:, [0, 1, 2, 4, 3]])


def regressor(geometry: Geometry, shapedirs: np.ndarray) -> np.ndarray:
    """(5,V): root, neck and jaw from the skin by linear constraints, the eyes as the mean of their equators."""
    mesh = geometry.mesh
    skin = np.zeros(mesh.vertex_count, dtype=bool)
    skin[: len(mesh.kept)] = True
    found = basis.joint_regressor(
        geometry.template,
        geometry.joints[:3],
        shapedirs[:, :, :COMPONENTS],
        geometry.joint_identity[:3],
        shapedirs[:, :, COMPONENTS:],
        skin,
    )
    eyes = np.zeros((2, mesh.vertex_count))
    eyes[0, mesh.left_equator] = eyes[1, mesh.right_equator] = 1 / len(mesh.left_equator)
    return np.concatenate([found, eyes])


def outer_eye_vertices(mesh: HeadMesh) -> np.ndarray:
    """(2,) the outer corners of the right and of the left eye, on the ring of the lid margins."""
    return np.array([mesh.right_eye.out(2)[0], mesh.left_eye.out(2)[mesh.left_eye.left_corner]])
