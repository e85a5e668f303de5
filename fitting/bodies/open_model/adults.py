"""Random adults of the `anny` package: the people whose heads the open head's shape directions describe."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

LOCAL_CHANGE_WORDS = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "nose")


def sample_adults(model: Any, count: int, seed: int) -> Float[np.ndarray, "samples shapes"]:
    """Blendshape coefficients of random adults. Left and right local changes agree up to a small difference."""
    generator = np.random.default_rng(seed)
    race = generator.dirichlet([0.8, 0.8, 0.8], count)
    drawn = {
        "gender": generator.beta(0.6, 0.6, count),
        "age": generator.uniform(0.6, 1.0, count),
        "muscle": generator.beta(3, 3, count),
        "weight": generator.beta(3, 3, count),
        "height": generator.beta(8, 8, count),
        "proportions": generator.beta(2, 2, count),
        "cupsize": np.full(count, 0.5),
        "firmness": np.full(count, 0.5),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }
    return coefficients_of(model, drawn, _sample_local_changes(model.local_change_labels, count, generator))


def coefficients_of(
    model: Any, drawn: dict[str, np.ndarray], local_changes: Float[np.ndarray, "samples changes"]
) -> Float[np.ndarray, "samples shapes"]:
    """Blendshape coefficients of phenotypes by name and local changes."""
    import torch

    phenotypes = np.stack([drawn[label] for label in model.phenotype_labels], axis=1)
    coefficients = model._get_phenotype_blendshape_coefficients(
        torch.as_tensor(phenotypes),
        torch.as_tensor(local_changes),
        torch.zeros(1, len(model.facial_action_labels), dtype=torch.float64),
    )
    return coefficients.numpy()


def _sample_local_changes(
    labels: list[str], count: int, generator: np.random.Generator
) -> Float[np.ndarray, "samples changes"]:
    """Normal local changes of the face; 0 elsewhere. A face is nearly, not exactly, symmetric."""
    values = np.zeros((count, len(labels)))
    shared: dict[str, np.ndarray] = {}
    for column, label in enumerate(labels):
        side, _, stem = label.partition("-")
        stem = stem if side in ("l", "r") else label
        if stem.split("-")[0] not in LOCAL_CHANGE_WORDS:
            continue
        if stem not in shared:
            shared[stem] = generator.normal(0, 0.22, count)
        own = generator.normal(0, 0.07, count) if side in ("l", "r") else 0.0
        values[:, column] = np.clip(shared[stem] + own, -1, 1)
    return values
