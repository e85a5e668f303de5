"""images/<frame>/<person>/overlay.png for every frame, and overlay.mp4 for a clip: what a person judges a fit by.

Without pictures (landmarks only) the strips have a plain background. A frame without a body shows the picture alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float, UInt8

from fitting.render import NEAREST, Crop, Look, Mesh, Subject, crop_round, overlay
from fitting.types import Solution
from fitting.writers.atomic import write_bytes
from fitting.writers.facts import person_name
from fitting.writers.video import video_writer

PANEL = 512
"""Longer side of a panel in pixels."""
CROP_FRAMES = 24
"""Meshes posed to find the one crop of a clip; the landmarks of all frames count as well."""
DEFAULT_FPS = 25.0
FAINT = 0.6
"""Opacity of an interpolated or held mesh, of a fitted one's."""
TURNED_AWAY = -0.35
"""Sine of the angle from which on a body looks away to the left of the picture."""
_CAMERA_FROM_WORLD = np.array([1.0, -1.0, -1.0])

Picture = UInt8[np.ndarray, "_ _ 3"]  # any size: an input is seldom as large as its strip


def write(solution: Solution, folder: Path) -> list[Path]:
    """The strips of one person. Raises OutputError."""
    seen = solution.observations
    crops, looks = plan_crops(solution), plan_looks(solution)
    images = itertools.repeat(None) if seen.pictures is None else itertools.chain(seen.pictures.read(), _nothing())
    jobs = zip(range(len(solution)), images)  # noqa: B905 - pictures may go on where the observations end

    def draw(job: tuple[int, Picture | None]) -> tuple[Picture, bytes]:
        k, image = job
        strip = draw_strip(solution, k, image, crops[k], looks[k])
        return strip, png_bytes(strip)

    with contextlib.ExitStack() as stack:
        append, written = _clip_video(stack, solution, folder, crops)
        for name, (strip, png) in zip(seen.names, ordered_map(draw, jobs), strict=True):
            written.append(write_bytes(folder / "images" / name / seen.person / "overlay.png", png))
            append(strip)
    return written


def draw_strip(solution: Solution, k: int, image: Picture | None, crop: Crop, look: Look) -> Picture:
    """The strip of frame `k`. A mesh that is not fitted to its own frame is drawn fainter."""
    seen = solution.observations
    mesh = posed_mesh(solution, k)
    subject = Subject(
        mesh,
        np.where(seen.confidence[k][:, None] > 0, seen.keypoints[k], np.nan),
        None if mesh is None else solution.projected[k],
    )
    if solution.source[k] != "fitted":
        look = dataclasses.replace(look, opacity=FAINT * look.opacity)
    return overlay(image, [subject], solution.K[k], crop, look)


def plan_crops(solution: Solution) -> list[Crop]:
    """One crop per frame; a clip has a single one for all its frames, so that its video stands still."""
    sizes = solution.observations.image_sizes
    if not solution.observations.is_clip:
        return [_crop(_points(solution, k, with_mesh=True), sizes[k]) for k in range(len(solution))]
    posed = [k for k in range(len(solution)) if solution.source[k] != "missing"]
    chosen = set(posed[:: max(1, -(-len(posed) // CROP_FRAMES))])
    points = [_points(solution, k, with_mesh=k in chosen) for k in posed]
    crop = _crop(np.concatenate(points) if points else np.zeros((0, 2)), sizes[0])
    return [crop] * len(solution)


def plan_looks(solution: Solution) -> list[Look]:
    """Which side each frame is seen from: a face that looks away to the left is turned to the right, not further.

    A clip keeps to one side.
    """
    left = Look()
    right = dataclasses.replace(left, side_degrees=-left.side_degrees)
    rows = solution.parameters.rows().get("global_orient")
    if rows is None or len(rows) == 0:
        return [left] * len(solution)
    rotations = roma.rotvec_to_rotmat(torch.as_tensor(rows[:, :3], dtype=torch.float64))
    aside = rotations[:, 0, 2].numpy()  # how far to the right of the picture the body's front points, -1..1
    if solution.observations.is_clip:
        aside = np.full(len(rows), np.median(aside))
    return [right if value < TURNED_AWAY else left for value in aside]


def posed_mesh(solution: Solution, k: int) -> Mesh | None:
    """The mesh of frame `k` in camera axes; None where the frame has no body, or one that cannot be drawn."""
    if solution.source[k] == "missing":
        return None
    vertices = solution.vertices(k) * _CAMERA_FROM_WORLD
    colours = getattr(solution.body, "colours", None)
    if not np.isfinite(vertices).all():
        return None
    return Mesh(vertices, np.asarray(solution.body.faces), None if colours is None else np.asarray(colours))


def png_bytes(picture: Picture) -> bytes:
    """A png. Level 1: three times as fast as the default, a tenth larger."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def ordered_map(function: Callable, jobs: Iterable, workers: int | None = None) -> Iterator:
    """`map` on threads with few jobs in flight: rays, numpy and png coding run outside Python's lock."""
    workers = workers or min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _clip_video(
    stack: contextlib.ExitStack, solution: Solution, folder: Path, crops: list[Crop]
) -> tuple[Callable[[Picture], None], list[Path]]:
    """A function that appends a strip to the clip's video (does nothing for photos), and the files begun."""
    seen = solution.observations
    if not seen.is_clip or len(solution) == 0:
        return (lambda strip: None), []
    path = folder / person_name("overlay.mp4", seen.person)
    width, height = crops[0].size
    size = (2 * width + max(width, height), height)
    return stack.enter_context(video_writer(path, seen.fps or DEFAULT_FPS, size)), [path]


def _crop(points: Float[np.ndarray, "points 2"], size: np.ndarray) -> Crop:
    return crop_round(points, (int(size[0]), int(size[1])), PANEL)


def _points(solution: Solution, k: int, with_mesh: bool) -> Float[np.ndarray, "points 2"]:
    """What a crop of frame `k` must hold: fitted landmarks and mesh, else the measured landmarks."""
    seen = solution.observations
    if solution.source[k] == "missing":
        return np.asarray(seen.keypoints[k][seen.confidence[k] > 0], dtype=np.float64)
    points = np.asarray(solution.projected[k], dtype=np.float64)
    mesh = posed_mesh(solution, k) if with_mesh else None
    if mesh is None:
        return points
    pixels = mesh.vertices[mesh.vertices[:, 2] > NEAREST] @ solution.K[k].T
    return np.concatenate([points, pixels[:, :2] / pixels[:, 2:]])


def _nothing() -> Iterator[None]:
    """After the last picture: a file that ended early costs its picture, not the row."""
    while True:
        yield None
