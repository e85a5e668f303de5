"""Belief in the start: what a regressor said is not far from the truth."""

from __future__ import annotations

import roma
import torch
from pydantic import Field

from fitting.terms.base import Residuals, Scene, Term


class Anchor(Term):
    """Parameters stay near those of the start; `blocks` gives each block's own sigma in its own unit (standard
    deviations, radians, metres), `sigma` is a factor of all of them."""

    sigma: float = 1.0
    blocks: dict[str, float] = Field(default={}, description="sigma by block name; a block not named is not anchored")

    def residuals(self, scene: Scene) -> Residuals | None:
        parts = []
        problems, frames = scene.evidence.seen.shape
        for name, sigma in self.blocks.items():
            if name not in scene.parameters:
                continue
            value, start = scene.parameters[name], scene.start[name]
            if value.ndim == 5:
                moved = roma.rotmat_to_rotvec(value @ start.mT).flatten(2)
            else:
                moved = value - start
            # A shared block is anchored once per clip, not once per frame.
            share = 1.0 if value.shape[1] == frames else frames**-0.5
            parts.append((moved * (share / sigma)).expand(problems, frames, -1))
        return Residuals(torch.cat(parts, dim=-1)[..., None]) if parts else None
