"""visibility.npz: which vertices the camera sees in every frame; hidden are also those behind somebody else.

visible (F, V) bool; names (F,); person, model, model_sha256. Nothing is visible in frames without a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fitting.render import join, visible_vertices
from fitting.types import Solution
from fitting.writers.facts import person_name
from fitting.writers.npz import write_npz
from fitting.writers.options import PictureOptions
from fitting.writers.posed import ordered_map, people_at, shared_camera, vertex_count


def write(solutions: Sequence[Solution], folder: Path, options: PictureOptions) -> list[Path]:
    """One file per person. Raises OutputError."""
    frames = list(ordered_map(lambda k: visible_at(solutions, k), range(len(solutions[0]))))
    written = []
    for i, solution in enumerate(solutions):
        arrays = {
            "visible": np.stack([frame[i] for frame in frames]),
            "names": np.array(solution.observations.names),
            "person": np.array(solution.observations.person),
            "model": np.array(solution.body.name),
            "model_sha256": np.array(solution.body.sha256),
        }
        path = folder / person_name("visibility.npz", solution.observations.person)
        written.append(write_npz(path, arrays, compress=True))
    return written


def visible_at(solutions: Sequence[Solution], k: int) -> list[np.ndarray]:
    """For every person, which of his vertices are seen in frame `k`."""
    found = [np.zeros(vertex_count(solution), dtype=bool) for solution in solutions]
    people = people_at(solutions, k)
    if people:
        seen = visible_vertices(join([mesh for _, mesh in people]), shared_camera(solutions, k))
        ends = np.cumsum([len(mesh.vertices) for _, mesh in people])
        for (person, _), part in zip(people, np.split(seen, ends[:-1]), strict=True):
            found[person] = part
    return found
