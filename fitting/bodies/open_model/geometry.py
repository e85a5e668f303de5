"""The open head before any landmarks: mean, directions of shape and expression, joints, skinning, parts and paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.align import MIRROR, aligned_training_heads, mirrored
from fitting.bodies.open_model.basis import identity_basis, joint_regressor
from fitting.bodies.open_model.expressions import Expressions, expression_directions
from fitting.bodies.open_model.eyes import fit_sphere, follow_directions
from fitting.bodies.open_model.mesh import PART_NAMES, HeadMesh, build_mesh, face_region, vertex_parts
from fitting.bodies.open_model.paint import brow_cover, lash_cover, openness
from fitting.bodies.open_model.source import HeadSource
from fitting.render import vertex_normals

COMPONENTS = 100


@dataclass(frozen=True)
class Geometry:
    """The head without landmarks. V vertices, S identity and E expression directions."""

    mesh: HeadMesh
    template: Float[np.ndarray, "vertices 3"]
    """Metres."""
    identity: Float[np.ndarray, "vertices 3 components"]
    """Metres per standard deviation."""
    expressions: Expressions
    joints: Float[np.ndarray, "5 3"]
    joint_identity: Float[np.ndarray, "5 3 components"]
    weights: Float[np.ndarray, "vertices 5"]
    part: Int[np.ndarray, " vertices"]
    face: Int[np.ndarray, " face"]
    paint: dict[str, np.ndarray]
    """(V,) 0..1 each: brow_cover, lash_cover, openness."""
    size_sd: float
    explained: Float[np.ndarray, " components"]


def make_geometry(source: HeadSource) -> Geometry:
    """Mean head, shape directions and skinning on the final mesh."""
    samples, importance = aligned_training_heads(source)
    components = identity_basis(samples, source.mirror, importance, COMPONENTS, np.array([0, 1, 2, 4, 3]))
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


def on_mesh(
    source: HeadSource,
    mesh: HeadMesh,
    mean: Float[np.ndarray, "source 3"],
    directions: Float[np.ndarray, "source 3 components"],
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 3 components"]]:
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
    template: Float[np.ndarray, "vertices 3"],
    identity: Float[np.ndarray, "vertices 3 components"],
    mirror: Int[np.ndarray, " vertices"],
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 3 components"]]:
    """Removes what rounding left of asymmetry: each direction is either symmetric or antisymmetric."""
    flipped = identity[mirror] * MIRROR[:, None]
    sign = np.where(np.einsum("vik,vik->k", identity, flipped) < 0, -1.0, 1.0)
    return 0.5 * (template + mirrored(template, mirror)), 0.5 * (identity + sign * flipped)


def lip_closure(mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """What brings the lips of the mean head together near the corners, where they stand 0.7 mm apart."""
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


def vertex_paint(
    mesh: HeadMesh,
    template: Float[np.ndarray, "vertices 3"],
    cover: Float[np.ndarray, " vertices"],
    part: Int[np.ndarray, " vertices"],
) -> dict[str, np.ndarray]:
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


def with_eye_centres(
    mesh: HeadMesh,
    template: Float[np.ndarray, "vertices 3"],
    identity: Float[np.ndarray, "vertices 3 components"],
    joints: Float[np.ndarray, "5 3"],
    joint_identity: Float[np.ndarray, "5 3 components"],
) -> tuple[Float[np.ndarray, "5 3"], Float[np.ndarray, "5 3 components"]]:
    """Puts the eye joints into the centres of the spheres, where a turning eye stays in its socket."""
    joints, joint_identity = joints.copy(), joint_identity.copy()
    for joint, ids in ((3, mesh.left_equator), (4, mesh.right_equator)):
        joints[joint] = template[ids].mean(axis=0)
        joint_identity[joint] = identity[ids].mean(axis=0)
    return joints, joint_identity


def on_mesh_weights(source: HeadSource, mesh: HeadMesh) -> Float[np.ndarray, "vertices 5"]:
    """Symmetric skinning weights; eyeballs turn with their own joint alone."""
    weights = np.zeros((mesh.vertex_count, 5))
    weights[: len(mesh.kept)] = source.weights[mesh.kept]
    weights[mesh.left_eyeball, 3] = 1
    weights[mesh.right_eyeball, 4] = 1
    return 0.5 * (weights + weights[mesh.mirror][:, [0, 1, 2, 4, 3]])


def regressor(
    geometry: Geometry, shapedirs: Float[np.ndarray, "vertices 3 directions"]
) -> Float[np.ndarray, "5 vertices"]:
    """(5,V): root, neck and jaw from the skin by linear constraints, the eyes as the mean of their equators."""
    mesh = geometry.mesh
    skin = np.zeros(mesh.vertex_count, dtype=bool)
    skin[: len(mesh.kept)] = True
    found = joint_regressor(
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


def outer_eye_vertices(mesh: HeadMesh) -> Int[np.ndarray, " 2"]:
    """The outer corners of the right and of the left eye, on the ring of the lid margins."""
    return np.array([mesh.right_eye.out(2)[0], mesh.left_eye.out(2)[mesh.left_eye.left_corner]])
