"""Belief in the start: what a regressor said is not far from the truth."""

from __future__ import annotations

from typing import ClassVar

import roma
import torch
from pydantic import Field

from fitting.terms.base import Residuals, Scene, Structure, Term


class Anchor(Term):
    """Parameters stay near those of the start; `blocks` gives each block's own sigma in its own unit (standard
    deviations, radians, metres), `sigma` is a factor of all of them."""

    structure: ClassVar[Structure] = "stencil"
    stencil: ClassVar[tuple[float, ...]] = (1.0,)
    sigma: float = 1.0
    blocks: dict[str, float] = Field(default={}, description="sigma by block name; a block not named is not anchored")

    def moving(self, scene: Scene) -> dict[str, float]:
        """The blocks this term looks at, and their sigmas."""
        return {name: sigma for name, sigma in self.blocks.items() if name in scene.parameters}

    def residuals(self, scene: Scene) -> Residuals | None:
        problems, frames = scene.evidence.seen.shape
        parts = []
        for name, sigma in self.moving(scene).items():
            value, start = scene.parameters[name], scene.start[name]
            if value.ndim == 5:
                moved = roma.rotmat_to_rotvec(value @ start.mT).flatten(2)
            else:
                moved = value - start
            # A shared block is anchored once per clip, not once per frame.
            share = 1.0 if value.shape[1] == frames else frames**-0.5
            parts.append((moved * (share / sigma)).expand(problems, frames, -1))
        return Residuals(torch.cat(parts, dim=-1)[..., None]) if parts else None
