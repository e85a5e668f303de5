"""What is believed in the end, kept small: the problem, what frames share, and where the middle lies. Covariances of
single frames, of any vertex or landmark, are made when asked for, from the frames around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import pixel_rows
from fitting.curvature import LeastSquares, unit_vector
from fitting.pixels import OFFSETS
from fitting.problem import Problem, width
from fitting.solvers import Arrow, Covariance, held
from fitting.types import Body, Embedding, InputError, Parameters, PointCovariance

NEAR = 30  # frames before and after a frame that it is seen together with; ties reach less far


@dataclass(frozen=True)
class Belief:
    """Of one frame's own unknowns and of the shared ones, landmark offsets left out, in the blocks' own units."""

    places: Mapping[str, slice]
    covariance: Float[Tensor, "unknowns unknowns"]  # about the mean
    shift: Float[Tensor, " unknowns"]  # of the mean from the result
    parameters: Parameters  # one problem of one frame, float64
    K: Float[Tensor, "1 1 3 3"]  # with the fitted focal length
    units: Float[Tensor, " unknowns"]  # natural steps


@dataclass(frozen=True)
class Posterior:
    """Natural steps from the result. `rows` are the input frames of all problems' frames, in order."""

    problem: Problem  # float64, based at the result, with the terms that take part
    shared: Float[Tensor, "problems m m"]  # covariance of what frames share
    shift: Float[Tensor, "problems unknowns"]  # from the peak to the mean
    rows: Mapping[int, int]

    def points(self, frame: int, body: Body, embedding: Embedding) -> PointCovariance:
        """Of points on the whole body in input frame `frame`. Raises InputError where the frame was not fitted."""
        belief = self.of_frame(frame)
        some = body.to(belief.covariance).restrict(embedding)
        parameters = belief.parameters
        posed = some.pose(parameters)
        eye = torch.eye(3).to(posed.points).expand(*posed.points.shape, 3)
        J = jacobian(some, belief, posed, eye)
        moved = (J @ belief.shift)[..., None]
        world = J @ belief.covariance @ J.mT + moved @ moved.mT
        seen = jacobian(some, belief, posed, pixel_rows(posed.points, belief.K))
        return PointCovariance(world.cpu().numpy(), (seen @ belief.covariance @ seen.mT).cpu().numpy())

    def of_frame(self, frame: int) -> Belief:
        if frame not in self.rows:
            raise InputError(f"frame {frame} was not fitted: there are error bars only where `valid` is true")
        row, t = divmod(self.rows[frame], self.problem.frames)
        problem = self.problem.select(torch.tensor([row], device=self.problem.K.device))
        near = slice(max(t - NEAR, 0), min(t + NEAR + 1, problem.frames))
        around = linked(problem, near)
        chain = Covariance(arrow_of(around), is_shared=False)
        shared = self.shared[row : row + 1]
        n, m = width(problem.local), width(problem.shared)
        kept = m - sum(p.stop - p.start for name, p in problem.shared.items() if name == OFFSETS)
        common = shared[0, :kept, :kept]
        for part in chain.frames(shared):
            if part.frames.start <= t - near.start < part.frames.stop:
                k = t - near.start - part.frames.start
                own, cross = part.own[0, k], part.cross[0, k, :, :kept]
        covariance = torch.cat([torch.cat([own, cross], dim=1), torch.cat([cross.mT, common], dim=1)])
        units = torch.cat([unit_vector(problem, problem.local), unit_vector(problem, problem.shared)[:kept]])
        border = problem.frames * n
        shift = torch.cat([self.shift[row, t * n : (t + 1) * n], self.shift[row, border : border + kept]])
        here = problem.at(torch.tensor([t], device=problem.K.device))
        places = dict(problem.local) | {
            name: slice(p.start + n, p.stop + n) for name, p in problem.shared.items() if name != OFFSETS
        }
        return Belief(
            places, covariance * units[:, None] * units, shift * units, here.base, here.camera(here.base), units
        )


def linked(problem: Problem, window: slice) -> Problem:
    """Some frames in a row, still tied to each other."""
    part = problem.at(torch.arange(window.start, window.stop, device=problem.K.device))
    links = problem.evidence.linked[:, window.start : max(window.stop - 1, window.start)]
    return replace(part, evidence=replace(part.evidence, linked=links))


def arrow_of(problem: Problem) -> Arrow:
    every = torch.arange(problem.count, device=problem.K.device)
    return held(LeastSquares(problem).curvature(problem.zero(), every))


def jacobian(body: Body, belief: Belief, posed: object, functional: Tensor) -> Float[Tensor, "points rows unknowns"]:
    """d (functional . point) / d unknown; only what a focal length does to a pixel is left out: it moves no point."""
    by_block = body.differentiate(belief.parameters, posed, functional, list(belief.places))
    rows = functional.new_zeros(*functional.shape[2:4], len(belief.shift))
    for name, place in belief.places.items():
        if name in by_block:
            rows[..., place] = by_block[name][0, 0]
    return rows
