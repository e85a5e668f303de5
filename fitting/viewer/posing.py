"""Meshes and landmarks of a finished run, posed again from its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from fitting import bodies
from fitting.config import FitConfig
from fitting.types import Body, Embedding, InputError, ModelError, Parameters
from fitting.viewer.folder import Person, Results


@dataclass(frozen=True)
class Track:
    """One person over all frames: the result, and the start where the file has it."""

    body: Body
    person: Person
    result: Parameters  # 1 problem
    start: Parameters | None

    def vertices(self, k: int, start: bool = False) -> Float[np.ndarray, "vertices 3"]:
        """The whole mesh at frame `k` in the world, metres."""
        return self._points(self.body, k, start)

    def landmarks(self, k: int) -> Float[np.ndarray, "points 3"]:
        """Fitted landmarks on the body in the world, metres; NaN where the body has none, (0, 3) without a layout."""
        if self.keypoints is None:
            return np.zeros((0, 3))
        restricted, index = self.keypoints
        points = np.full((self.person.arrays["keypoints"].shape[1], 3), np.nan)
        points[index] = self._points(restricted, k, False)
        return points

    @cached_property
    def keypoints(self) -> tuple[Body, np.ndarray] | None:
        """The body restricted to the run's layout, and which of the layout's points it gives, in order."""
        embedding = self.body.embeddings.get(self.person.text("layout"))
        return None if embedding is None else (self.body.restrict(embedding), in_order(embedding))

    def _points(self, body: Body, k: int, start: bool) -> np.ndarray:
        parameters = self.start if start and self.start is not None else self.result
        with torch.no_grad():
            posed = body.pose(parameters.at(slice(k, k + 1)))
        return posed.points[0, 0].double().cpu().numpy()


def tracks(results: Results) -> list[Track]:
    """Everybody of a run. Raises InputError without conf.yaml, ModelError where the model file is another one now."""
    body = load_body(results)
    return [
        Track(
            body,
            person,
            parameters(body, person, ""),
            parameters(body, person, "start_") if has_start(person) else None,
        )
        for person in results.people
    ]


def has_start(person: Person) -> bool:
    return "start_transl" in person.arrays


def load_body(results: Results) -> Body:
    path = results.folder / "conf.yaml"
    if not path.is_file():
        raise InputError(f"{path}: missing, so the body is not known: fit again")
    body = bodies.load(**FitConfig.load(path).body.model_dump())
    expected = results.people[0].text("model_sha256")
    if body.sha256 != expected:
        raise ModelError(
            f"{results.folder} was fitted to a {results.people[0].text('model')} with sha256 {expected[:16]}..., the "
            f"file that is there now has {body.sha256[:16]}...: put the old file back, or fit again"
        )
    return body


def parameters(body: Body, person: Person, prefix: str) -> Parameters:
    """The blocks of a file as one problem of all frames; a block that is not there is neutral."""
    neutral = body.neutral(1, len(person))
    known = {b.name: b for b in body.blocks if prefix + b.name in person.arrays}
    values = {
        name: block.from_rows(person.arrays[prefix + name])[None].to(neutral[name]) for name, block in known.items()
    }
    return neutral.replace(values)


def in_order(embedding: Embedding) -> np.ndarray:
    """Layout indices in the order in which a restricted body gives its points."""
    static = embedding.points.cpu().numpy()
    return static if embedding.contour is None else np.concatenate([static, embedding.contour.points.cpu().numpy()])


def input_pictures(results: Results) -> Iterator[np.ndarray] | None:
    """The frames of the input in order, where they are still there; None where not."""
    from fitting import readers
    from fitting.types import FitError, Pictures

    path = results.folder / "conf.yaml"
    try:
        config = FitConfig.load(path)
        found = readers.read(Path(config.input), readers.ReadOptions(**config.read.model_dump(exclude={"cuts"})))
    except FitError:
        return None
    if isinstance(found, Pictures):
        return found.read()
    pictures = found[0].pictures if found else None
    return None if pictures is None else pictures.read()
