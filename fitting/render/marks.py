"""Small anti-aliased dots and lines, drawn with numpy: landmarks on a picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Colour = tuple[float, float, float]


def draw_dots(
    picture: Float[np.ndarray, "height width 3"], points: Float[np.ndarray, "points 2"], radius: float, colour: Colour
) -> None:
    """Discs at points (pixels, centres at integers) drawn into `picture`; not finite points are left out."""
    coverage = np.zeros(picture.shape[:2], dtype=np.float32)
    points = _visible(points, picture.shape, radius + 1)
    reach = int(np.ceil(radius + 1))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    pixels = np.rint(points).astype(int)[:, None] + offsets
    distance = np.linalg.norm(pixels - points[:, None], axis=-1)
    _stamp(coverage, pixels, np.clip(radius + 0.5 - distance, 0, 1))
    _paint(picture, coverage, colour)


def draw_lines(
    picture: Float[np.ndarray, "height width 3"],
    starts: Float[np.ndarray, "lines 2"],
    ends: Float[np.ndarray, "lines 2"],
    colour: Colour,
) -> None:
    """Straight lines one pixel wide, as rows of dots half a pixel apart."""
    finite = np.isfinite(starts).all(axis=1) & np.isfinite(ends).all(axis=1)
    starts, ends = starts[finite], ends[finite]
    if len(starts) == 0:
        return
    longest = np.linalg.norm(ends - starts, axis=1).max()
    steps = int(np.clip(np.ceil(2 * longest), 1, 4 * max(picture.shape[:2])))
    along = np.linspace(0, 1, steps + 1)[:, None, None]
    draw_dots(picture, (starts + along * (ends - starts)).reshape(-1, 2), 0.5, colour)


def _visible(points: Float[np.ndarray, "points 2"], shape: tuple[int, ...], reach: float) -> np.ndarray:
    inside = np.isfinite(points).all(axis=1)
    inside[inside] = ((points[inside] > -reach) & (points[inside] < [shape[1] + reach, shape[0] + reach])).all(axis=1)
    return np.asarray(points, dtype=np.float64)[inside]


def _stamp(coverage: Float[np.ndarray, "height width"], pixels: np.ndarray, value: np.ndarray) -> None:
    """The largest of all values that fall on a pixel: overlapping dots do not add up."""
    height, width = coverage.shape
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (value > 0)
    np.maximum.at(coverage, (y[inside], x[inside]), value[inside].astype(np.float32))


def _paint(picture: np.ndarray, coverage: np.ndarray, colour: Colour) -> None:
    rows, columns = np.nonzero(coverage)
    alpha = coverage[rows, columns][:, None]
    picture[rows, columns] = picture[rows, columns] * (1 - alpha) + np.asarray(colour, dtype=np.float32) * alpha
