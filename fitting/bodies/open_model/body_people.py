"""Random adults of the `anny` package with their whole bodies: whom the open body's shape directions describe.

Heights are those of people: men 1.75 m with a standard deviation of 0.07, women 1.62 and 0.065 (NCD-RisC, eLife 5:e13410,
2016, means of adults over the world's regions; deviations within one country). anny's own middle is 1.90 and 1.77.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.bodies.open_model.adults import LOCAL_CHANGE_WORDS, coefficients_of

FACE_SPREAD, FACE_DIFFERENCE = 0.22, 0.07
"""Standard deviations of a local change of the face, and of what the left side has more than the right."""

LOCAL_SPREAD = {
    # The length and girth of limbs, trunk and neck beyond what the phenotypes change. A word stands for the local
    # changes whose name holds it; the first that fits counts. Sideways shifts and pregnancy are nobody's build.
    "trans-": 0.0, "pregnant": 0.0, "nipple": 0.0, "valgus": 0.15, "upperarm-length": 0.25, "lowerarm-length": 0.25,
    "upperlegs-height": 0.25, "lowerlegs-height": 0.25, "upperleg-height": 0.0, "lowerleg-height": 0.0,
    "shoulder-dist": 0.3, "hips-circ": 0.3, "waist-circ": 0.35, "bust-circ": 0.25, "underbust-circ": 0.2,
    "torso-scale": 0.25, "torso-vshape": 0.3, "hip-scale": 0.25, "hip-waist": 0.2, "neck-scale": 0.25,
    "neck-circ": 0.2, "neck-height": 0.2, "napetowaist": 0.15, "waisttohip": 0.15, "frontchest": 0.2,
    "hand-scale": 0.25, "hand-fingers": 0.25, "foot-scale": 0.25, "wrist-circ": 0.25, "ankle-circ": 0.25,
    "calf-circ": 0.25, "knee-circ": 0.25, "thigh-circ": 0.25, "upperarm-circ": 0.25, "buttocks": 0.3, "stomach": 0.3,
    "bulge": 0.0, "breast": 0.25, "muscle": 0.2, "fat": 0.25, "scale-horiz": 0.2, "scale-depth": 0.2,
    "scale-vert": 0.0, "measure": 0.0, "pelvis-tone": 0.2,
}  # fmt: skip


def sample_bodies(model: Any, count: int, seed: int) -> Float[np.ndarray, "samples shapes"]:
    """Blendshape coefficients of random adults, half of them women. Limbs are the same on both sides, faces nearly."""
    generator = np.random.default_rng(seed)
    race = generator.dirichlet([0.8, 0.8, 0.8], count)
    gender = generator.beta(0.35, 0.35, count)  # 0 male, 1 female
    drawn = {
        "gender": gender,
        "age": generator.uniform(0.6, 1.0, count),
        "muscle": generator.beta(2.5, 3, count),
        "weight": generator.beta(2, 1.7, count),
        "height": np.clip(generator.normal(0.37, 0.062, count), 0.15, 0.62),
        "proportions": generator.beta(3, 3, count),
        "cupsize": generator.beta(3, 3, count),
        "firmness": generator.beta(3, 3, count),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }
    return coefficients_of(model, drawn, sample_local_changes(list(model.local_change_labels), count, generator))


def sample_local_changes(
    labels: list[str], count: int, generator: np.random.Generator
) -> Float[np.ndarray, "samples changes"]:
    """Normal local changes, -1 to 1."""
    values = np.zeros((count, len(labels)))
    shared: dict[str, np.ndarray] = {}
    for column, label in enumerate(labels):
        side, _, stem = label.partition("-")
        stem = stem if side in ("l", "r") else label
        spread, difference = spread_of(stem)
        if stem not in shared:
            shared[stem] = generator.normal(0, 1, count)
        own = generator.normal(0, difference, count) if side in ("l", "r") else 0.0
        values[:, column] = np.clip(spread * shared[stem] + own, -1, 1)
    return values


def spread_of(stem: str) -> tuple[float, float]:
    """Standard deviation of a local change and of its difference between the sides."""
    if stem.split("-")[0] in LOCAL_CHANGE_WORDS:
        return FACE_SPREAD, FACE_DIFFERENCE
    return next((spread for word, spread in LOCAL_SPREAD.items() if word in stem), 0.0), 0.0
