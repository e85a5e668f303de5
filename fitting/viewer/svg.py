"""Line charts as inline SVG: no script, nothing to load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

Place = Callable[[Any], Any]  # a frame's number, or a value, to its place in the chart

WIDTH, HEIGHT = 960, 190
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 34


@dataclass(frozen=True)
class Line:
    """One value per frame; NaN: a gap. `deviation` draws a band of one standard deviation."""

    name: str
    values: Float[np.ndarray, " frames"]
    colour: str
    deviation: Float[np.ndarray, " frames"] | None = None


@dataclass(frozen=True)
class Shade:
    """Frames to mark: from `first` to `last`."""

    first: int
    last: int
    colour: str


def line_chart(lines: Sequence[Line], unit: str, shades: Sequence[Shade] = ()) -> str:
    """A chart over frames, counted from 0."""
    frames = max((len(line.values) for line in lines), default=0)
    low, high = extent(lines)
    across = (WIDTH - LEFT - RIGHT) / max(frames - 1, 1)
    up = (HEIGHT - TOP - BOTTOM) / (high - low)

    def x(k: Any) -> Any:
        return LEFT + across * k

    def y(value: Any) -> Any:
        return HEIGHT - BOTTOM - up * (value - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(unit)} over frames">']
    for shade in shades:
        width = max(across * (shade.last - shade.first + 1), 1.5)
        parts.append(
            f'<rect x="{x(shade.first - 0.5):.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}" '
            f'fill="{shade.colour}"/>'
        )
    for tick in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(0.0, float(max(frames - 1, 1)), whole=True):
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">frame</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 4}">{escape(unit)}</text>')
    for line in lines:
        parts += [band(line, x, y)] if line.deviation is not None else []
        parts += [
            f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>' for path in paths(line, x, y)
        ]
    legend = " ".join(f'<span style="color:{line.colour}">&#9632;</span> {escape(line.name)}' for line in lines)
    return "".join(parts) + f'</svg><p class="legend">{legend}</p>'


def extent(lines: Sequence[Line]) -> tuple[float, float]:
    """Least and greatest value with a little room; from 0 where nothing is below it."""
    values = [np.asarray(line.values, dtype=np.float64) for line in lines]
    for line in lines:
        if line.deviation is not None:
            values += [line.values - line.deviation, line.values + line.deviation]
    finite = np.concatenate([v[np.isfinite(v)] for v in values] or [np.zeros(1)])
    if len(finite) == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if low >= 0 and low < 0.6 * high else low - room), high + room


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About five round numbers from `low` to `high`."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, step)
    return [round(k * step, 10) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def paths(line: Line, x: Place, y: Place) -> list[str]:
    """One path per stretch of finite values; a single value is a short dash."""
    found = []
    known = np.flatnonzero(np.isfinite(line.values))
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        if len(part) == 1:
            found.append(f"M{x(part[0]) - 2:.1f} {y(line.values[part[0]]):.1f}h4")
        elif len(part):
            found.append("M" + "L".join(f"{x(k):.1f} {y(line.values[k]):.1f}" for k in part))
    return found


def band(line: Line, x: Place, y: Place) -> str:
    """One standard deviation up and down, where it is known."""
    assert line.deviation is not None
    known = np.flatnonzero(np.isfinite(line.values) & np.isfinite(line.deviation))
    shapes = []
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        if len(part) >= 2:
            upper = [f"{x(k):.1f} {y(line.values[k] + line.deviation[k]):.1f}" for k in part]
            lower = [f"{x(k):.1f} {y(line.values[k] - line.deviation[k]):.1f}" for k in part[::-1]]
            shapes.append("M" + "L".join(upper + lower) + "Z")
    return f'<path d="{"".join(shapes)}" fill="{line.colour}" fill-opacity="0.18"/>'
