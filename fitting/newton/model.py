"""Newton's gradient and matrix for problems of one frame: Gauss-Newton's matrix and what that leaves out, the bend of
points' paths as joints turn.

Where keypoints are far from where a body can be (a detector's gross errors inside a wide kernel, fingers) residuals are
longer than levers: Gauss-Newton creeps for a hundred steps and more, and stops at saddles.

A problem is moved and then stands where it is, so that all derivatives are at a step of 0, where a turn and a change of
its vector are the same.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.beliefs import Frames, add_surface, unit_vector
from fitting.camera import focal_slopes, pixel_rows
from fitting.newton.beliefs import BELIEFS, Slopes, add_beliefs, add_slope
from fitting.newton.marks import are_marks, marks_of
from fitting.pixels import side_by_side
from fitting.problem import Problem, differentiate, pick, term_cost
from fitting.solvers.saddle_free import Model
from fitting.terms import Scene, item_weights
from fitting.types import Parameters

AT_ONCE = 96  # frames whose Jacobians are in memory together
REACH = 2.0  # natural steps that a joint turns at once: further on no second order is a guide
LEAST = 1e-9  # of a matrix's diagonal


def has_model(problem: Problem) -> bool:
    """Whether all terms have their second order here: keypoints, coordinates of a single frame, skin."""
    others = [term for term in problem.terms.values() if term.structure not in (*BELIEFS, "surface")]
    others = [term for term in others if term.structure != "motion" and len(term.stencil) < 2]  # those tie frames
    return problem.frames == 1 and are_marks(others) and "keypoint_offsets" not in problem.base


class Newton:
    """What `saddle_free` is given. `here` is where the problems stand; it is changed in place."""

    def __init__(self, problem: Problem) -> None:
        # Of one frame nothing is shared. What turns joints stands first: one block of the matrix.
        blocks = sorted(problem.free, key=lambda block: not problem.body.turns(block.name))
        self.problem = replace(problem, free=tuple(replace(block, shared=False) for block in blocks))
        self.turning = [block.name for block in blocks if problem.body.turns(block.name)]
        self.turns = sum(block.tangent_size for block in blocks if problem.body.turns(block.name))
        self.here = Parameters({name: value.clone() for name, value in problem.base.items()})
        self.beliefs = [term for term in problem.terms.values() if term.structure in BELIEFS]
        self.skins = {name: term for name, term in problem.terms.items() if term.structure == "surface"}
        self.marks = marks_of(problem)
        self.count, self.unknowns = problem.count, self.problem.size

    def at(self, rows: Tensor) -> Problem:
        found = self.problem.of(rows)
        return replace(found, base=self.here if len(rows) == self.count else pick(self.here, rows))

    def value(self, step: Tensor, rows: Tensor) -> Float[Tensor, " rows"]:
        with torch.no_grad():
            chosen = self.at(rows)
            scene = chosen.scene(chosen.retract(step))
            total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
            for marks in self.marks:
                total = total + marks.select(rows).cost(scene.pixels[:, 0])
            for term in (*self.beliefs, *self.skins.values()):
                residuals = term.residuals(scene)
                if residuals is not None:
                    total = total + term_cost(term, residuals).sum(dim=1)
            return total

    def move(self, step: Tensor, rows: Tensor) -> None:
        moved = self.at(rows).retract(step)
        for block in self.problem.free:
            self.here[block.name][rows] = moved[block.name]

    def model(self, rows: Tensor) -> Model:
        with torch.no_grad():
            parts = [self.model_of(some) for some in rows.split(AT_ONCE)]  # larger Jacobians fall out of the cache
        return Model(*(torch.cat(same) for same in zip(*parts, strict=True)))

    def model_of(self, rows: Tensor) -> Model:
        """Second order of all terms of a few problems."""
        problem = self.at(rows)
        scene, frames = problem.scene(problem.base), Frames(problem)
        slopes = add_beliefs(scene, frames, self.beliefs)
        for term in self.skins.values():
            residuals = term.residuals(scene)
            if residuals is not None:
                add_surface(frames, term, scene, item_weights(term, residuals))
        matrix = frames.own[:, 0]
        bend = self.add_marks(problem, scene, matrix, slopes, rows) if self.marks else None
        units = unit_vector(problem, problem.local)
        scale = (matrix.diagonal(dim1=1, dim2=2) * units.square()).clamp(min=LEAST)
        if bend is not None:
            matrix[:, : bend.shape[1], : bend.shape[1]] += bend
        gradient = torch.zeros_like(scale)
        for name, slope in slopes.items():
            gradient[:, problem.local[name]] = slope[:, 0].double()
        gradient *= units
        if self.skins:  # the matrix leaves out what coefficients do to the skin; the gradient must not
            gradient += differentiate(problem.only(self.skins), problem.zero())[1]
        reach = torch.full_like(scale, torch.inf)
        reach[:, : self.turns] = REACH
        return Model(gradient, matrix.mul_(units[:, None] * units), scale, reach)

    def add_marks(
        self, problem: Problem, scene: Scene, matrix: Tensor, slopes: Slopes, rows: Tensor
    ) -> Float[Tensor, "rows turns turns"] | None:
        """Slopes and Gauss-Newton's matrix of all keypoints, one product; the bend of what turns joints."""
        parts = [marks.select(rows).slopes(scene.pixels[:, 0]) for marks in self.marks]
        by_pixel, weight = (sum(same[1:], start=same[0]) for same in zip(*parts, strict=True))
        parameters, K = scene.parameters, problem.camera(scene.parameters)
        functional = pixel_rows(scene.posed.points, K)
        columns = pixel_columns(problem, scene, functional, K)
        gram = (columns * weight.flatten(1)[..., None]).mT @ columns
        matrix += gram
        along = (by_pixel.flatten(1)[:, None] @ columns)[:, 0]
        for name, place in problem.local.items():
            add_slope(slopes, name, along[:, None, place])
        if not self.turning:
            return None
        forces = (functional * by_pixel[:, None, :, :, None]).sum(dim=-2)
        return problem.body.bend(parameters, scene.posed, forces, self.turning)[:, 0]


def pixel_columns(problem: Problem, scene: Scene, functional: Tensor, K: Tensor) -> Float[Tensor, "rows pixels n"]:
    """d pixel / d step of all blocks, end to end."""
    found = problem.body.differentiate(scene.parameters, scene.posed, functional, list(problem.local))
    if "focal" in problem.local:
        found["focal"] = focal_slopes(scene.posed.points, K)[..., None]
    return side_by_side([found[name] for name in problem.local])[:, 0].flatten(1, 2)
