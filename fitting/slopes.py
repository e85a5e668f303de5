"""Value and gradient of problems of one frame in closed form: what pixels say is pulled back through the body as forces
on its points, what is believed of coordinates is differentiated in those few numbers alone.

Automatic differentiation through skinning costs three times as much. Checked against it in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import focal_slopes, pixel_rows
from fitting.problem import Problem, differentiate, term_cost
from fitting.terms import PixelRows, Scene, Term, item_weights
from fitting.turns import inverse_left_jacobian, left_jacobian

BY_COORDINATES = ("elementwise", "dense")
Steps = dict[str, Tensor]  # by block: d cost / d step (problems, frames or 1, size), rotations stepped from the left


def is_closed(problem: Problem) -> bool:
    """Whether this page has all slopes: landmarks' offsets, which belong to clips, turn with the head."""
    return problem.frames == 1 and "keypoint_offsets" not in problem.base


def evaluate(problem: Problem, x: Float[Tensor, "problems unknowns"]) -> tuple[Tensor, Tensor]:
    """Values (problems,), float64, and gradients (problems, unknowns), of problems of one frame."""
    with torch.no_grad():
        scene = problem.scene(problem.retract(x))
        values, found = pixel_slopes(problem, scene)
        beliefs = [term for term in problem.terms.values() if term.structure in BY_COORDINATES]
        more, by_coordinate = belief_slopes(problem, scene, beliefs)
        for name, slope in scene.body.chain(scene.parameters, as_steps(scene, by_coordinate)).items():
            found[name] = found[name] + slope[:, :, 0] if name in found else slope[:, :, 0]
        values, gradient = values + more, at_unknowns(problem, x, found)
    others = {name: term for name, term in problem.terms.items() if is_other(term)}
    if others:
        more, slope = differentiate(problem.only(others), x)
        values, gradient = values + more, gradient + slope
    return values, gradient


def is_other(term: Term) -> bool:
    """Whether a term is left to automatic differentiation. Differences between frames do not exist in one."""
    return term.structure not in ("pixels", "motion", *BY_COORDINATES) and len(term.stencil) <= 1


# ------------------------------------------------------------------ pixels


def pixel_slopes(problem: Problem, scene: Scene) -> tuple[Tensor, Steps]:
    """What all terms that measure pixels cost, and its slopes."""
    values = torch.zeros(problem.count, dtype=torch.float64, device=problem.K.device)
    seen = [term for term in problem.terms.values() if term.structure == "pixels"]
    if not seen:
        return values, {}
    slopes = torch.zeros_like(scene.pixels)
    for term in seen:
        residuals = term.residuals(scene)
        if residuals is not None:
            values = values + term_cost(term, residuals)[:, 0]
            rows, weights = term.pixel_rows(scene), item_weights(term, residuals)
            slopes = add_slopes(slopes, rows, residuals.values * weights[..., None] * rows.scale[..., None, None])
    return values, pulled(problem, scene, slopes)


def pulled(problem: Problem, scene: Scene, slopes: Float[Tensor, "problems frames points 2"]) -> Steps:
    """d cost / d step from d cost / d pixel."""
    parameters, K = scene.parameters, problem.camera(scene.parameters)
    points = problem.points(scene.posed, parameters)
    forces = (pixel_rows(points, K) * slopes[..., None]).sum(dim=-2)
    names = {block.name for block in problem.free}
    found = dict(problem.body.pull(parameters, scene.posed, forces, names))
    if "focal" in names:
        found["focal"] = (focal_slopes(points, K) * slopes).sum(dim=(2, 3))[..., None]
    return found


def add_slopes(slopes: Tensor, rows: PixelRows, values: Tensor) -> Float[Tensor, "problems frames points 2"]:
    """d cost / d pixel of every point."""
    values = values.flatten(2).unflatten(2, (-1, 2))
    found = slopes + values if rows.first is None else slopes.index_add(2, rows.first, values)
    return found if rows.second is None else found.index_add(2, rows.second, -values)


# ------------------------------------------------------------------ beliefs


def belief_slopes(problem: Problem, scene: Scene, beliefs: Iterable[Term]) -> tuple[Tensor, dict[str, Tensor]]:
    """Costs of terms on coordinates, and their slopes by the coordinates of what moves."""
    moving = {block.name for block in problem.free}
    at = {n: scene.coordinates[n] for n in scene.parameters if scene.body.moving(n) in moving or n in moving}
    total = torch.zeros(problem.count, dtype=torch.float64, device=problem.K.device)
    with torch.enable_grad():
        at = {name: value.detach().requires_grad_() for name, value in at.items()}
        still = scene.with_coordinates(at)
        for term in beliefs:
            residuals = term.residuals(still)
            if residuals is not None:
                total = total + term_cost(term, residuals).sum(dim=1)
        if not total.requires_grad:
            return total, {}
        slopes = torch.autograd.grad(total.sum(), list(at.values()), allow_unused=True)
    return total.detach(), {name: slope for name, slope in zip(at, slopes, strict=True) if slope is not None}


def as_steps(scene: Scene, slopes: Mapping[str, Tensor]) -> Steps:
    """Slopes by coordinates as those by steps, with an axis of one row: all rotations in one go."""
    turning = [name for name in slopes if scene.parameters[name].ndim == 5]
    found = {name: slope[:, :, None] for name, slope in slopes.items() if name not in turning}
    if turning:
        vectors = torch.cat([scene.coordinates[name] for name in turning], dim=-1).unflatten(-1, (-1, 3))
        by_angle = torch.cat([slopes[name] for name in turning], dim=-1).unflatten(-1, (-1, 3))
        turned = (by_angle[..., None, :] @ inverse_left_jacobian(vectors)).flatten(2)
        parts = turned.split([slopes[name].shape[-1] for name in turning], dim=-1)
        found |= {name: part[:, :, None] for name, part in zip(turning, parts, strict=True)}
    return found


def at_unknowns(
    problem: Problem, x: Float[Tensor, "problems unknowns"], slopes: Steps
) -> Float[Tensor, "problems unknowns"]:
    """By the unknowns: a rotation exp(unit x) R turns by J(unit x) unit dx."""
    gradient, border = torch.zeros_like(x), max((place.stop for place in problem.local.values()), default=0)
    places = {**problem.local, **{n: slice(border + p.start, border + p.stop) for n, p in problem.shared.items()}}
    turning = [b for b in problem.free if b.kind == "rotation" and b.name in slopes]
    if turning:
        steps = torch.cat([x[:, places[b.name]] * b.unit for b in turning], dim=1).unflatten(1, (-1, 3))
        by_turn = torch.cat([slopes[b.name][:, 0] for b in turning], dim=1).unflatten(1, (-1, 3))
        turned = (by_turn[..., None, :].to(x) @ left_jacobian(steps)).flatten(1)
        for block, part in zip(turning, turned.split([3 * b.size for b in turning], dim=1), strict=True):
            gradient[:, places[block.name]] = part * block.unit
    for block in problem.free:
        if block.kind != "rotation" and block.name in slopes:
            gradient[:, places[block.name]] = slopes[block.name][:, 0].to(x) * block.unit
    return gradient
