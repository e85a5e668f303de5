"""Beliefs about how a body moves through space."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from fitting.terms.base import Residuals, Scene, Structure, Term


class JointAcceleration(Term):
    """Joints go on moving as they did; sigma in metres per second squared.

    Positions count as seen at the distance where the clip starts, x z0 / z: in plain metres a smaller and nearer body
    would accelerate less, and the fit would shrink the person.
    """

    structure: ClassVar[Structure] = "motion"
    stencil: ClassVar[tuple[float, ...]] = (1.0, -2.0, 1.0)
    sigma: float = 7.0
    joints: int = Field(default=22, ge=1, description="the first so many: SMPL-X's body without fingers")

    def residuals(self, scene: Scene) -> Residuals | None:
        frames = scene.evidence.seen.shape[1]
        if frames < 3 or "body_pose" not in scene.coordinates:
            return None
        places = scene.joints[:, :, : self.joints]
        second = places[:, 2:] - 2 * places[:, 1:-1] + places[:, :-2]
        return Residuals(second * self.rate(scene)[..., None, None], self.weights(scene)[..., None])

    def rate(self, scene: Scene) -> Tensor:
        """From metres per frame squared to metres per second squared at the start's distance (problems, frames - 2)."""
        # Contiguous: torch's median of a broadcast tensor is whatever stood in memory (seen in 2.13).
        begun = scene.start["transl"][..., 2].contiguous().median(dim=1).values[:, None]
        return scene.evidence.fps**2 * begun / scene.parameters["transl"][:, 1:-1, 2]

    def weights(self, scene: Scene) -> Tensor:
        linked = scene.evidence.linked
        return (linked[:, 1:] & linked[:, :-1]).to(scene.parameters["transl"])
