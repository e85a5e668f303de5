"""How small turns, changes of axis-angle vectors and the rotations they stand for move with each other.

Source: Barfoot, State Estimation for Robotics, 2017, 7.1.3 and 7.1.5.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SMALL = 1e-3  # radians, below which the series' first terms are exact to rounding


def left_jacobian(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """J with exp(v + dv) = exp(J dv) exp(v): I + (1 - cos t) / t^2 [v]x + (t - sin t) / t^3 [v]x^2. Eq. 7.77b."""
    angle = vectors.norm(dim=-1)[..., None, None]
    t = angle.clamp(min=SMALL)
    first = torch.where(angle > SMALL, (1 - torch.cos(t)) / t**2, 1 / 2 - angle**2 / 24)
    second = torch.where(angle > SMALL, (t - torch.sin(t)) / t**3, 1 / 6 - angle**2 / 120)
    cross = cross_matrix(vectors)
    return torch.eye(3).to(cross) + first * cross + second * (cross @ cross)


def inverse_left_jacobian(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """d log(exp(d) R) / d d at 0 for R = exp(v): I - [v]x / 2 + (1 / t^2 - (1 + cos t) / (2 t sin t)) [v]x^2.
    Eq. 7.76b."""
    angle = vectors.norm(dim=-1)[..., None, None]
    t = angle.clamp(min=SMALL)
    exact = 1 / t**2 - 1 / (2 * t * torch.tan(0.5 * t))  # (1 + cos t) / sin t is 0 / 0 at half a turn
    factor = torch.where(angle > SMALL, exact, torch.full_like(exact, 1 / 12))
    cross = cross_matrix(vectors)
    return torch.eye(3).to(cross) - 0.5 * cross + factor * (cross @ cross)


def turn_columns(
    rows: Float[Tensor, "*batch rows steps"], turns: Float[Tensor, "*batch joints 3 3"]
) -> Float[Tensor, "*batch rows steps"]:
    """Derivatives by three numbers a joint as derivatives by three others: turns is d the first / d the second."""
    return torch.einsum("...nja,...jab->...njb", rows.unflatten(-1, (-1, 3)), turns).flatten(-2)


def cross_matrix(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """[v]x, with [v]x w = v x w."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
