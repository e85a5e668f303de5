"""The square that a network sees: 224 pixels, DECA's convention, so that its codes and weights fit.

Corner pixels 0 and 223 lie on the corners of the square; -1..1 is pixel / 112 - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SIZE = 224
BOX_TO_CROP = 1.1 * 1.25


@dataclass(frozen=True)
class Square:
    """Middle and side in pixels of the full picture."""

    x: float
    y: float
    side: float

    @property
    def scale(self) -> float:
        return (SIZE - 1) / self.side

    @property
    def corner(self) -> np.ndarray:
        return np.array([self.x, self.y]) - self.side / 2

    def to_crop(self, pixels: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        return (pixels - self.corner) * self.scale

    def intrinsics(self, K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """`K` of the camera that takes the crop."""
        found = np.array(K, dtype=np.float64)
        found[:2] *= self.scale
        found[:2, 2] = self.to_crop(np.asarray(K)[:2, 2])
        return found

    def cut(self, picture: np.ndarray) -> Float[np.ndarray, "3 height width"]:
        """RGB in 0..1; black beyond the picture's edge. Averaged where the crop is smaller than the square."""
        from PIL import Image

        pixel = self.side / (SIZE - 1)
        low = self.corner - pixel / 2 + 0.5  # PIL counts from the edge of the first pixel
        high = low + pixel * SIZE
        height, width = picture.shape[:2]
        before = np.maximum(np.ceil(-low), 0).astype(int)
        after = np.maximum(np.ceil(high - [width, height]), 0).astype(int)
        if before.any() or after.any():
            picture = np.pad(picture, ((before[1], after[1]), (before[0], after[0]), (0, 0)))
        box = (*(low + before).tolist(), *(high + before).tolist())
        resized = Image.fromarray(np.ascontiguousarray(picture)).resize(
            (SIZE, SIZE), Image.Resampling.BILINEAR, box=box
        )
        return np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)


def square_of(keypoints: Float[np.ndarray, "frames points 2"], seen: np.ndarray) -> Square:
    """One square for all frames of a window, as DECA makes it from landmarks: motion in it is motion of the head."""
    points = keypoints[seen]
    low, high = points.min(axis=0), points.max(axis=0)
    boxes = [np.ptp(frame[s], axis=0).mean() for frame, s in zip(keypoints, seen, strict=True) if s.any()]
    side = max(max(boxes), float((high - low).max()) / BOX_TO_CROP) * BOX_TO_CROP
    middle = (low + high) / 2
    return Square(float(middle[0]), float(middle[1]), float(side))
