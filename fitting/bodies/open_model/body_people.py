"""Random adults of the `anny` package with their whole bodies: whom the open body's shape directions describe.

Heights are those of people: men 1.75 m with a standard deviation of 0.07, women 1.62 and 0.065 (about the means of
adults in NCD-RisC, eLife 5:e13410, 2016, and the spread within a country). anny's own middle is 1.90 and 1.77.
So is their weight: a body mass index of about 25 with a standard deviation near 5 (NCD-RisC, Lancet 387:1377,
2016); what MakeHuman's weight does not reach is done by the girths of trunk and limbs, which grow together.
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


FAT_WORDS = ("waist-circ", "hips-circ", "fat", "thigh-circ", "buttocks", "neck-circ", "bust-circ", "torso-scale-depth",
             "hip-scale-depth", "hip-scale-horiz", "upperarm-circ", "calf-circ", "torso-scale-horiz")  # fmt: skip
FATNESS = 0.6
"""Correlation of these girths with how heavy a person is for his height."""


def sample_bodies(model: Any, count: int, seed: int) -> Float[np.ndarray, "samples shapes"]:
    """Blendshape coefficients of random adults, half of them women. Limbs are the same on both sides, faces nearly."""
    generator = np.random.default_rng(seed)
    race = generator.dirichlet([0.8, 0.8, 0.8], count)
    gender = generator.beta(0.35, 0.35, count)  # 0 male, 1 female
    heavy = generator.normal(0, 1, count)
    drawn = {
        "gender": gender,
        "age": generator.uniform(0.6, 1.0, count),
        "muscle": generator.beta(2.5, 3.5, count),
        "weight": np.clip(0.66 + 0.18 * heavy, 0, 1),
        "height": np.clip(generator.normal(0.36, 0.06, count), 0.15, 0.62),
        "proportions": generator.beta(3, 3, count),
        "cupsize": generator.beta(3, 3, count),
        "firmness": generator.beta(3, 3, count),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }
    return coefficients_of(model, drawn, sample_local_changes(list(model.local_change_labels), heavy, generator))


def sample_local_changes(
    labels: list[str], heavy: Float[np.ndarray, " samples"], generator: np.random.Generator
) -> Float[np.ndarray, "samples changes"]:
    """Normal local changes, -1 to 1; the girths go with `heavy`, a standard normal."""
    count = len(heavy)
    values = np.zeros((count, len(labels)))
    shared: dict[str, np.ndarray] = {}
    for column, label in enumerate(labels):
        side, _, stem = label.partition("-")
        stem = stem if side in ("l", "r") else label
        spread, difference = spread_of(stem)
        if stem not in shared:
            shared[stem] = generator.normal(0, 1, count)
            if spread and any(word in stem for word in FAT_WORDS):
                shared[stem] = FATNESS * heavy + np.sqrt(1 - FATNESS**2) * shared[stem] + 0.35
        own = generator.normal(0, difference, count) if side in ("l", "r") else 0.0
        values[:, column] = np.clip(spread * shared[stem] + own, -1, 1)
    return values


def spread_of(stem: str) -> tuple[float, float]:
    """Standard deviation of a local change and of its difference between the sides."""
    if stem.split("-")[0] in LOCAL_CHANGE_WORDS:
        return FACE_SPREAD, FACE_DIFFERENCE
    return next((spread for word, spread in LOCAL_SPREAD.items() if word in stem), 0.0), 0.0
