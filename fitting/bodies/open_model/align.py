"""The sampled heads freed of position, rotation and uniform size (similarity Procrustes), and mirror images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.source import TRAINING, HeadSource

MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class AlignedSamples:
    """Adult heads without position, rotation and size. N samples, V vertices."""

    vertices: Float[np.ndarray, "samples vertices 3"]
    """Float32 metres about the mean."""
    joints: Float[np.ndarray, "samples joints 3"]
    """About the mean."""
    mean_vertices: Float[np.ndarray, "vertices 3"]
    """Symmetric, metres."""
    mean_joints: Float[np.ndarray, "joints 3"]
    """Symmetric, metres."""
    relative_size: Float[np.ndarray, " samples"]
    """Size of each head over the mean size."""


def mirrored(
    points: Float[np.ndarray, "*batch vertices 3"], table: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "*batch vertices 3"]:
    """Points or displacements (...,V,3) of the head seen in a mirror."""
    return points[..., table, :] * MIRROR.astype(points.dtype)


def aligned_training_heads(source: HeadSource) -> tuple[AlignedSamples, Float[np.ndarray, " vertices"]]:
    """Training heads freed of position, rotation and size; and the weights (V,) of their components.

    Size is the face's: landmarks see only the face, so a direction that enlarged it would be mistaken for depth.
    """
    vertices, joints = rest_samples(source, slice(0, TRAINING))
    area = vertex_areas(vertices.mean(axis=0), source.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
    masks = source.mask_columns()
    on_head = source.segment == "head"
    face = on_head & (masks["face"] > 0.5) & (masks["ears"] < 0.5)
    face = face | face[source.mirror]
    area = 0.5 * (area + area[source.mirror])
    # Half by area, half by vertex: whichever way the face is measured, its size stays within 0.3 % per direction.
    size_weight = face * (area / area[face].mean() + 1)
    aligned = without_size(align(vertices, joints, source.mirror, size_weight), size_weight)
    eyeball = np.char.endswith(source.group, "eyeball")
    importance = area * np.select([face, on_head, eyeball], [1.0, 0.35, 0.5], 0.1)
    return aligned, importance


def rest_samples(
    source: HeadSource, rows: slice
) -> tuple[Float[np.ndarray, "samples vertices 3"], Float[np.ndarray, "samples 5 3"]]:
    """Rest vertices (N,V,3) float32 and joints (N,5,3) of the sampled adults, in the source's frame."""
    coefficients = source.coefficients[rows]
    flat = coefficients @ source.shapes.reshape(len(source.shapes), -1)
    vertices = flat.reshape(len(flat), -1, 3) + source.template.astype(np.float32)
    joints = source.joint_template + np.einsum("nk,kji->nji", coefficients.astype(float), source.joint_shapes)
    return vertices, joints


def align(
    vertices: Float[np.ndarray, "samples vertices 3"],
    joints: Float[np.ndarray, "samples 5 3"],
    table: Int[np.ndarray, " vertices"],
    weight: Float[np.ndarray, " vertices"],
    rounds: int = 4,
) -> AlignedSamples:
    """Removes position, rotation and uniform size by Procrustes over the weighted vertices."""
    used = np.flatnonzero(weight)
    w = (weight[used] / weight[used].sum())[:, None]
    points = vertices[:, used].astype(float)
    centres = (points * w).sum(axis=1, keepdims=True)
    points -= centres
    sizes = np.sqrt((points**2 * w).sum(axis=(1, 2)))
    target = _symmetric_mean(points / sizes[:, None, None], used, table)
    for _ in range(rounds):
        rotations = _rotations_onto(points, target, w)
        target = _symmetric_mean(points @ rotations / sizes[:, None, None], used, table)
        target /= np.sqrt((target**2 * w).sum())
    factor = (sizes.mean() / sizes)[:, None, None]
    turned = ((vertices - centres.astype(np.float32)) @ rotations.astype(np.float32)) * factor.astype(np.float32)
    turned_joints = ((joints - centres) @ rotations) * factor
    mean = turned.mean(axis=0, dtype=float)
    mean_joints = turned_joints.mean(axis=0)
    mean = 0.5 * (mean + mirrored(mean, table))
    mean_joints = 0.5 * (mean_joints + mean_joints[[0, 1, 2, 4, 3]] * MIRROR)
    return AlignedSamples(
        turned - mean.astype(np.float32), turned_joints - mean_joints, mean, mean_joints, sizes / sizes.mean()
    )


def _symmetric_mean(
    points: Float[np.ndarray, "samples used 3"], used: Int[np.ndarray, " used"], table: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "used 3"]:
    mean = points.mean(axis=0)
    position = np.searchsorted(used, table[used])
    return 0.5 * (mean + mean[position] * MIRROR)


def _rotations_onto(
    points: Float[np.ndarray, "samples used 3"],
    target: Float[np.ndarray, "used 3"],
    weight: Float[np.ndarray, "used 1"],
) -> Float[np.ndarray, "samples 3 3"]:
    """R such that points @ R is nearest to the target."""
    u, _, vt = np.linalg.svd(np.einsum("nvi,vj->nij", points, target * weight))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return u @ vt


def without_size(samples: AlignedSamples, weight: Float[np.ndarray, " vertices"]) -> AlignedSamples:
    """Takes uniform scale out of the residuals, to first order, so that no linear direction changes the size."""
    w = (weight / weight.sum())[:, None]
    centre = (samples.mean_vertices * w).sum(axis=0)
    centred = samples.mean_vertices - centre
    amount = np.einsum("nvi,vi->n", samples.vertices, (centred * w).astype(np.float32)) / (centred**2 * w).sum()
    vertices = samples.vertices - amount[:, None, None].astype(np.float32) * centred.astype(np.float32)
    joints = samples.joints - amount[:, None, None] * (samples.mean_joints - centre)
    return replace(samples, vertices=vertices, joints=joints)


def vertex_areas(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, " vertices"]:
    """Square metres: a third of the area of the triangles round each vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), minlength=len(vertices))
