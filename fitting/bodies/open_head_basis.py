"""Linear shape and expression directions of the open head, and the regressor of its joints.

Identity: random adults are freed of position, rotation and uniform size (similarity Procrustes), split into their
mirror-symmetric and antisymmetric parts, and described by principal components scaled to one standard deviation.
Because the parts are analysed apart, every component is exactly symmetric or exactly antisymmetric.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fitting.bodies.open_head_source import HeadSource

MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class AlignedSamples:
    """Adult heads without position, rotation and size. N samples, V vertices."""

    vertices: np.ndarray
    """(N,V,3) float32 metres about the mean."""
    joints: np.ndarray
    """(N,5,3) about the mean."""
    mean_vertices: np.ndarray
    """(V,3) symmetric, metres."""
    mean_joints: np.ndarray
    """(5,3) symmetric, metres."""
    relative_size: np.ndarray
    """(N,) size of each head over the mean size."""


def mirrored(points: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Points or displacements (...,V,3) of the head seen in a mirror."""
    return points[..., table, :] * MIRROR.astype(points.dtype)


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,) square metres: a third of the area of the triangles round each vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), minlength=len(vertices))


def rest_samples(source: HeadSource, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Rest vertices (N,V,3) float32 and joints (N,5,3) of the sampled adults, in the source's frame."""
    coefficients = source.coefficients[rows]
    flat = coefficients @ source.shapes.reshape(len(source.shapes), -1)
    vertices = flat.reshape(len(flat), -1, 3) + source.template.astype(np.float32)
    joints = source.joint_template + np.einsum("nk,kji->nji", coefficients.astype(float), source.joint_shapes)
    return vertices, joints


def align(
    vertices: np.ndarray, joints: np.ndarray, table: np.ndarray, weight: np.ndarray, rounds: int = 4
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


def _symmetric_mean(points: np.ndarray, used: np.ndarray, table: np.ndarray) -> np.ndarray:
    mean = points.mean(axis=0)
    position = np.searchsorted(used, table[used])
    return 0.5 * (mean + mean[position] * MIRROR)


def _rotations_onto(points: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N,3,3) R such that points @ R is nearest to the target."""
    u, _, vt = np.linalg.svd(np.einsum("nvi,vj->nij", points, target * weight))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return u @ vt


def without_size(samples: AlignedSamples, weight: np.ndarray) -> AlignedSamples:
    """Takes uniform scale out of the residuals, to first order, so that no linear direction changes the size."""
    w = (weight / weight.sum())[:, None]
    centre = (samples.mean_vertices * w).sum(axis=0)
    centred = samples.mean_vertices - centre
    amount = np.einsum("nvi,vi->n", samples.vertices, (centred * w).astype(np.float32)) / (centred**2 * w).sum()
    vertices = samples.vertices - amount[:, None, None].astype(np.float32) * centred.astype(np.float32)
    joints = samples.joints - amount[:, None, None] * (samples.mean_joints - centre)
    return replace(samples, vertices=vertices, joints=joints)


@dataclass(frozen=True)
class IdentityBasis:
    """Principal components of identity at one standard deviation."""

    directions: np.ndarray
    """(V,3,S) metres per standard deviation."""
    joint_directions: np.ndarray
    """(5,3,S)."""
    explained: np.ndarray
    """(S,) share of the weighted variance each component explains."""


def identity_basis(samples: AlignedSamples, table: np.ndarray, weight: np.ndarray, components: int) -> IdentityBasis:
    """The strongest symmetric and antisymmetric components, sorted by the variance they explain."""
    flipped = mirrored(samples.vertices, table)
    flipped_joints = samples.joints[:, [0, 1, 2, 4, 3]] * MIRROR
    parts = []
    total = 0.0
    for sign in (1, -1):
        part = 0.5 * (samples.vertices + sign * flipped)
        joints = 0.5 * (samples.joints + sign * flipped_joints)
        variance, scores, all_variance = _components(part, weight, components)
        directions = np.tensordot(part, scores.astype(np.float32), axes=(0, 0)) / len(part)
        parts.append((variance, directions, np.tensordot(joints, scores, axes=(0, 0)) / len(part)))
        total += all_variance
    variance = np.concatenate([part[0] for part in parts])
    order = np.argsort(-variance)[:components]
    directions = np.concatenate([part[1] for part in parts], axis=2)[:, :, order]
    joint_directions = np.concatenate([part[2] for part in parts], axis=2)[:, :, order]
    return IdentityBasis(directions, joint_directions, variance[order] / total)


def _components(part: np.ndarray, weight: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Variances (S,), unit-variance scores (N,S) and the total variance, by subspace iteration with a fixed seed."""
    count = len(part)
    matrix = (part * np.sqrt(weight / weight.sum())[:, None].astype(np.float32)).reshape(count, -1)
    basis = np.random.default_rng(0).normal(size=(matrix.shape[1], components + 30)).astype(np.float32)
    for _ in range(6):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    scores, singular, rotation = np.linalg.svd(matrix @ basis, full_matrices=False)
    scores = scores[:, :components] * np.sqrt(count)
    # A fixed sign, so that the same input gives the same file whatever the LAPACK build.
    strongest = np.abs(rotation[:components]).argmax(axis=1)
    scores = scores * np.sign(rotation[np.arange(components), strongest])
    return singular[:components] ** 2 / count, scores, float((matrix**2).sum()) / count


def joint_regressor(
    template: np.ndarray,
    joints: np.ndarray,
    identity: np.ndarray,
    joint_identity: np.ndarray,
    expression: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """(J,V) minimum-norm weights over the allowed vertices that give every joint exactly.

    Constraints per joint: it sits where the template has it, follows every identity direction, ignores every
    expression, and its weights sum to one. A non-negative local regression is centimetres off for the neck.
    """
    used = np.flatnonzero(allowed)
    blocks = [
        template[used].T,
        identity[used].reshape(len(used), -1).T,
        expression[used].reshape(len(used), -1).T,
        np.ones((1, len(used))),
    ]
    constraints = np.concatenate(blocks)
    targets = np.concatenate(
        [
            joints.T,
            joint_identity.reshape(len(joints), -1).T,
            np.zeros((blocks[2].shape[0], len(joints))),
            np.ones((1, len(joints))),
        ]
    )
    # Rows differ by orders of magnitude in scale: normalise them so that the cut-off of the pseudo-inverse is fair.
    scale = np.maximum(np.linalg.norm(constraints, axis=1, keepdims=True), 1e-12)
    solution = np.linalg.lstsq(constraints / scale, targets / scale, rcond=1e-10)[0]
    regressor = np.zeros((len(joints), len(template)))
    regressor[:, used] = solution.T
    return regressor
