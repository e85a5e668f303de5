"""Beliefs about lengths that may be counted in sizes of the body.

Where many frames share one shape, each has coefficients and motion of its own that cost something, and all of them cost
less on a smaller head that is nearer: the joint peak of shape and frames runs away with the number of frames (Neyman &
Scott, 1948). Counted in proportion to the body's size nothing is gained by a smaller one.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from fitting.terms.base import Scene, Term

LENGTHS = ("expression", "transl")  # blocks that move points by lengths


class BySize(Term):
    by_size: bool = Field(
        default=False, description="in proportion to the body: a smaller one moves its face, and itself, by less"
    )

    def size(self, scene: Scene) -> Tensor | float:
        """Of the shaped body by its mean, (problems, frames or 1, 1); 1 where nothing is counted by it."""
        if not self.by_size or "betas" not in scene.coordinates:
            return 1.0
        return scene.body.sizes.of(scene.coordinates["betas"])[..., None]


def counts_by_size(term: Term) -> bool:
    return isinstance(term, BySize) and term.by_size
