"""Linear shape and expression directions of the open head, and the regressor of its joints.

Identity: random adults are freed of position, rotation and uniform size (similarity Procrustes), split into their
mirror-symmetric and antisymmetric parts, and described by principal components scaled to one standard deviation.
Because the parts are analysed apart, every component is exactly symmetric or exactly antisymmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.bodies.open_model.align import MIRROR, AlignedSamples, mirrored


@dataclass(frozen=True)
class IdentityBasis:
    """Principal components of identity at one standard deviation."""

    directions: Float[np.ndarray, "vertices 3 components"]
    """Metres per standard deviation."""
    joint_directions: Float[np.ndarray, "joints 3 components"]
    explained: Float[np.ndarray, " components"]
    """Share of the weighted variance each component explains."""


def identity_basis(
    samples: AlignedSamples,
    table: Int[np.ndarray, " vertices"],
    weight: Float[np.ndarray, " vertices"],
    components: int,
    joint_table: Int[np.ndarray, " joints"],
) -> IdentityBasis:
    """The strongest symmetric and antisymmetric components, sorted by the variance they explain."""
    flipped_joints = samples.joints[:, joint_table] * MIRROR
    parts = []
    total = 0.0
    for sign in (1, -1):
        part = 0.5 * (samples.vertices + sign * mirrored(samples.vertices, table))
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


def _components(
    part: Float[np.ndarray, "samples vertices 3"], weight: Float[np.ndarray, " vertices"], components: int
) -> tuple[Float[np.ndarray, " components"], Float[np.ndarray, "samples components"], float]:
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
    template: Float[np.ndarray, "vertices 3"],
    joints: Float[np.ndarray, "joints 3"],
    identity: Float[np.ndarray, "vertices 3 components"],
    joint_identity: Float[np.ndarray, "joints 3 components"],
    expression: Float[np.ndarray, "vertices 3 expressions"],
    allowed: Bool[np.ndarray, " vertices"],
) -> Float[np.ndarray, "joints vertices"]:
    """Minimum-norm weights over the allowed vertices that give every joint exactly.

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
