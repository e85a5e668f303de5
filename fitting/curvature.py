"""The Gauss-Newton matrix of a problem, from what its terms say of their structure.

Pixels are differentiated in closed form, beliefs about parameters by their few coordinates. Only the matrix is built
here: gradients come from automatic differentiation of the objective itself, so that an approximation below (ties
between frames treat rotations as vectors) can cost an iteration but never the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting import geodesic, slopes
from fitting.beliefs import Frames, Ties, add_dense, add_elementwise, add_stencil, add_surface, unit_vector
from fitting.motion import Motion
from fitting.pixels import Measured, add_rows, differentiate_pixels, few_at_a_time
from fitting.problem import Problem, width
from fitting.solvers import Arrow, Blocks
from fitting.steering import steer
from fitting.terms import JointAcceleration, item_weights

WINDOW = 256  # frames whose matrices are in memory together, and what their Jacobians are made of

__all__ = ["LeastSquares", "clip_curvature", "frame_curvature", "item_weights", "unit_vector"]


@dataclass(frozen=True)
class LeastSquares:
    """A problem with its curvature: what the solvers are given."""

    problem: Problem

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        if slopes.is_closed(self.problem):
            return slopes.evaluate(self.problem.of(rows), x)
        return self.problem.evaluate(x, rows)

    def steer(self, start: Tensor, end: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return steer(self.problem.of(rows), start, end)

    def bend(self, x: Tensor, step: Tensor, rows: Tensor) -> Tensor:
        return geodesic.bend(self.problem.of(rows), x, step)

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        """The Gauss-Newton matrix of some problems at x."""
        chosen = self.problem.of(rows)
        n = width(chosen.local)
        own = x[:, : chosen.frames * n].unflatten(1, (chosen.frames, n))
        with torch.no_grad():
            moved = replace(chosen, base=chosen.retract(x))
            ties = clip_curvature(moved)
            motion = clip_motion(moved, own)

        def blocks(window: slice) -> Blocks:
            with torch.no_grad():
                frames = frame_curvature(moved.during(window), x.dtype)
                if ties.lean is not None:
                    there = ties.lean[:, window]
                    frames.lean = there if frames.lean is None else frames.lean + there
                found = frames.at_steps(own[:, window])
                if motion is not None:
                    found.own.add_(motion.own(window))
            return found

        # A rejected step asks for the same matrix again: of single frames it is kept.
        alone = blocks(slice(0, 1)) if moved.frames == 1 else None

        return Arrow(
            frames=moved.frames,
            width=n,
            shared=width(moved.shared),
            window=WINDOW,
            next=ties.next,
            second=ties.second,
            corner=ties.corner,
            blocks=blocks if alone is None else lambda _: Blocks(*(part.clone() for part in alone)),
            ties=None if motion is None else motion.ties,
            own=ties.own,
            precision=x.dtype,
        )


def clip_curvature(problem: Problem) -> Ties:
    """J' W J of the terms that look at the clip as a whole, in natural steps."""
    scene, ties = problem.scene(problem.base), Ties(problem)
    for term in problem.clip_terms.values():
        residuals = term.residuals(scene)
        if residuals is None:
            continue
        weights = item_weights(term, residuals)
        if term.structure == "stencil":
            add_stencil(ties, term, scene, residuals, weights)
        elif term.structure != "motion":
            add_elementwise(ties, term, scene, residuals, weights)
    return ties.in_natural_steps()


def clip_motion(problem: Problem, x: Float[Tensor, "problems frames n"]) -> Motion | None:
    """What the motion of joints ties; None where no term looks at it."""
    term = next((term for term in problem.clip_terms.values() if isinstance(term, JointAcceleration)), None)
    scene = problem.scene(problem.base)
    residuals = None if term is None else term.residuals(scene)
    if term is None or residuals is None:
        return None
    weights = item_weights(term, residuals) * term.rate(scene)[..., None].square()
    return Motion(problem, x, weights)


def frame_curvature(problem: Problem, precision: torch.dtype = torch.float64) -> Frames:
    """J' W J of all other terms, W from sigma, confidence and the kernel's slope (iteratively reweighted)."""
    frames = Frames(problem, precision)
    scene = problem.scene(problem.base)
    for term in problem.terms.values():
        residuals = term.residuals(scene) if term.structure != "pixels" and frames.concerns(term, scene) else None
        if residuals is None:
            continue
        weights = item_weights(term, residuals)
        if term.structure == "dense":
            add_dense(frames, term, scene, weights)
        elif term.structure == "surface":
            add_surface(frames, term, scene, weights)
        elif term.structure == "stencil":
            add_stencil(frames, term, scene, residuals, weights)
        else:
            add_elementwise(frames, term, scene, residuals, weights)
    seen = problem.only({name: term for name, term in problem.terms.items() if term.structure == "pixels"})
    for part, share in pieces(seen, frames.parts):
        add_pixels(part, share)
    return frames


def pieces(problem: Problem, whole: Blocks) -> Iterator[tuple[Problem, Blocks]]:
    """A few frames at a time, and where their share is collected: larger Jacobians fall out of the cache."""
    if not problem.terms:
        return
    for some, window in few_at_a_time(problem.count, problem.frames, WINDOW):
        part = problem.of(torch.arange(some.start, some.stop, device=problem.K.device))
        share = Blocks(whole.own[some, window], whole.border[some, window], whole.corner[some])
        yield part if problem.frames <= WINDOW else part.during(window), share


def add_pixels(problem: Problem, parts: Blocks) -> None:
    """The share of terms that measure pixels."""
    scene = problem.scene(problem.base)
    measured = []
    for term in problem.terms.values():
        residuals = term.residuals(scene)
        if residuals is not None:
            rows = term.pixel_rows(scene)
            weights = item_weights(term, residuals) * rows.scale[..., None].square()
            points = scene.pixels.shape[2] if rows.first is None else len(rows.first)
            measured.append(Measured(rows, weights.sqrt().unflatten(2, (points, -1))))
    add_rows(parts, differentiate_pixels(problem, scene), measured)
