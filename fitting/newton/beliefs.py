"""What terms on coordinates of a single frame say to second order: their slopes, and their share of the matrix."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.beliefs import Frames, add_columns, by_step, dense_columns
from fitting.terms import Residuals, Scene, Term, item_weights
from fitting.turns import inverse_left_jacobian

BELIEFS = ("elementwise", "dense")
Slopes = dict[str, Tensor]  # by block that moves: d cost / d step (problems, 1, size), rotations stepped from the left


def add_beliefs(scene: Scene, frames: Frames, terms: Iterable[Term]) -> Slopes:
    """Adds J' W J of all terms to the matrix, in steps from where the scene is; J' W r by block."""
    slopes: Slopes = {}
    terms, turns = list(terms), Turns(scene, frames)
    for group in disjoint([term for term in terms if term.structure == "elementwise"]):
        add_elementwise(scene, frames, turns, group, slopes)
    for term in terms:
        residuals = term.residuals(scene) if term.structure == "dense" else None
        if residuals is not None:
            add_dense(scene, frames, term, residuals, slopes)
    return slopes


def disjoint(terms: list[Term]) -> list[list[Term]]:
    """Terms in groups that share no block: a group is differentiated in one go."""
    groups: list[list[Term]] = []
    for term in terms:
        free = [g for g in groups if not any(set(term.reads) & set(other.reads) for other in g)]
        free[0].append(term) if free else groups.append([term])
    return groups


class Leaves(dict[str, Tensor]):
    """Coordinates of what moves, to be differentiated by: made when a term asks for them."""

    def __init__(self, scene: Scene, frames: Frames) -> None:
        self.scene, self.local = scene, frames.local

    def __missing__(self, name: str) -> Tensor:
        if self.scene.body.moving(name) not in self.local:
            raise KeyError(name)
        self[name] = self.scene.coordinates[name].detach().requires_grad_()
        return self[name]


class Turns:
    """How coordinates of the rotations that move change as these are stepped from the left."""

    def __init__(self, scene: Scene, frames: Frames) -> None:
        self.scene = scene
        self.names = [name for name in frames.local if scene.parameters[name].ndim == 5]

    @cached_property
    def steps(self) -> dict[str, Float[Tensor, "problems 1 joints 3 3"]]:
        """All in one go: small operations cost as much as large ones."""
        vectors = [self.scene.coordinates[name].unflatten(-1, (-1, 3)) for name in self.names]
        found = inverse_left_jacobian(torch.cat(vectors, dim=2))
        sizes = [some.shape[2] for some in vectors]
        return dict(zip(self.names, found.split(sizes, dim=2), strict=True))


def coordinate_weights(term: Term, residuals: Residuals) -> Float[Tensor, "problems rows coordinates"]:
    """What a squared coordinate's residual counts."""
    values = residuals.values
    if term.kernel == "squared" and residuals.confidence is None:  # all the same
        return values.new_full((1, 1, 1), term.sigma**-2).expand(*values.shape[:2], values[0, 0].numel())
    return item_weights(term, residuals).repeat_interleave(values.shape[-1], dim=-1)


def add_elementwise(scene: Scene, frames: Frames, turns: Turns, terms: list[Term], slopes: Slopes) -> None:
    """Residual k moves with coordinate k alone: the gradient of all residuals' sum is every slope."""
    with torch.enable_grad():
        at = Leaves(scene, frames)
        still = scene.with_coordinates(at)
        found = [(term, term.residuals(still)) for term in terms]
        sums = [residuals.values.sum() for _, residuals in found if residuals is not None]
        sums = [total for total in sums if total.requires_grad]
        if not sums:
            return
        gradients = torch.autograd.grad(torch.stack(sums).sum(), list(at.values()), allow_unused=True)
    by_name = dict(zip(at, gradients, strict=True))
    for term, residuals in found:
        if residuals is None:
            continue
        values = residuals.values.detach()
        weights = coordinate_weights(term, Residuals(values, residuals.confidence))
        names = [name for name in term.reads if name in scene.coordinates]
        sizes = [scene.coordinates[name].shape[-1] for name in names]
        parts = zip(names, values.flatten(2).split(sizes, dim=-1), weights.split(sizes, dim=-1), strict=True)
        for name, value, weight in parts:
            gradient = by_name.get(name)
            if gradient is not None:
                pull = gradient * weight
                add_block(scene, frames, turns, name, (gradient * pull, pull * value), slopes)


def add_block(
    scene: Scene, frames: Frames, turns: Turns, name: str, found: tuple[Tensor, Tensor], slopes: Slopes
) -> None:
    """Curvature and slope of a block's single coordinates."""
    curvature, slope = found
    if name not in frames.local:
        rows = by_step(scene, name, torch.cat([torch.diag_embed(curvature.sqrt()), slope[:, :, None]], dim=2))
        code, J = scene.body.moving(name), rows[:, :, :-1]
        frames.own[..., frames.local[code], frames.local[code]] += J.mT @ J
        add_slope(slopes, code, rows[:, :, -1])
    elif scene.parameters[name].ndim == 5:
        steps = turns.steps[name]
        frames.add_joints(name, steps.mT @ (curvature.unflatten(-1, (-1, 3, 1)) * steps))
        add_slope(slopes, name, (slope.unflatten(-1, (-1, 1, 3)) @ steps).flatten(2))
    else:
        frames.add_diagonal(name, curvature)
        add_slope(slopes, name, slope)


def add_dense(scene: Scene, frames: Frames, term: Term, residuals: Residuals, slopes: Slopes) -> None:
    """Residuals that mix a few coordinates."""
    weights, columns = item_weights(term, residuals), dense_columns(frames, term, scene)
    if not columns:
        return
    add_columns(frames, columns, weights)
    pull = (residuals.values * weights[..., None]).flatten(2)[:, :, None]
    for name, rows in columns.items():
        add_slope(slopes, name, (pull @ rows)[:, :, 0])


def add_slope(slopes: Slopes, name: str, slope: Float[Tensor, "problems frames size"]) -> None:
    slopes[name] = slopes[name] + slope if name in slopes else slope
