"""Everybody of a frame as meshes before one camera, and the pictures behind them."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from fitting.render import Camera, Mesh
from fitting.types import Solution
from fitting.writers.options import PictureOptions

Picture = UInt8[np.ndarray, "_ _ 3"]  # any size: an input is seldom as large as its strip
PictureWriter = Callable[[Sequence[Solution], Path, PictureOptions], list[Path]]
"""Everybody of an input, the folder, how -> paths written: people of one picture are drawn into one picture."""

_CAMERA_FROM_WORLD = np.array([1.0, -1.0, -1.0])


def posed_mesh(solution: Solution, k: int, opacity: float = 1.0) -> Mesh | None:
    """The mesh of frame `k` in camera axes; None where the frame has no body, or one that cannot be drawn."""
    if solution.source[k] == "missing":
        return None
    vertices = solution.vertices(k) * _CAMERA_FROM_WORLD
    if not np.isfinite(vertices).all():
        return None
    colours = solution.body.colours
    return Mesh(
        vertices,
        np.asarray(solution.body.faces),
        None if colours is None else np.asarray(colours),
        None if opacity == 1 else np.full(len(vertices), opacity),
    )


def vertex_count(solution: Solution) -> int:
    return len(solution.vertices(0))


def shared_camera(solutions: Sequence[Solution], k: int) -> Camera:
    """The camera of frame `k`: the first person's that has a body there."""
    first = next((s for s in solutions if s.source[k] != "missing"), solutions[0])
    width, height = (int(extent) for extent in first.observations.image_sizes[k])
    return Camera(np.asarray(first.K[k], dtype=np.float64), (width, height))


def before_camera(mesh: Mesh, own: Float[np.ndarray, "3 3"], K: Float[np.ndarray, "3 3"]) -> Mesh:
    """A mesh seen by `K` in the same pixels and depths as by its `own`: where everybody's focal length was refined
    apart, sideways places change instead, which a picture does not show."""
    if np.array_equal(own, K):
        return mesh
    return Mesh(mesh.vertices @ (np.linalg.inv(K) @ own).T, mesh.faces, mesh.colours, mesh.opacity)


def people_at(solutions: Sequence[Solution], k: int, faint: float = 1.0) -> list[tuple[int, Mesh]]:
    """(index among `solutions`, mesh) of everybody who has a body in frame `k`, before `shared_camera`.

    `faint` is the opacity of a mesh that is not fitted to its own frame.
    """
    K = shared_camera(solutions, k).K
    posed = ((i, s, posed_mesh(s, k, 1.0 if s.source[k] == "fitted" else faint)) for i, s in enumerate(solutions))
    return [(i, before_camera(mesh, np.asarray(s.K[k]), K)) for i, s, mesh in posed if mesh is not None]


def pictures_of(solutions: Sequence[Solution]) -> Iterator[Picture | None]:
    """The input's pictures in order, then None for ever: a file that ended early costs its picture, not the row."""
    known = next((s.observations.pictures for s in solutions if s.observations.pictures is not None), None)
    yield from known.read() if known is not None else ()
    yield from itertools.repeat(None)


def ordered_map(function: Callable, jobs: Iterable, workers: int | None = None) -> Iterator:
    """`map` on threads with few jobs in flight: rays, numpy and png coding run outside Python's lock."""
    workers = workers or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
