"""The Gauss-Newton matrix of a problem, from what its terms say of their structure.

Pixels are differentiated in closed form, beliefs about parameters by their few coordinates. Only the matrix is built
here: gradients come from automatic differentiation of the objective itself, so that an approximation below (ties
between frames treat small rotations as vectors) can cost an iteration but never the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.pixels import add_rows, differentiate_pixels
from fitting.problem import WINDOW, Problem, width
from fitting.solvers import Arrow, Blocks
from fitting.terms import Residuals, Scene, Term, robust_slope


@dataclass(frozen=True)
class LeastSquares:
    """A problem with its curvature: what the solvers are given."""

    problem: Problem

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.problem.evaluate(x, rows)

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        """The Gauss-Newton matrix of some problems at x."""
        chosen = self.problem.of(rows)
        with torch.no_grad():
            moved = replace(chosen, base=chosen.retract(x))
            ties = clip_curvature(moved)

        def blocks(window: slice) -> Blocks:
            with torch.no_grad():
                found = frame_curvature(moved.during(window))
            found.own.diagonal(dim1=-2, dim2=-1).add_(ties.own[:, window])
            return found

        return Arrow(
            frames=moved.frames,
            width=width(moved.local),
            shared=width(moved.shared),
            window=WINDOW,
            next=ties.next,
            second=ties.second,
            corner=ties.corner,
            blocks=blocks,
        )


class Collected:
    """What all parts of the matrix are collected in; slices say where blocks stand. Float64."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.local, self.shared = problem, problem.local, problem.shared
        self.zeros = problem.K.new_zeros((), dtype=torch.float64).new_zeros
        m = width(self.shared)
        self.corner = self.zeros(problem.count, m, m)

    def own_diagonal(self) -> Float[Tensor, "problems frames n"]:
        """A view: of a frame's own unknowns."""
        raise NotImplementedError

    def add_diagonal(self, name: str, curvature: Float[Tensor, "problems rows coordinates"]) -> None:
        """Curvature of single coordinates of a block."""
        if name in self.local:
            self.own_diagonal()[..., self.local[name]] += curvature.double()
        else:
            self.corner.diagonal(dim1=-2, dim2=-1)[..., self.shared[name]] += curvature.double().sum(dim=1)


class Ties(Collected):
    """What ties frames to each other, and beliefs about what they share: diagonal in the coordinates throughout."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        problems, frames, n = problem.count, problem.frames, width(self.local)
        self.own = self.zeros(problems, frames, n)
        self.next = self.zeros(problems, max(frames - 1, 0), n)
        self.second = self.zeros(problems, max(frames - 2, 0), n)

    def own_diagonal(self) -> Float[Tensor, "problems frames n"]:
        return self.own

    def add_tie(self, name: str, distance: int, first: int, curvature: Tensor) -> None:
        """Between a coordinate and itself `distance` frames later; row k belongs to frame first + k."""
        band = self.next if distance == 1 else self.second
        band[:, first : first + curvature.shape[1], self.local[name]] += curvature.double()

    def in_natural_steps(self) -> Ties:
        own, shared = unit_vector(self.problem, self.local), unit_vector(self.problem, self.shared)
        for band in (self.own, self.next, self.second):
            band *= own.square()
        self.corner *= shared[:, None] * shared
        return self


class Frames(Collected):
    """What single frames say: their own blocks and their ties to what they share."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        problems, frames, n = problem.count, problem.frames, width(self.local)
        self.own = self.zeros(problems, frames, n, n)
        self.border = self.zeros(problems, frames, n, width(self.shared))

    def own_diagonal(self) -> Float[Tensor, "problems frames n"]:
        return self.own.diagonal(dim1=-2, dim2=-1)

    @property
    def parts(self) -> Blocks:
        return Blocks(self.own, self.border, self.corner)

    def blocks(self) -> Blocks:
        """In natural steps: everything before is collected in the blocks' own units."""
        own, shared = unit_vector(self.problem, self.local), unit_vector(self.problem, self.shared)
        self.own *= own[:, None] * own
        self.border *= own[:, None] * shared
        self.corner *= shared[:, None] * shared
        return self.parts


def unit_vector(problem: Problem, places: dict[str, slice]) -> Float[Tensor, " unknowns"]:
    """The natural step of every unknown."""
    units = torch.ones(width(places), dtype=torch.float64, device=problem.K.device)
    for block in problem.free:
        if block.name in places:
            units[places[block.name]] = block.unit
    return units


def clip_curvature(problem: Problem) -> Ties:
    """J' W J of the terms that look at the clip as a whole."""
    scene, ties = problem.scene(problem.base), Ties(problem)
    for term in problem.clip_terms.values():
        residuals = term.residuals(scene)
        if residuals is None:
            continue
        weights = item_weights(term, residuals)
        if term.structure == "stencil":
            add_stencil(ties, term, scene, weights)
        else:
            add_elementwise(ties, term, scene, weights)
    return ties.in_natural_steps()


def frame_curvature(problem: Problem) -> Blocks:
    """J' W J of all other terms, W from sigma, confidence and the kernel's slope (iteratively reweighted)."""
    scene, frames = problem.scene(problem.base), Frames(problem)
    jacobian = None
    for term in problem.terms.values():
        residuals = term.residuals(scene)
        if residuals is None:
            continue
        weights = item_weights(term, residuals)
        if term.structure == "pixels":
            jacobian = jacobian or differentiate_pixels(problem, scene)
            rows = term.pixel_rows(scene)
            add_rows(frames.parts, jacobian, rows, (weights * rows.scale[..., None].square()).sqrt())
        elif term.structure == "dense":
            add_dense(frames, term, scene, weights)
        else:
            add_elementwise(frames, term, scene, weights)
    return frames.blocks()


def item_weights(term: Term, residuals: Residuals) -> Float[Tensor, "problems rows items"]:
    """What a squared raw residual counts: kernel slope * confidence^2 / sigma^2."""
    scale = torch.full_like(residuals.values[..., 0], 1 / term.sigma)
    if residuals.confidence is not None:
        scale = scale * residuals.confidence
    squared = (residuals.values * scale[..., None]).square().sum(dim=-1)
    return robust_slope(squared, term.kernel, term.kernel_width) * scale.square()


# ------------------------------------------------------------------ beliefs about parameters


def add_stencil(builder: Ties, term: Term, scene: Scene, weights: Tensor) -> None:
    """Differences over time of coordinates: ties between neighbours, diagonal in the coordinates."""
    frames = scene.evidence.seen.shape[1]
    first = 0
    for name, sigma in term.moving(scene).items():
        size = scene.coordinates[name].shape[-1]
        weight = weights.expand(-1, -1, weights.shape[-1])[..., first : first + size] / sigma**2
        first += size
        if name in builder.shared:
            builder.add_diagonal(name, weight / frames)
        if name not in builder.local:
            continue
        for i, a in enumerate(term.stencil):
            padded = weight.new_zeros(*weight.shape[:1], frames, size)
            padded[:, i : i + weight.shape[1]] = a * a * weight
            builder.add_diagonal(name, padded)
            for j in range(i + 1, len(term.stencil)):
                builder.add_tie(name, j - i, i, a * term.stencil[j] * weight)


def add_elementwise(builder: Ties | Frames, term: Term, scene: Scene, weights: Tensor) -> None:
    """Residual k moves with coordinate k alone: one derivative along all coordinates at once gives every slope."""
    names = [name for name in term.reads if name in scene.coordinates]
    slopes = derivative(term, scene, {name: torch.ones_like(scene.coordinates[name]) for name in names})
    curvature = (slopes.square() * weights[..., None]).flatten(2)
    for name, part in zip(names, curvature.split([scene.coordinates[n].shape[-1] for n in names], dim=-1), strict=True):
        if name in builder.local or name in builder.shared:
            builder.add_diagonal(name, part)


def add_dense(builder: Frames, term: Term, scene: Scene, weights: Tensor) -> None:
    """Residuals that mix a few coordinates of a frame: one derivative per coordinate, then per step of a rotation."""
    names = [name for name in term.reads if name in builder.local and name in scene.coordinates]
    if not names:
        return
    columns = []
    places: list[int] = []
    for name in names:
        coordinates = scene.coordinates[name]
        by_coordinate = []
        for k in range(coordinates.shape[-1]):
            direction = torch.zeros_like(coordinates)
            direction[..., k] = 1.0
            by_coordinate.append(derivative(term, scene, {name: direction}).flatten(2))
        jacobian = torch.stack(by_coordinate, dim=-1)
        if scene.parameters[name].ndim == 5:
            steps = inverse_left_jacobian(coordinates.unflatten(-1, (-1, 3)))
            jacobian = (jacobian.unflatten(-1, (-1, 3))[..., None, :] @ steps[:, :, None])[..., 0, :].flatten(3)
        columns.append(jacobian)
        place = builder.local[name]
        places.extend(range(place.start, place.stop))
    J = torch.cat(columns, dim=-1)
    dims = J.shape[2] // weights.shape[2]
    gram = J.mT @ (J * weights.repeat_interleave(dims, dim=-1)[..., None])
    index = torch.tensor(places, device=gram.device)
    builder.own[:, :, index[:, None], index] += gram


def derivative(term: Term, scene: Scene, directions: dict[str, Tensor]) -> Tensor:
    """d residuals / d coordinates along a direction, by forward differentiation."""
    names = list(directions)

    def values(*moved: Tensor) -> Tensor:
        substitute = {**dict(scene.coordinates), **dict(zip(names, moved, strict=True))}
        residuals = term.residuals(scene.with_coordinates(substitute))
        assert residuals is not None
        return residuals.values

    at = tuple(scene.coordinates[name] for name in names)
    return torch.func.jvp(values, at, tuple(directions[name] for name in names))[1]


def inverse_left_jacobian(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """d log(exp(d) R) / d d at 0 for R = exp(vector): I - [v]x / 2 + (1/t^2 - (1 + cos t) / (2 t sin t)) [v]x^2.

    Source: Barfoot, State Estimation for Robotics, 2017, eq. 7.76b, mirrored for steps from the left.
    """
    angle = vectors.norm(dim=-1)[..., None, None]
    safe = angle.clamp(min=1e-3)
    exact = 1 / safe**2 - (1 + torch.cos(safe)) / (2 * safe * torch.sin(safe))
    factor = torch.where(angle > 1e-3, exact, torch.full_like(exact, 1 / 12))
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.eye(3).to(cross) - 0.5 * cross + factor * (cross @ cross)
