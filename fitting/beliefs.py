"""Curvature of everything that is not measured in pixels: beliefs about coordinates of one frame, of the person, of
neighbouring frames; and the sums that all parts of the matrix are collected in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.problem import Problem, width
from fitting.solvers import Blocks
from fitting.terms import LENGTHS, Residuals, Scene, Term, counts_by_size
from fitting.turns import inverse_left_jacobian, left_jacobian, turn_columns


class Collected:
    """What all parts of the matrix are collected in; slices say where blocks stand. What is summed over frames, and
    ties, are in float64."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.local, self.shared = problem, problem.local, problem.shared
        self.zeros = problem.K.new_zeros((), dtype=torch.float64).new_zeros
        m = width(self.shared)
        self.corner = self.zeros(problem.count, m, m)
        self.lean: Float[Tensor, "problems frames n"] | None = None  # see `add_lean`

    def own_diagonal(self) -> Float[Tensor, "problems frames n"]:
        """A view: of a frame's own unknowns."""
        raise NotImplementedError

    def add_diagonal(self, name: str, curvature: Float[Tensor, "problems rows coordinates"]) -> None:
        """Curvature of single coordinates of a block."""
        if name in self.local:
            self.own_diagonal()[..., self.local[name]] += curvature.double()
        else:
            self.corner.diagonal(dim1=-2, dim2=-1)[..., self.shared[name]] += curvature.double().sum(dim=1)

    def add_tie(self, name: str, distance: int, first: int, curvature: Tensor) -> None:
        """Between a coordinate and itself `distance` frames later; row k belongs to frame first + k."""
        raise NotImplementedError

    def add_lean(self, slopes: Mapping[str, Float[Tensor, "problems frames _"]], squares: Tensor) -> None:
        """Of residuals x / size(betas): with g the slope of log size, they move with the shape by -residual g. `slopes`
        are what they cost by x, by block; `squares` is the sum of their weighted squares (problems,).

        Shape and frames are tied by -slopes g': kept as `lean` until all frames' ties are made."""
        if "betas" not in self.shared:
            return
        if self.lean is None:
            self.lean = self.zeros(self.problem.count, self.problem.frames, width(self.local))
        for name, slope in slopes.items():
            if name in self.local:
                self.lean[..., self.local[name]] += slope.double()
        g = self.size_slope().double()
        at = self.shared["betas"]
        self.corner[:, at, at] += squares.double()[:, None, None] * g[:, :, None] * g[:, None]

    def size_slope(self) -> Float[Tensor, "problems betas"]:
        """d log size / d betas."""
        return self.problem.body.sizes.slope(self.problem.base["betas"][:, 0])


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
        band = self.next if distance == 1 else self.second
        band[:, first : first + curvature.shape[1], self.local[name]] += curvature.double()

    def in_natural_steps(self) -> Ties:
        own, shared = unit_vector(self.problem, self.local), unit_vector(self.problem, self.shared)
        for band in (self.own, self.next, self.second):
            band *= own.square()
        self.corner *= shared[:, None] * shared
        return self


class Frames(Collected):
    """What single frames say: their own blocks and their ties to what they share. Rotations as small turns from where
    they are."""

    def __init__(self, problem: Problem, precision: torch.dtype = torch.float64) -> None:
        super().__init__(problem)
        problems, frames, n = problem.count, problem.frames, width(self.local)
        self.own = self.zeros(problems, frames, n, n, dtype=precision)
        self.border = self.zeros(problems, frames, n, width(self.shared), dtype=precision)

    def own_diagonal(self) -> Float[Tensor, "problems frames n"]:
        return self.own.diagonal(dim1=-2, dim2=-1)

    def add_joints(self, name: str, curvature: Float[Tensor, "problems frames joints 3 3"]) -> None:
        """Curvature of a rotation block, each joint for itself."""
        place = self.local[name]
        block = self.own[..., place, place].unflatten(-1, (-1, 3)).unflatten(-3, (-1, 3))
        block.diagonal(dim1=2, dim2=4).add_(curvature.double().permute(0, 1, 3, 4, 2))

    def concerns(self, term: Term, scene: Scene) -> bool:
        """Whether a belief about coordinates looks at anything that moves."""
        if term.structure not in ("elementwise", "dense"):
            return True
        moving = {scene.body.moving(name) for name in term.reads} | set(term.reads)
        return any(name in self.local or name in self.shared for name in moving)

    @property
    def parts(self) -> Blocks:
        return Blocks(self.own, self.border, self.corner)

    def at_steps(self, x: Float[Tensor, "problems frames n"]) -> Blocks:
        """In natural steps at x: a rotation exp(unit x) R turns by J(unit x) unit dx, and J is far from I where a stage
        has turned it far."""
        for block in self.problem.free:
            if block.kind == "rotation":
                place = self.local[block.name]
                turns = left_jacobian((x[..., place].double() * block.unit).unflatten(-1, (-1, 3)))
                self._turn(place, turns.to(self.own))
        if self.lean is not None:
            border = self.border[..., self.shared["betas"]]
            border.addcmul_(self.lean[..., None].to(border), self.size_slope()[:, None, None].to(border), value=-1)
        own, shared = unit_vector(self.problem, self.local), unit_vector(self.problem, self.shared)
        # In their own precision: mixed ones would be converted whole, there and back.
        for part, units in ((self.own, own[:, None] * own), (self.border, own[:, None] * shared)):
            part *= units.to(part)
        self.corner *= shared[:, None] * shared
        return self.parts

    def _turn(self, place: slice, turns: Float[Tensor, "problems frames joints 3 3"]) -> None:
        self.own[..., place] = turn_columns(self.own[..., place], turns)
        for part in (self.own, self.border):
            part[:, :, place] = (turns.mT @ part[:, :, place].unflatten(2, (-1, 3))).flatten(2, 3)


def unit_vector(problem: Problem, places: dict[str, slice]) -> Float[Tensor, " unknowns"]:
    """The natural step of every unknown."""
    units = torch.ones(width(places), dtype=torch.float64, device=problem.K.device)
    for block in problem.free:
        if block.name in places:
            units[places[block.name]] = block.unit
    return units


def add_stencil(collected: Ties | Frames, term: Term, scene: Scene, residuals: Residuals, weights: Tensor) -> None:
    """Differences over time of coordinates: ties between neighbours, diagonal in the coordinates. Of a single frame
    there are none but those from the start."""
    frames = scene.evidence.seen.shape[1]
    first = 0
    if counts_by_size(term):
        add_lean_of_stencil(collected, term, scene, residuals, weights)
    for name, sigma in term.moving(scene).items():
        size = scene.coordinates[name].shape[-1]
        weight = weights.expand(-1, -1, weights.shape[-1])[..., first : first + size] / sigma**2
        first += size
        if name in collected.shared:
            collected.add_diagonal(name, weight / frames)
        if name not in collected.local:
            continue
        for i, a in enumerate(term.stencil):
            padded = weight.new_zeros(*weight.shape[:1], frames, size)
            padded[:, i : i + weight.shape[1]] = a * a * weight
            collected.add_diagonal(name, padded)
            for j in range(i + 1, len(term.stencil)):
                collected.add_tie(name, j - i, i, a * term.stencil[j] * weight)


def add_lean_of_stencil(
    collected: Ties | Frames, term: Term, scene: Scene, residuals: Residuals, weights: Tensor
) -> None:
    """What ties differences that are counted in sizes of the body to its shape."""
    frames, first = scene.evidence.seen.shape[1], 0
    slopes: dict[str, Tensor] = {}
    squares = weights.new_zeros(len(weights), dtype=torch.float64)
    for name, sigma in term.moving(scene).items():
        size = scene.coordinates[name].shape[-1]
        if name in LENGTHS:
            values = residuals.values[..., first : first + size, 0]
            pulled = values * weights.expand(-1, -1, weights.shape[-1])[..., first : first + size]
            squares += (values * pulled).sum(dim=(1, 2), dtype=torch.float64)
            slopes[name] = values.new_zeros(len(values), frames, size)
            for i, a in enumerate(term.stencil):
                slopes[name][:, i : i + values.shape[1]] += a * pulled / sigma
        first += size
    collected.add_lean(slopes, squares)


def add_elementwise(collected: Ties | Frames, term: Term, scene: Scene, residuals: Residuals, weights: Tensor) -> None:
    """Residual k moves with coordinate k alone: the gradient of all residuals' sum is every slope."""
    names = [name for name in term.reads if name in scene.coordinates]
    slopes = sum_gradient(term, scene, names)
    curvature = slopes.square() * weights.repeat_interleave(slopes.shape[-1] // weights.shape[2], dim=-1)
    sizes = [scene.coordinates[name].shape[-1] for name in names]
    if counts_by_size(term):
        values = residuals.values[..., 0]
        pulled = values * weights
        parts = (slopes * pulled).split(sizes, dim=-1)
        collected.add_lean(dict(zip(names, parts, strict=True)), (values * pulled).sum(dim=(1, 2), dtype=torch.float64))
    for name, part in zip(names, curvature.split(sizes, dim=-1), strict=True):
        if name in collected.local and scene.parameters[name].ndim == 5:
            assert isinstance(collected, Frames), "a rotation of a single frame"
            steps = inverse_left_jacobian(scene.coordinates[name].unflatten(-1, (-1, 3)))
            collected.add_joints(name, steps.mT @ (part.unflatten(-1, (-1, 3, 1)) * steps))
        elif name in collected.local or name in collected.shared:
            collected.add_diagonal(name, part)
        elif (code := scene.body.moving(name)) in collected.local:
            assert isinstance(collected, Frames), "a code of a single frame"
            rows = by_step(scene, name, torch.diag_embed(part.sqrt()))
            place = collected.local[code]
            collected.own[..., place, place] += rows.mT @ rows


def by_step(scene: Scene, name: str, jacobian: Tensor) -> Float[Tensor, "problems frames rows steps"]:
    """A derivative by a block's coordinates as one by steps of what moves: of its joints, or of the code behind it."""
    if scene.parameters[name].ndim == 5:
        steps = inverse_left_jacobian(scene.coordinates[name].unflatten(-1, (-1, 3)))
        jacobian = turn_columns(jacobian, steps)
    return scene.body.chain(scene.parameters, {name: jacobian})[scene.body.moving(name)]


def add_dense(frames: Frames, term: Term, scene: Scene, weights: Tensor) -> None:
    """Residuals that mix a few coordinates of a frame."""
    columns = dense_columns(frames, term, scene)
    if columns:
        add_columns(frames, columns, weights)


def dense_columns(frames: Frames, term: Term, scene: Scene) -> dict[str, Tensor]:
    """d residual / d step (problems, frames, rows, steps) of the blocks that move, by name; empty where none does."""
    codes = {name: scene.body.moving(name) for name in term.reads if name in scene.coordinates}
    names = [name for name, code in codes.items() if code in frames.local]
    if not names:
        return {}
    by_coordinate = term.jacobian(scene) or {name: forward_jacobian(term, scene, name) for name in names}
    return {codes[name]: by_step(scene, name, by_coordinate[name]) for name in names}


def add_surface(frames: Frames, term: Term, scene: Scene, weights: Tensor) -> None:
    """Residuals on the skin, by the rotations that move it; what coefficients do to them is left out of the matrix."""
    found = scene.body.chain(scene.parameters, term.step_rows(scene))
    moved = {name: rows for name, rows in found.items() if name in frames.local}
    if moved:
        add_columns(frames, moved, weights)


def add_columns(frames: Frames, columns: Mapping[str, Tensor], weights: Tensor) -> None:
    """Of residuals whose derivatives by a few blocks are given (problems, frames, rows, steps)."""
    wide = {name: (frames.local[name], J) for name, J in columns.items()}
    dims = next(iter(columns.values())).shape[2] // weights.shape[2]
    weights = weights.repeat_interleave(dims, dim=-1)[..., None]
    for place, J in wide.values():
        weighted = (J * weights).mT
        for other, K in wide.values():
            frames.own[..., place, other] += weighted @ K


def sum_gradient(term: Term, scene: Scene, names: list[str]) -> Float[Tensor, "problems rows coordinates"]:
    """d (sum of the residuals) / d coordinates of some blocks, end to end."""
    with torch.enable_grad():
        at = {name: scene.coordinates[name].detach().requires_grad_() for name in names}
        residuals = term.residuals(scene.with_coordinates(at))
        assert residuals is not None
        return torch.cat(torch.autograd.grad(residuals.values.sum(), list(at.values())), dim=-1)


def forward_jacobian(term: Term, scene: Scene, name: str) -> Float[Tensor, "problems frames rows coordinates"]:
    """d residuals / d coordinates of a block, one direction after another."""
    at = scene.coordinates[name]

    def values(moved: Tensor) -> Tensor:
        residuals = term.residuals(scene.with_coordinates({name: moved}))
        assert residuals is not None
        return residuals.values

    directions = torch.eye(at.shape[-1]).to(at)[:, None, None].expand(-1, *at.shape)
    return torch.stack([torch.func.jvp(values, (at,), (along,))[1].flatten(2) for along in directions], dim=-1)
