"""A basis of hand poses made from anatomy: no recorded hand is in it.

SMPL-X files carry principal components of hand poses that were captured. The open body has none to learn from, so its
components are those of a covariance that is written down here: fingers bend together more than alone, neighbours more
than others; the last joint bends with the one before; fingers spread a little and hardly twist; the thumb moves freely.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_ACROSS = {"index": 0.0, "middle": 1.0, "ring": 2.0, "pinky": 3.0}
BEND, SPREAD, TWIST, THUMB = (0.45, 0.5, 0.3), 0.12, 0.05, 0.3
"""Standard deviations in radians: of bending at the three joints, spreading at the first, twisting, of the thumb."""
RELAXED = (0.25, 0.4, 0.2)
"""How far the fingers of a hand at rest are bent at their three joints."""
TOGETHER = 0.6
"""Correlation of the bending of neighbouring fingers; that of fingers further apart is a power of it."""
DRAWN_ALONG = 0.8
"""Correlation of the last joint's bending with the middle one's: one tendon bends both."""


def hand_basis() -> tuple[Float[np.ndarray, " 45"], Float[np.ndarray, "45 45"]]:
    """Mean axis-angle of the left hand's 15 joints and components in rows, each of one standard deviation.

    The right hand's are their mirror images: x stays, y and z change sign.
    """
    covariance = np.zeros((5, 3, 3, 5, 3, 3))  # finger, joint, axis, twice
    mean = np.zeros((5, 3, 3))
    for f, finger in enumerate(FINGERS):
        if finger == "thumb":
            covariance[f, :, :, f, :, :] = THUMB**2 * np.eye(9).reshape(3, 3, 3, 3)
            continue
        mean[f, :, 2] = -np.array(RELAXED)  # bending the left hand's fingers turns them about -z
        covariance[f, :, 0, f, :, 0] = TWIST**2 * np.eye(3)
        covariance[f, 0, 1, f, 0, 1] = SPREAD**2
        for g, other in enumerate(FINGERS[:4]):
            near = TOGETHER ** abs(_ACROSS[finger] - _ACROSS[other])
            covariance[f, :, 2, g, :, 2] = near * np.outer(BEND, BEND) * _along_finger()
    values, vectors = np.linalg.eigh(covariance.reshape(45, 45) + 1e-4 * np.eye(45))
    order = np.argsort(-values, kind="stable")
    rows = vectors[:, order].T
    rows *= np.sign(rows[np.arange(45), np.abs(rows).argmax(axis=1)])[:, None]
    return mean.ravel(), rows * np.sqrt(values[order])[:, None]


def _along_finger() -> Float[np.ndarray, "3 3"]:
    """Correlations of bending along one finger: the knuckle goes its own way more than the other two."""
    return np.array([[1.0, 0.3, 0.3], [0.3, 1.0, DRAWN_ALONG], [0.3, DRAWN_ALONG, 1.0]])


def mirrored_hand(rotations: Float[np.ndarray, "*rows 45"]) -> Float[np.ndarray, "*rows 45"]:
    """The same pose of the other hand."""
    return rotations * np.tile([1.0, -1.0, -1.0], 15)
