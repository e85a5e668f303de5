"""Newton's gradient and matrix for problems of one frame: Gauss-Newton's matrix and what that leaves out, the bend of
points' paths as joints turn.

Where keypoints are far from where a body can be (a detector's gross errors inside a wide kernel, fingers) residuals are
longer than levers: Gauss-Newton creeps for a hundred steps and more, and stops at saddles.

A problem is moved and then stands where it is, so that all derivatives are at a step of 0, where a turn and a change of
its vector are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.beliefs import Frames, add_surface, unit_vector
from fitting.camera import focal_slopes, pixel_rows
from fitting.compiled import alone, takes
from fitting.newton.beliefs import BELIEFS, add_beliefs
from fitting.newton.limbs import limbs_of
from fitting.newton.marks import are_marks, marks_of
from fitting.newton.trial import Trial
from fitting.pixels import side_by_side
from fitting.problem import Problem, differentiate, pick, term_cost
from fitting.solvers.saddle_free import Model
from fitting.terms import Scene, counts_by_size, item_weights
from fitting.types import Parameters

AT_ONCE, COMPILED_AT_ONCE = 256, 1024  # problems that are differentiated together
FEW = 32  # whose matrices are put together at once: they should stay in the cache
REACH = 2.0  # natural steps that a joint turns at once: further on no second order is a guide
LEAST = 1e-9  # of a matrix's diagonal


def has_model(problem: Problem) -> bool:
    """Whether all terms have their second order here: keypoints, coordinates of a single frame, skin."""
    others = [term for term in problem.terms.values() if term.structure not in (*BELIEFS, "surface")]
    others = [term for term in others if term.structure != "motion" and len(term.stencil) < 2]  # those tie frames
    if any(counts_by_size(term) for term in problem.terms.values()):
        return False  # those lean on the shape
    return problem.frames == 1 and are_marks(others) and "keypoint_offsets" not in problem.base


class Newton:
    """What `saddle_free` is given. `here` is where the problems stand; it is changed in place."""

    def __init__(self, problem: Problem) -> None:
        self.limbs = limbs_of(problem)
        order = [name for limb in self.limbs for name in limb.names]
        blocks = sorted(problem.free, key=lambda block: order.index(block.name))
        # Of one frame nothing is shared.
        self.problem = replace(problem, free=tuple(replace(block, shared=False) for block in blocks))
        self.turning = [name for name in order if problem.body.turns(name)]
        self.turns = runs([self.problem.local[name] for name in self.turning])
        self.here = Parameters({name: value.clone() for name, value in problem.base.items()})
        self.beliefs = [term for term in problem.terms.values() if term.structure in BELIEFS]
        self.skins = {name: term for name, term in problem.terms.items() if term.structure == "surface"}
        self.marks = marks_of(problem)
        self.count, self.unknowns = problem.count, self.problem.size
        is_plain = self.marks and takes(self.count, problem.K.device)
        more = [place.start for name, place in self.problem.local.items() if name == "focal"]
        own = {name: place for name, place in self.problem.local.items() if name != "focal"}
        self.products = problem.body.products(own, more) if is_plain else None
        self.trial: Trial | None = None  # of `value`
        self.place = torch.full((self.count,), -1, device=problem.K.device)  # there, of those that have moved to it

    def at(self, rows: Tensor) -> Problem:
        found = self.problem.of(rows)
        return replace(found, base=self.here if len(rows) == self.count else pick(self.here, rows))

    def value(self, step: Tensor, rows: Tensor) -> Float[Tensor, " rows"]:
        with torch.no_grad():
            chosen = self.at(rows)
            scene = chosen.scene(chosen.retract(step))
            self.trial = Trial(rows, scene)
            self.place.fill_(-1)
            total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
            for marks in self.marks:
                total = total + marks.select(rows).cost(scene.pixels[:, 0])
            for term in (*self.beliefs, *self.skins.values()):
                residuals = term.residuals(scene)
                if residuals is not None:
                    total = total + term_cost(term, residuals).sum(dim=1)
            return total

    def move(self, accepted: Bool[Tensor, " rows"]) -> None:
        assert self.trial is not None
        place = torch.nonzero(accepted)[:, 0]
        rows = self.trial.rows[place]
        self.place[rows] = place
        for block in self.problem.free:
            self.here[block.name][rows] = self.trial.scene.parameters[block.name][place]

    def model(self, rows: Tensor) -> Model:
        with torch.no_grad():
            count = AT_ONCE if self.products is None else COMPILED_AT_ONCE
            parts = [self.model_of(some) for some in rows.split(count)]
        return parts[0] if len(parts) == 1 else Model(*(torch.cat(same) for same in zip(*parts, strict=True)))

    def model_of(self, rows: Tensor) -> Model:
        """Second order of all terms of a few problems."""
        problem, place = self.at(rows), self.place[rows]
        is_known = self.trial is not None and bool((place >= 0).all())
        scene = self.trial.part(problem, place) if self.trial and is_known else problem.scene(problem.base)
        frames = Frames(problem, problem.K.dtype)
        slopes = add_beliefs(scene, frames, self.beliefs)
        for term in self.skins.values():
            residuals = term.residuals(scene)
            if residuals is not None:
                add_surface(frames, term, scene, item_weights(term, residuals))
        units = unit_vector(problem, problem.local)
        matrix, natural, seen = frames.own[:, 0], units.to(problem.K), self.seen(problem, scene, rows)
        if self.products:
            diagonal, along = self.assemble_compiled(matrix, problem, scene, seen, natural)
        else:
            diagonal, along = self.assemble(matrix, self.by_pixels(problem, scene, seen), natural)
        scale = (diagonal * natural.square()).double().clamp(min=LEAST)
        gradient = along.double()
        for name, slope in slopes.items():
            gradient[:, problem.local[name]] += slope[:, 0]
        gradient *= units
        if self.skins:  # the matrix leaves out what coefficients do to the skin; the gradient must not
            gradient += differentiate(problem.only(self.skins), problem.zero())[1]
        reach = torch.full_like(scale, torch.inf)
        for turns in self.turns:
            reach[:, turns] = REACH
        return Model(gradient, matrix, scale, reach)

    def assemble_compiled(
        self,
        matrix: Float[Tensor, "rows n n"],
        problem: Problem,
        scene: Scene,
        seen: Seen | None,
        units: Float[Tensor, " n"],
    ) -> tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n"]]:
        """`assemble` by compiled code."""
        from fitting.newton.kernel import finish

        assert self.products is not None and seen is not None
        diagonal, along = matrix.new_empty(matrix.shape[:2]), matrix.new_zeros(matrix.shape[:2])
        extra = seen.functional[:, 0, :, :, :0]
        if "focal" in problem.local:
            extra = (focal_slopes(scene.posed.points, seen.K)[:, 0] * seen.root)[..., None]
        with alone():
            weighted = seen.functional[:, 0] * seen.root[..., None]
            self.products.add(scene.parameters, scene.posed, weighted, seen.pull, extra, matrix, along)
        bend = matrix[:, :0, :0]
        if self.turning:
            bend = problem.body.bend(scene.parameters, scene.posed, seen.forces, self.turning)[:, 0]
        place = torch.cat([torch.arange(0), *(torch.arange(turns.start, turns.stop) for turns in self.turns)])
        finish(*(t.numpy() for t in (bend, place, units, matrix, diagonal)))
        return diagonal, along

    def by_pixels(self, problem: Problem, scene: Scene, seen: Seen | None) -> ByPixels | None:
        """What all keypoints say, if any say something."""
        if seen is None:
            return None
        parameters, root = scene.parameters, seen.root
        weighted = seen.functional * root[:, None, :, :, None]
        columns = [limb.columns(parameters, scene.posed, weighted, seen.K, root) for limb in self.limbs]
        if not self.turning:
            return ByPixels(columns, seen.pull, None)
        bend = problem.body.bend(parameters, scene.posed, seen.forces, self.turning)
        return ByPixels(columns, seen.pull, bend[:, 0])

    def seen(self, problem: Problem, scene: Scene, rows: Tensor) -> Seen | None:
        if not self.marks:
            return None
        parts = [marks.select(rows).slopes(scene.pixels[:, 0]) for marks in self.marks]
        slope, weight = (sum(same[1:], start=same[0]) for same in zip(*parts, strict=True))
        root = weight.sqrt()
        pull = torch.where(root > 0, slope / root, torch.zeros_like(root))
        K = problem.camera(scene.parameters)
        return Seen(pixel_rows(scene.posed.points, K), slope, root, pull, K)

    def assemble(
        self, matrix: Float[Tensor, "rows n n"], pixels: ByPixels | None, units: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n"]]:
        """Beliefs' matrix in steps as that of everything in natural steps, in place, its lower triangle; the diagonal
        of Gauss-Newton's, and the pixels' slopes by steps."""
        diagonal, along = matrix.new_empty(matrix.shape[:2]), matrix.new_zeros(matrix.shape[:2])
        natural = units[:, None] * units
        for first in range(0, len(matrix), FEW):
            few = slice(first, first + FEW)
            part = matrix[few]
            if pixels is not None:
                self.add_columns(part, along[few], pixels.during(few))
            diagonal[few] = part.diagonal(dim1=1, dim2=2)
            if pixels is not None and pixels.bend is not None:
                self.add_bend(part, pixels.bend[few])
            part *= natural
        return diagonal, along

    def add_columns(self, matrix: Tensor, along: Tensor, pixels: ByPixels) -> None:
        """Gram matrix and slopes of pixels, limb by limb; limbs share points with the trunk alone."""
        trunk, first = None, 0
        for limb, blocks in zip(self.limbs, pixels.columns, strict=True):
            J = side_by_side(blocks)
            place, first = slice(first, first + J.shape[3]), first + J.shape[3]
            is_trunk = J.shape[1] == pixels.pull.shape[1]
            pull = pixels.pull if is_trunk else pixels.pull[:, limb.points]
            J = J.flatten(1, 2)
            along[:, place] = (pull.flatten(1)[:, None] @ J)[:, 0]
            if is_trunk:
                trunk = J
                add_lower(matrix[:, place, place], J.mT, J)
                continue
            matrix[:, place, place] += J.mT @ J
            if trunk is not None:
                shared = trunk.unflatten(1, (-1, 2))[:, limb.points].flatten(1, 2)
                matrix[:, place, : trunk.shape[2]] += J.mT @ shared

    def add_bend(self, matrix: Tensor, bend: Tensor) -> None:
        """To the lower triangle: the blocks that turn joints do not all stand side by side."""
        ends = list(accumulate(turns.stop - turns.start for turns in self.turns))
        places = [slice(end - turns.stop + turns.start, end) for end, turns in zip(ends, self.turns, strict=True)]
        for k, rows in enumerate(self.turns):
            for j, columns in enumerate(self.turns[: k + 1]):
                matrix[:, rows, columns] += bend[:, places[k], places[j]]


class Seen(NamedTuple):
    """What keypoints say to second order of the points that they were seen of."""

    functional: Float[Tensor, "rows 1 points 2 3"]  # d pixel / d point
    slope: Float[Tensor, "rows points 2"]  # d cost / d pixel
    root: Float[Tensor, "rows points 2"]  # of the pixel's weight
    pull: Float[Tensor, "rows points 2"]  # d cost / d weighted pixel
    K: Float[Tensor, "rows _ 3 3"]

    @property
    def forces(self) -> Float[Tensor, "rows 1 points 3"]:
        """d cost / d point."""
        return (self.functional * self.slope[:, None, :, :, None]).sum(dim=-2)


class ByPixels(NamedTuple):
    """First and second order of keypoints, pixels times the roots of their weights: one weighted matrix for both sides
    of a product."""

    columns: list[tuple[Float[Tensor, "rows points 2 _"], ...]]  # d weighted pixel / d step, by limb and block
    pull: Float[Tensor, "rows points 2"]  # d cost / d weighted pixel
    bend: Float[Tensor, "rows turns turns"] | None  # of the blocks that turn joints

    def during(self, few: slice) -> ByPixels:
        columns = [tuple(block[few] for block in blocks) for blocks in self.columns]
        return ByPixels(columns, self.pull[few], None)


def runs(places: Sequence[slice]) -> list[slice]:
    """Slices that follow each other as one."""
    found: list[slice] = []
    for place in places:
        if found and found[-1].stop == place.start:
            found[-1] = slice(found[-1].start, place.stop)
        else:
            found.append(place)
    return found


def add_lower(
    matrix: Float[Tensor, "rows n n"], left: Float[Tensor, "rows n pixels"], right: Float[Tensor, "rows pixels n"]
) -> None:
    """Adds a product that is symmetric: its lower triangle, and of the upper what three quarters of it hold."""
    half = left.shape[1] // 2
    matrix[:, :half, :half] += left[:, :half] @ right[..., :half]
    matrix[:, half:] += left[:, half:] @ right
