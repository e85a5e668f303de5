"""The open body before any keypoints: mean, directions of shape and expression, joints, skinning, parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.align import MIRROR, AlignedSamples, mirrored, vertex_areas
from fitting.bodies.open_model.basis import IdentityBasis, identity_basis
from fitting.bodies.open_model.body_skeleton import (
    joint_mirror,
    place_joints,
    t_pose_rotations,
    unskinned,
    with_pelvis,
)
from fitting.bodies.open_model.expressions import Expressions, expression_directions
from fitting.bodies.open_model.geometry import lip_closure, on_mesh
from fitting.bodies.open_model.mesh import PART_NAMES, HeadMesh, build_mesh, face_region, vertex_parts
from fitting.bodies.open_model.paint import brow_cover
from fitting.bodies.open_model.source import HeadSource
from fitting.bodies.smpl_joints import SMPLX_JOINTS

EYES = tuple(SMPLX_JOINTS.index(f"{side}_eye_smplhf") for side in ("left", "right"))
FACE_IMPORTANCE, HAND_IMPORTANCE = 6.0, 3.0
"""How much more a square metre of face or hand counts than one of the trunk when shape directions are chosen."""


@dataclass(frozen=True)
class BodyGeometry:
    """The body without keypoints. V vertices, S shape and E expression directions."""

    mesh: HeadMesh
    template: Float[np.ndarray, "vertices 3"]
    """Metres, T-pose, the pelvis joint at the origin."""
    shape: Float[np.ndarray, "vertices 3 components"]
    """Metres per standard deviation."""
    expressions: Expressions
    joints: Float[np.ndarray, "55 3"]
    joint_shape: Float[np.ndarray, "55 3 components"]
    weights: Float[np.ndarray, "vertices 55"]
    part: Int[np.ndarray, " vertices"]
    face: Int[np.ndarray, " face"]
    explained: Float[np.ndarray, " components"]
    source_mean: Float[np.ndarray, "source 3"]
    """The template on the source's vertices, with MakeHuman's own eyeballs."""


def make_body_geometry(source: HeadSource, training: int, components: int) -> BodyGeometry:
    """Mean body, shape directions and skinning on the final mesh."""
    samples = centred(*t_posed_samples(source, slice(0, training)), source.mirror)
    basis = identity_basis(
        samples, source.mirror, importance(source, samples.mean_vertices), components, joint_mirror()
    )
    return assemble(source, samples, basis)


def assemble(source: HeadSource, samples: AlignedSamples, basis: IdentityBasis) -> BodyGeometry:
    mesh = build_mesh(source, samples.mean_vertices)
    template, shape = on_mesh(source, mesh, samples.mean_vertices, basis.directions)
    template = template + lip_closure(mesh, template)
    joints, joint_shape = samples.mean_joints.copy(), basis.joint_directions.copy()
    for joint, ids in zip(EYES, (mesh.left_equator, mesh.right_equator), strict=True):
        joints[joint], joint_shape[joint] = template[ids].mean(axis=0), shape[ids].mean(axis=0)
    face = face_region(source, mesh)
    brows = brow_cover(mesh, template - joints[list(EYES)].mean(axis=0), face)
    part = vertex_parts(source, mesh, template, np.flatnonzero(brows > 0.5))
    part[: len(mesh.kept)][source.segment[mesh.kept] == "body"] = PART_NAMES.index("skin")
    return BodyGeometry(
        mesh=mesh,
        template=template,
        shape=shape,
        expressions=expression_directions(source, mesh, template),
        joints=joints,
        joint_shape=joint_shape,
        weights=body_weights(source, mesh),
        part=part,
        face=face,
        explained=basis.explained,
        source_mean=samples.mean_vertices,
    )


def t_posed_samples(
    source: HeadSource, rows: slice
) -> tuple[Float[np.ndarray, "samples vertices 3"], Float[np.ndarray, "samples 55 3"]]:
    """Sampled adults in the T-pose, float32, and their joints; the pelvis is the origin."""
    coefficients = source.coefficients[rows]
    joints = source.joint_template + np.einsum("nk,kji->nji", coefficients.astype(float), source.joint_shapes)
    joints = with_pelvis(joints)
    turns = t_pose_rotations(joints)
    placed = place_joints(joints, turns)
    vertices = np.empty((len(coefficients), len(source.template), 3), dtype=np.float32)
    shapes = source.shapes.reshape(len(source.shapes), -1)
    for k, one in enumerate(coefficients):
        rest = source.template + (one @ shapes).reshape(-1, 3)
        vertices[k] = unskinned(rest, source.weights, joints[k], turns[k], placed[k])
    return vertices, placed


def centred(vertices: np.ndarray, joints: np.ndarray, table: Int[np.ndarray, " vertices"]) -> AlignedSamples:
    """About their symmetric mean. Size stays: a tall person is tall."""
    mean, mean_joints = vertices.mean(axis=0, dtype=float), joints.mean(axis=0)
    mean = 0.5 * (mean + mirrored(mean, table))
    mean_joints = 0.5 * (mean_joints + mean_joints[joint_mirror()] * MIRROR)
    return AlignedSamples(
        vertices - mean.astype(np.float32), joints - mean_joints, mean, mean_joints, np.ones(len(vertices))
    )


def importance(source: HeadSource, mean: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, " vertices"]:
    """Weights (V,) of the shape components: area, faces and hands more."""
    area = vertex_areas(mean, source.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
    masks = source.mask_columns()
    hands = [k for k, name in enumerate(SMPLX_JOINTS) if k > max(EYES) or name.endswith("wrist")]
    factor = np.ones(len(area))
    factor[source.weights[:, hands].sum(axis=1) > 0.5] = HAND_IMPORTANCE
    factor[(masks["face"] > 0.5) & (masks["ears"] < 0.5) & (source.segment == "head")] = FACE_IMPORTANCE
    inside = np.isin(source.group, ["tongue", "upper_teeth", "lower_teeth"]) | (source.segment == "mouth_cavity")
    factor[inside] = 0.1
    weight = factor * area
    return 0.5 * (weight + weight[source.mirror])


def body_weights(source: HeadSource, mesh: HeadMesh) -> Float[np.ndarray, "vertices 55"]:
    """Symmetric skinning weights; eyeballs turn with their own joint alone."""
    weights = np.zeros((mesh.vertex_count, len(SMPLX_JOINTS)))
    weights[: len(mesh.kept)] = source.weights[mesh.kept]
    for joint, ids in zip(EYES, (mesh.left_eyeball, mesh.right_eyeball), strict=True):
        weights[ids, joint] = 1
    return 0.5 * (weights + weights[mesh.mirror][:, joint_mirror()])
