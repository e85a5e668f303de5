"""What a reader of codes may have to be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CodesOptions:
    """`order` is that of a flame_params.npy without a sidecar; `model` overrules what the format usually holds."""

    order: Literal["expression,global,jaw", "expression,jaw,global"] | None = None
    model: str | None = None
    image_size: tuple[int, int] | None = None  # width, height of the full image, where the source does not say it
    focal: float | None = None  # pixels, where the source uses one that it does not say
    fps: float | None = None
