"""Squares cut out of a picture, turned, scaled, mirrored, and the way back from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fitting.detectors.backends import Image

CROP = 256  # pixels: the networks for faces see 192 or 256


@dataclass(frozen=True)
class Look:
    """A square cut: its side in extents of what is in it, its turn, its shift in sides, whether it is mirrored."""

    scale: float = 1.8
    degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False


@dataclass(frozen=True)
class Square:
    """A crop: picture = linear @ crop + offset, both in pixels with centres at integers."""

    linear: Float[np.ndarray, "2 2"]
    offset: Float[np.ndarray, " 2"]
    mirrored: bool = False
    pixels: int = CROP  # of its side

    def to_picture(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        return points @ self.linear.T + self.offset


def square_at(
    centre: Float[np.ndarray, " 2"], side: float, look: Look, angle: float = 0.0, pixels: int = CROP
) -> Square:
    """Turned by `angle` (radians) and by the look's own degrees; the sides of the look do not count."""
    turn = angle + np.radians(look.degrees)
    cos, sin = np.cos(turn), np.sin(turn)
    linear = side / pixels * np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if look.mirrored else 1.0, 1.0])
    return Square(linear, centre - linear @ np.full(2, (pixels - 1) / 2), look.mirrored, pixels)


def cut(image: Image, square: Square) -> UInt8[np.ndarray, "side side 3"]:
    """Large crops are averaged down first, or fine texture would turn to noise; black outside."""
    from PIL import Image as Pillow

    side = square.pixels
    corners = square.to_picture(np.array([[0, 0], [0, side], [side, 0], [side, side]]) - 0.5)
    left, top = np.clip(np.floor(corners.min(axis=0)) - 2, 0, None).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 3, 0, None).astype(int)
    part = image[top:bottom, left:right]
    if not part.size:
        return np.zeros((side, side, 3), dtype=np.uint8)
    step = max(int(np.sqrt(abs(np.linalg.det(square.linear)))), 1)
    small = Pillow.fromarray(np.ascontiguousarray(part)).reduce(step)
    # Pillow's coordinates run from the edge of the first pixel, ours from its centre.
    linear = square.linear / step
    offset = (square.offset + 0.5 - (left, top)) / step - linear @ (0.5, 0.5)
    matrix = np.column_stack([linear, offset]).ravel()
    return np.asarray(
        small.transform(
            (square.pixels, square.pixels), Pillow.Transform.AFFINE, tuple(matrix), Pillow.Resampling.BICUBIC
        )
    )
