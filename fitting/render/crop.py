"""Which part of a picture is shown and at what size, with `K` adapted exactly (pixel centres at integers)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

BACKGROUND = (0.80, 0.82, 0.85)
"""sRGB behind a mesh where there is no picture."""
MARGIN = 1.2
"""A crop is this much larger than what it is made for."""


@dataclass(frozen=True)
class Crop:
    """A rectangle of the input (pixels; its corner is `left` - 0.5, `top` - 0.5) and the size it is shown at."""

    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]  # width, height of the panel; even, as video encoders want it

    @property
    def scale(self) -> Float[np.ndarray, " 2"]:
        return np.array([self.size[0] / self.width, self.size[1] / self.height])

    def to_panel(self, pixels: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Points of the input to points of the panel: corners are scaled, not centres, hence the halves."""
        return (np.asarray(pixels) + 0.5 - [self.left, self.top]) * self.scale - 0.5

    def intrinsics(self, K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """`K` of the camera that took the panel."""
        adapted = np.array(K, dtype=np.float64)
        adapted[:2] *= self.scale[:, None]
        adapted[:2, 2] = self.to_panel(np.asarray(K)[:2, 2])
        return adapted

    def cut(self, image: UInt8[np.ndarray, "rows columns 3"] | None) -> Float[np.ndarray, "height width 3"]:
        """The panel in sRGB 0..1; a plain one without a picture."""
        from PIL import Image

        if image is None:
            return np.full((self.size[1], self.size[0], 3), BACKGROUND, dtype=np.float32)
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        picture = Image.fromarray(np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]]))
        filtered = Image.Resampling.LANCZOS if self.width > self.size[0] else Image.Resampling.BICUBIC
        if picture.size != self.size:
            picture = picture.resize(self.size, filtered, reducing_gap=3.0)
        return np.asarray(picture, dtype=np.float32) / np.float32(255)


def crop_round(
    points: Float[np.ndarray, "points 2"], image_size: tuple[int, int], longest: int = 512, margin: float = MARGIN
) -> Crop:
    """A square round `points` (pixels; not finite ones do not count), moved and cut to lie inside the picture.

    Its longer side is shown `longest` pixels long. Without any point the whole picture is shown.
    """
    width, height = (int(extent) for extent in image_size)
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) == 0:
        return Crop(0, 0, width, height, _panel_size(width, height, longest))
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(16.0, float((high - low).max()) * margin)
    left, cut_width = _span(float(low[0] + high[0]) / 2, side, width)
    top, cut_height = _span(float(low[1] + high[1]) / 2, side, height)
    return Crop(left, top, cut_width, cut_height, _panel_size(cut_width, cut_height, longest))


def _span(centre: float, side: float, extent: int) -> tuple[int, int]:
    """First pixel and length of a stretch of `side` pixels round `centre` that lies inside 0..extent."""
    length = min(round(side), extent)
    return int(np.clip(round(centre + 0.5 - length / 2), 0, extent - length)), length


def _panel_size(width: int, height: int, longest: int) -> tuple[int, int]:
    scale = longest / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
