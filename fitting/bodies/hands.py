"""Hand poses as SMPL-X and SMPL-H count them: axis-angle of 15 joints, or components about a mean.

`flat_hand_mean` of those models decides what zero means: a flat hand, or the mean hand of their captures, fingers
half bent. Rotation blocks always hold the whole rotation, from the flat hand; `relative` and `absolute` convert.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.types import Block

JOINTS = 15
SIDES = ("left", "right")


def pose_block(side: str) -> str:
    return f"{side}_hand_pose"


def component_block(side: str) -> str:
    return f"{side}_hand_pca"


@dataclass(frozen=True)
class Hands:
    """Mean and components of both hands' poses, left first."""

    mean: Float[Tensor, "2 45"]  # axis-angle
    components: Float[Tensor, "2 components 45"]
    flat_mean: bool  # zero is a flat hand

    @property
    def zero(self) -> Float[Tensor, "2 45"]:
        """What zero coefficients stand for, axis-angle."""
        return torch.zeros_like(self.mean) if self.flat_mean else self.mean

    def neutral(self, problems: int, frames: int) -> dict[str, Float[Tensor, "problems frames 15 3 3"]]:
        rotations = roma.rotvec_to_rotmat(self.zero.unflatten(1, (JOINTS, 3)))
        return {
            pose_block(side): rotation.expand(problems, frames, JOINTS, 3, 3).clone()
            for side, rotation in zip(SIDES, rotations, strict=True)
        }

    def relative(self, side: str, axis_angle: Float[np.ndarray, "*rows 45"]) -> Float[np.ndarray, "*rows 45"]:
        """Whole axis-angle as a model with this `flat_hand_mean` is given it: less the mean."""
        return axis_angle - self.zero[SIDES.index(side)].cpu().numpy()

    def absolute(self, side: str, axis_angle: Float[np.ndarray, "*rows 45"]) -> Float[np.ndarray, "*rows 45"]:
        """The opposite of `relative`."""
        return axis_angle + self.zero[SIDES.index(side)].cpu().numpy()


@dataclass(frozen=True)
class HandComponents:
    """A decoder (see decoded.py): a hand's pose as its zero plus coefficients of components."""

    side: str
    zero: Float[Tensor, " 45"]
    components: Float[Tensor, "size 45"]

    @property
    def block(self) -> Block:
        return Block(component_block(self.side), "vector", len(self.components), shared=False, unit=0.3)

    @property
    def target(self) -> str:
        return pose_block(self.side)

    @property
    def lengths(self) -> Float[Tensor, " size"]:
        """Radians that one of each component is long, over all joints."""
        return self.components.norm(dim=1)

    def decode(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch 15 3 3"]:
        return roma.rotvec_to_rotmat((self.zero + vector @ self.components).unflatten(-1, (JOINTS, 3)))

    def steps(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch 45 size"]:
        """Left steps of the joints' rotations, R <- exp(d) R, by the coefficients."""
        axis_angle = (self.zero + vector @ self.components).unflatten(-1, (JOINTS, 3))
        by_joint = self.components.T.unflatten(0, (JOINTS, 3))  # joints, 3, size
        return torch.einsum("...jik,jkc->...jic", left_jacobian(axis_angle), by_joint).flatten(-3, -2)


def left_jacobian(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """d of exp(d) exp(v) = exp(v + dv) by dv: I + (1 - cos a) / a^2 [v]x + (a - sin a) / a^3 [v]x^2, a = |v|.

    Source: Sola, Deray, Atchuthan: A micro Lie theory, 2018, eq. 145. Series below a tenth of a degree.
    """
    a2 = (rotvec * rotvec).sum(dim=-1)[..., None, None]
    small = a2 < 1e-5
    a2_safe = torch.where(small, torch.ones_like(a2), a2)
    a = a2_safe.sqrt()
    first = torch.where(small, 0.5 - a2 / 24, (1 - torch.cos(a)) / a2_safe)
    second = torch.where(small, 1 / 6 - a2 / 120, (a - torch.sin(a)) / (a2_safe * a))
    cross = skew(rotvec)
    return torch.eye(3).to(rotvec) + first * cross + second * (cross @ cross)


def skew(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
