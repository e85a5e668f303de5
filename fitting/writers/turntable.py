"""turntable.mp4: a person turned once round the vertical, as in the frame that fits best.

Photos are unrelated: each has its own, images/<frame>/turntable.mp4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fitting.render import BACKGROUND, Camera, Mesh, composite, to_bytes
from fitting.types import Solution
from fitting.writers.facts import person_name
from fitting.writers.options import PictureOptions
from fitting.writers.posed import ordered_map, posed_mesh
from fitting.writers.video import video_writer

STEPS = 96
"""Pictures of one turn: four seconds."""
FPS = 24.0
DISTANCE = 4.0
"""From the mesh's middle to the camera, in radii of the mesh."""


def write(solutions: Sequence[Solution], folder: Path, options: PictureOptions) -> list[Path]:
    """One video per person, of photos one per person and photo. Raises OutputError."""
    written = []
    for solution in solutions:
        for k, place in best_frames(solution, folder):
            path = place / person_name("turntable.mp4", solution.observations.person)
            mesh = posed_mesh(solution, k)
            if mesh is not None:
                written.append(film(mesh, path, options))
    return written


def best_frames(solution: Solution, folder: Path) -> Iterator[tuple[int, Path]]:
    """The frames that are shown, and where to."""
    fitted = [k for k in range(len(solution)) if solution.source[k] == "fitted"]
    if solution.observations.is_clip:
        best = min(fitted, key=lambda k: (solution.error_percent[k], k), default=None)
        yield from () if best is None else [(best, folder)]
    else:
        yield from ((k, folder / "images" / solution.observations.names[k]) for k in fitted)


def film(mesh: Mesh, path: Path, options: PictureOptions) -> Path:
    size = (options.panel // 2 * 2, options.panel // 2 * 2)
    renderer = options.surface()
    background = np.full((size[1], size[0], 3), BACKGROUND, dtype=np.float32)

    def draw(step: int) -> np.ndarray:
        camera = camera_round(mesh, 2 * math.pi * step / STEPS, size)
        return to_bytes(composite(renderer.layer(mesh, camera), background))

    _ = mesh.scene, mesh.carried  # made once, not by every thread
    with video_writer(path, FPS, size) as append:
        for picture in ordered_map(draw, range(STEPS)):
            append(picture)
    return path


def camera_round(mesh: Mesh, angle: float, size: tuple[int, int]) -> Camera:
    """A camera that has the whole mesh in its picture, turned by `angle` round the vertical through its middle."""
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    radius = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    focal = min(size) / 2 * math.sqrt(DISTANCE**2 - 1)  # the sphere round the mesh touches the picture's sides
    K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    return Camera(K, size, rotation, np.array([0, 0, DISTANCE * radius]) - rotation @ middle)
