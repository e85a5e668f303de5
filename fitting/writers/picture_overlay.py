"""images/<frame>/overlay.png, and overlay.mp4 for a clip: what a person judges a fit by.

Everybody of a picture is in one strip. Without pictures (landmarks only) the background is plain. A frame without a
body shows the picture alone.

A clip's strips are in the video. As single files they take half a megabyte a frame, so longer clips have them only when
asked for: `render.overlay_pictures`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float

from fitting.render import RAYS, Crop, Look, Renderer, Subject, crop_round, overlay
from fitting.types import Observations, Solution
from fitting.writers.atomic import write_bytes
from fitting.writers.options import PictureOptions
from fitting.writers.png import png_bytes
from fitting.writers.posed import Picture, ordered_map, people_at, pictures_of, shared_camera
from fitting.writers.video import video_writer

CROP_FRAMES = 24
"""Meshes posed to find the one crop of a clip; the landmarks of all frames count as well."""
SHORT_CLIP = 48
"""Clips of no more frames have a png of each."""
DEFAULT_FPS = 25.0
FAINT = 0.6
"""Opacity of an interpolated or held mesh, of a fitted one's."""
TURNED_AWAY = -0.35
"""Sine of the angle from which on a body looks away to the left of the picture."""


def write(solutions: Sequence[Solution], folder: Path, options: PictureOptions) -> list[Path]:
    """The strips of everybody. Raises OutputError."""
    seen = solutions[0].observations
    crops, looks = plan_crops(solutions, options.panel), plan_looks(solutions)
    with_files = wants_files(seen, options)
    jobs = zip(range(len(seen)), pictures_of(solutions))  # noqa: B905 - pictures_of never ends
    renderer = options.surface()

    def draw(job: tuple[int, Picture | None]) -> tuple[Picture, bytes]:
        k, image = job
        strip = draw_strip(solutions, k, image, crops[k], looks[k], renderer)
        return strip, png_bytes(strip) if with_files else b""

    with contextlib.ExitStack() as stack:
        append, written = _clip_video(stack, solutions[0], folder, crops)
        for name, (strip, png) in zip(seen.names, ordered_map(draw, jobs), strict=True):
            if with_files:
                written.append(write_bytes(folder / "images" / name / "overlay.png", png))
            append(strip)
    return written


def draw_strip(
    solutions: Sequence[Solution], k: int, image: Picture | None, crop: Crop, look: Look, renderer: Renderer = RAYS
) -> Picture:
    """The strip of frame `k`."""
    return overlay(image, subjects_at(solutions, k), shared_camera(solutions, k).K, crop, look, renderer)


def wants_files(seen: Observations, options: PictureOptions) -> bool:
    """Whether every frame has a png of its own."""
    if options.overlay_pictures != "auto":
        return options.overlay_pictures == "all"
    return not seen.is_clip or len(seen) <= SHORT_CLIP


def subjects_at(solutions: Sequence[Solution], k: int) -> list[Subject]:
    """Everybody of frame `k`. A mesh that is not fitted to its own frame is fainter."""
    meshes = dict(people_at(solutions, k, FAINT))
    found = []
    for i, solution in enumerate(solutions):
        seen = solution.observations
        measured = np.where(seen.confidence[k][:, None] > 0, seen.keypoints[k], np.nan)
        found.append(Subject(meshes.get(i), measured, solution.projected[k] if i in meshes else None))
    return found


def plan_crops(solutions: Sequence[Solution], panel: int) -> list[Crop]:
    """One crop per frame; a clip has a single one for all its frames, so that its video stands still."""
    seen = solutions[0].observations
    sizes = [(int(width), int(height)) for width, height in seen.image_sizes]
    if not seen.is_clip:
        return [crop_round(_points(solutions, k, True), sizes[k], panel) for k in range(len(seen))]
    posed = [k for k in range(len(seen)) if any(s.source[k] != "missing" for s in solutions)]
    chosen = set(posed[:: max(1, -(-len(posed) // CROP_FRAMES))])
    points = [_points(solutions, k, k in chosen) for k in posed]
    crop = crop_round(np.concatenate(points) if points else np.zeros((0, 2)), sizes[0] if sizes else (2, 2), panel)
    return [crop] * len(seen)


def plan_looks(solutions: Sequence[Solution]) -> list[Look]:
    """Which side each frame is seen from: a face that looks away to the left is turned to the right, not further.

    A clip keeps to one side, and so does a picture of several people: most of them decide.
    """
    left = Look()
    right = dataclasses.replace(left, side_degrees=-left.side_degrees)
    rows = [solution.parameters.rows()["global_orient"][:, :3] for solution in solutions]
    rotations = roma.rotvec_to_rotmat(torch.as_tensor(np.stack(rows), dtype=torch.float64))
    aside = np.median(rotations[..., 0, 2].numpy(), axis=0)  # how far to the right a body's front points, -1..1
    if solutions[0].observations.is_clip and len(aside):
        aside = np.full(len(aside), np.median(aside))
    return [right if value < TURNED_AWAY else left for value in aside]


def _clip_video(
    stack: contextlib.ExitStack, solution: Solution, folder: Path, crops: list[Crop]
) -> tuple[Callable[[Picture], None], list[Path]]:
    """A function that appends a strip to the clip's video (does nothing for photos), and the files begun."""
    seen = solution.observations
    if not seen.is_clip or len(solution) == 0:
        return (lambda strip: None), []
    path = folder / "overlay.mp4"
    width, height = crops[0].size
    size = (2 * width + max(width, height), height)
    return stack.enter_context(video_writer(path, seen.fps or DEFAULT_FPS, size)), [path]


def _points(solutions: Sequence[Solution], k: int, with_mesh: bool) -> Float[np.ndarray, "points 2"]:
    """What a crop of frame `k` must hold: fitted landmarks and meshes, else the measured landmarks."""
    points = []
    for solution in solutions:
        seen = solution.observations
        fitted = solution.source[k] != "missing"
        points.append(solution.projected[k] if fitted else seen.keypoints[k][seen.confidence[k] > 0])
    if with_mesh:
        camera = shared_camera(solutions, k)
        points += [camera.to_pixels(mesh.vertices) for _, mesh in people_at(solutions, k)]
    return np.concatenate(points).astype(np.float64)
