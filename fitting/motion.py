"""Curvature of joints that move through space: whole blocks that tie each frame to the next two.

A second difference a0 x_t + a1 x_t+1 + a2 x_t+2 of joint places x with Jacobians J adds a_i a_j J_t+i' W J_t+j. What
the person's shape, and the distance that the term divides by, have to do with it is left out: it costs iterations, not
the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.beliefs import unit_vector
from fitting.problem import Problem, width
from fitting.terms import JointAcceleration
from fitting.turns import left_jacobian, turn_columns


@dataclass(frozen=True)
class Motion:
    """All motion terms of a clip at its base."""

    problem: Problem  # its base is where it is
    x: Float[Tensor, "problems frames n"]  # the step that led there
    weights: Float[Tensor, "problems triples joints"]  # of squared second differences in metres per frame squared

    def own(self, window: slice) -> Float[Tensor, "problems some n n"]:
        J = self.jacobian(window)
        stencil = JointAcceleration.stencil
        total = torch.stack([a * a * self.shifted(window, -i) for i, a in enumerate(stencil)]).sum(dim=0)
        return self.product(J, total, J)

    def ties(self, window: slice) -> tuple[Tensor, Tensor]:
        """With the next frame and with the one after it, zero behind the last: (problems, some, n, n) each."""
        a0, a1, a2 = JointAcceleration.stencil
        count = window.stop - window.start
        J = self.jacobian(slice(window.start, min(window.stop + 2, self.problem.frames)))
        J = torch.nn.functional.pad(J, (0, 0, 0, 0, 0, window.stop + 2 - window.start - J.shape[1]))
        near = a0 * a1 * self.shifted(window, 0) + a1 * a2 * self.shifted(window, -1)
        far = a0 * a2 * self.shifted(window, 0)
        return self.product(J[:, :count], near, J[:, 1:-1]), self.product(J[:, :count], far, J[:, 2:])

    def shifted(self, window: slice, by: int) -> Float[Tensor, "problems some joints"]:
        """Of every frame in the window the weights of the triple that begins `by` frames from it, 0 where none is."""
        padded = torch.nn.functional.pad(self.weights, (0, 0, 2, 2))
        return padded[:, window.start + 2 + by : window.stop + 2 + by]

    def product(self, left: Tensor, weights: Tensor, right: Tensor) -> Float[Tensor, "problems some n n"]:
        by_row = weights.repeat_interleave(3, dim=-1)[..., None].to(right)
        return (left.mT @ (by_row * right)).double()

    def jacobian(self, window: slice) -> Float[Tensor, "problems some rows n"]:
        """d place of every joint / d natural step of the frame's own unknowns, three rows a joint."""
        problem, frames = self.problem, torch.arange(window.start, window.stop, device=self.x.device)
        base, bones, joints = problem.base.at(frames), problem.body.bones, self.weights.shape[2]
        posed = bones.pose(base)
        eye = torch.eye(3).to(posed.points).expand(*posed.points.shape[:3], 3, 3)
        rows = bones.differentiate(base, posed, eye, list(problem.local))
        J = posed.points.new_zeros(*posed.points.shape[:2], 3 * joints, width(problem.local))
        for name, place in problem.local.items():
            if name in rows:
                J[..., place] = rows[name][:, :, :joints].flatten(2, 3)
        for block in problem.free:
            if block.kind == "rotation" and block.name in problem.local:
                place = problem.local[block.name]
                turns = left_jacobian(self.x[:, frames][..., place].unflatten(-1, (-1, 3)) * block.unit).to(J)
                J[..., place] = turn_columns(J[..., place], turns)
        return J * unit_vector(problem, problem.local).to(J)
