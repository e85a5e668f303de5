"""images/<frame>/depth.png, normals.png, mask.png, wireframe.png: maps of the input's own size, for every frame.

depth.png      16-bit grey: millimetres along the optical axis, 0 where nothing is, 65535 for 65.5 m and beyond
normals.png    8-bit colours: (n + 1) / 2, n the outward unit normal with x to the right, y up, z to the viewer; black
               where nothing is
mask.png       8-bit grey: 0 where nobody is, 1 the first person, 2 the second...; only what no one else hides
wireframe.png  the visible edges of the mesh over the picture
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fitting.render import BACKGROUND, View, to_bytes
from fitting.types import Solution
from fitting.writers.atomic import write_bytes
from fitting.writers.options import PictureOptions
from fitting.writers.png import png_bytes
from fitting.writers.posed import Picture, PictureWriter, ordered_map, people_at, pictures_of, shared_camera

WIRE = np.array([0.10, 0.95, 1.00], dtype=np.float32)
"""sRGB of the wireframe: seen on skin, on dark and on light grounds."""
_TO_VIEWER = np.array([1.0, -1.0, -1.0])


def depth(view: View, people: Sequence[int], image: Picture | None) -> np.ndarray:
    """Millimetres, rounded."""
    millimetres = np.where(view.mask, np.rint(1000 * view.depth.astype(np.float64)), 0)
    return np.clip(millimetres, 0, 65535).astype(np.uint16)


def normals(view: View, people: Sequence[int], image: Picture | None) -> np.ndarray:
    return np.where(view.mask[..., None], to_bytes((view.normals * _TO_VIEWER + 1) / 2), 0).astype(np.uint8)


def mask(view: View, people: Sequence[int], image: Picture | None) -> np.ndarray:
    number = np.array([*(person + 1 for person in people), 0], dtype=np.uint8)  # who = -1 takes the last
    return number[view.who]


def wireframe(view: View, people: Sequence[int], image: Picture | None) -> np.ndarray:
    width, height = view.camera.size
    below = np.full((height, width, 3), BACKGROUND) if image is None else image / np.float32(255)
    cover = view.wires[..., None]
    return to_bytes(below * (1 - cover) + WIRE * cover)


def map_writer(name: str, picture: Callable[[View, Sequence[int], Picture | None], np.ndarray]) -> PictureWriter:
    """A writer of `images/<frame>/<name>.png`. It raises OutputError."""

    def write(solutions: Sequence[Solution], folder: Path, options: PictureOptions) -> list[Path]:
        def draw(job: tuple[int, Picture | None]) -> bytes:
            k, image = job
            people = people_at(solutions, k)
            view = View([mesh for _, mesh in people], shared_camera(solutions, k), options.surface())
            return png_bytes(picture(view, [person for person, _ in people], image))

        names = solutions[0].observations.names
        jobs = zip(range(len(names)), pictures_of(solutions))  # noqa: B905 - pictures_of never ends
        return [
            write_bytes(folder / "images" / frame / f"{name}.png", content)
            for frame, content in zip(names, ordered_map(draw, jobs), strict=True)
        ]

    return write
