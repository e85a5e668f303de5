"""What is asked of the writers that draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fitting.render import RAYS, Renderer
from fitting.render.rasterise import Rasteriser


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are made; see `RenderConfig` in config.py."""

    overlay_pictures: Literal["auto", "all", "none"] = "auto"
    panel: int = 512  # longer side of an overlay's panel, pixels
    texture: int = 2048  # side of a texture, texels
    texture_frames: int = 24  # of a clip, at most so many give a texture its colours
    renderer: Literal["rays", "pytorch3d"] = "rays"

    def surface(self) -> Renderer:
        return RAYS if self.renderer == "rays" else Rasteriser()
