"""A start whose frames were found one by one, made fit for a clip: a belief about smooth motion would fling limbs that
tremble to where no later step finds them back."""

from __future__ import annotations

import math

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.types import Parameters

SECONDS = 0.05  # standard deviation of the window
LEAST_FRAMES = 1.5


def calm(parameters: Parameters, linked: Bool[Tensor, " links"], fps: float) -> Parameters:
    """Blocks of one problem averaged over time by a Gaussian, never across a cut; rotations by the chordal mean, which
    is the rotation nearest to the weighted sum (Moakher, 2002). What is shared by all frames stays."""
    sd = max(SECONDS * fps, LEAST_FRAMES)
    frames = len(linked) + 1
    scene = torch.cat([linked.new_zeros(1).long(), torch.cumsum(~linked, 0)])
    return Parameters(
        {name: value if value.shape[1] < frames else average(value, scene, sd) for name, value in parameters.items()}
    )


def average(value: Tensor, scene: Tensor, sd: float) -> Float[Tensor, "1 frames ..."]:
    frames, total, mass = len(scene), torch.zeros_like(value), value.new_zeros(len(scene))
    reach = min(math.ceil(3 * sd), frames - 1)
    for away in range(-reach, reach + 1):
        here = torch.arange(max(0, -away), frames - max(0, away), device=value.device)
        here = here[scene[here] == scene[here + away]]
        weight = math.exp(-0.5 * (away / sd) ** 2)
        total[:, here] += weight * value[:, here + away]
        mass[here] += weight
    mean = total / mass.view(-1, *[1] * (value.ndim - 2))
    return roma.special_procrustes(mean) if value.ndim == 5 else mean
