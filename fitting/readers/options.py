"""What a reader may be told besides the path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ReadOptions:
    image_size: tuple[int, int] | None = None
    """(width, height) in pixels, for landmark files that do not say it and have no pictures."""
    fps: float | None = None
    """Frames per second, for inputs that do not say it."""
    sequence: Literal["auto", "clip", "photos"] = "auto"
    """Whether several frames follow each other in time and show the same people."""
    pictures: Path | None = None
    """The image, folder or video that landmark files belong to; by default the one beside them of the same stem."""
