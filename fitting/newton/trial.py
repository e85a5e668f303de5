"""Where problems were looked at last: those that go there need no second look for their model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from fitting.problem import Problem, pick
from fitting.terms import Scene
from fitting.terms.base import Coordinates


@dataclass(frozen=True)
class Trial:
    """Some problems, and the scene that their terms looked at."""

    rows: Int[Tensor, " rows"]
    scene: Scene

    def part(self, problem: Problem, place: Int[Tensor, " some"]) -> Scene:
        """The scene of those at `place` among its rows, which are `problem`: body and picture are not made again, nor
        are angles, if a term has asked for them."""
        posed, pixels = self.scene.picture
        found = replace(
            self.scene,
            parameters=pick(self.scene.parameters, place),
            start=problem.start,
            evidence=problem.evidence,
            take_picture=lambda: (posed.select(place), pixels[place]),
        )
        angles = self.scene.coordinates
        if not isinstance(angles, Coordinates):
            return found
        return found.with_coordinates({name: value[place] for name, value in angles.vectors.items()})
