"""Beliefs about time: how fast things move and how fast they change their motion."""

from __future__ import annotations

from typing import ClassVar, Literal

import roma
import torch
from pydantic import Field, field_validator
from torch import Tensor

from fitting.terms.base import Evidence, Residuals, Scene, Structure
from fitting.terms.by_size import LENGTHS, BySize
from fitting.terms.noise import landmark_noise

CALM_NOISE = 0.0041  # share of the subject's size: of landmarks that tremble so much, `blocks` are meant as they stand
LEAST, GREATEST = 0.5, 3.0  # strengths that are taken from the landmarks


def first_difference(value: Tensor) -> Tensor:
    """From each frame to the next (problems, frames - 1, items): on the rotation manifold log(R' R^T), radians."""
    if value.ndim == 5:
        return roma.rotmat_to_rotvec(value[:, 1:] @ value[:, :-1].mT).flatten(2)
    return value[:, 1:] - value[:, :-1]


class Smoothness(BySize):
    """Shared by both orders: `blocks` gives each block's own sigma per frame in its own unit, `sigma` is a factor."""

    structure: ClassVar[Structure] = "stencil"
    draws_near: ClassVar[bool] = True
    sigma: float = 1.0
    blocks: dict[str, float] = Field(default={}, description="sigma by block name; a block not named is free")

    def differences(self, scene: Scene, value: Tensor) -> Tensor:
        raise NotImplementedError

    def weights(self, scene: Scene) -> Tensor:
        raise NotImplementedError

    def moving(self, scene: Scene) -> dict[str, Tensor | float]:
        """The blocks this term looks at, and their sigmas: those that have a value in every frame."""
        frames, known, size = scene.evidence.seen.shape[1], scene.parameters, self.size(scene)
        there = {n: sigma for n, sigma in self.blocks.items() if n in known and known[n].shape[1] == frames}
        return {n: sigma * size if n in LENGTHS else sigma for n, sigma in there.items()}

    def residuals(self, scene: Scene) -> Residuals | None:
        moving, weights = self.moving(scene), self.weights(scene)
        if not moving or weights.shape[1] == 0:
            return None
        parts = [self.differences(scene, scene.parameters[name]) / sigma for name, sigma in moving.items()]
        return Residuals(torch.cat(parts, dim=-1)[..., None], weights[..., None])


class Velocity(Smoothness):
    """Nothing moves far from one frame to the next."""

    stencil: ClassVar[tuple[float, ...]] = (-1.0, 1.0)

    def differences(self, scene: Scene, value: Tensor) -> Tensor:
        return first_difference(value)

    def weights(self, scene: Scene) -> Tensor:
        return scene.evidence.linked.to(scene.evidence.subject_px)


class Acceleration(Smoothness):
    """What moves goes on moving as it did: second differences, on the rotation manifold.

    `strength` divides the sigmas: 1 is what `blocks` say. `auto` measures how much the clip's landmarks tremble and
    takes the fourth root of that over CALM_NOISE. In proportion would be the rule for motion that is all noise of
    acceleration; the
    root keeps blinks whole where landmarks tremble most (measured: docs/conventions.md).
    """

    stencil: ClassVar[tuple[float, ...]] = (1.0, -2.0, 1.0)
    fps: float | None = Field(
        default=None, gt=0, description="frames per second that `blocks` are meant for; null: whatever the clip has"
    )
    strength: Literal["auto"] | float = Field(
        default="auto", description="divides the sigmas; auto: from how much the clip's own landmarks tremble"
    )

    @field_validator("strength")
    @classmethod
    def _above_zero(cls, strength: str | float) -> str | float:
        if strength != "auto" and not float(strength) > 0:
            raise ValueError("a strength is greater than 0, or auto")
        return strength

    def settled(self, evidence: Evidence) -> Acceleration:
        """With a number for its strength, and that in its sigma."""
        strength = self.strength
        if strength == "auto":
            noise = landmark_noise(evidence)
            known = noise[torch.isfinite(noise)]
            ratio = float(known.median()) / CALM_NOISE if len(known) else 1.0
            strength = min(max(ratio**0.25, LEAST), GREATEST)
        sigma = self.sigma / float(strength)
        if self.fps is not None:  # what a frame is shorter by counts twice
            sigma *= (self.fps / evidence.fps) ** 2
        return self.model_copy(update={"strength": 1.0, "fps": None, "sigma": sigma})

    def differences(self, scene: Scene, value: Tensor) -> Tensor:
        step = first_difference(value)
        return step[:, 1:] - step[:, :-1]

    def weights(self, scene: Scene) -> Tensor:
        linked = scene.evidence.linked
        return (linked[:, 1:] & linked[:, :-1]).to(scene.evidence.subject_px)
