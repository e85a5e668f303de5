"""Newton's matrix for problems of one frame: Gauss-Newton's and what that leaves out, the bend of points' paths as
joints turn.

Where keypoints are far from where a body can be (a detector's gross errors inside a wide kernel, fingers) residuals are
longer than levers, and Gauss-Newton creeps for a hundred steps and more. The whole matrix may be indefinite: then as
much of its own diagonal is added as makes it positive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.camera import pixel_rows
from fitting.curvature import LeastSquares, frame_curvature, item_weights
from fitting.pixels import add_rows, differentiate_pixels
from fitting.problem import Problem
from fitting.solvers import Arrow, Blocks
from fitting.terms import PixelRows

SHIFTS = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # of the diagonal


@dataclass(frozen=True)
class Newton(LeastSquares):
    """Of clips, and where nothing turns joints, it is `LeastSquares`."""

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        chosen = self.problem.of(rows)
        turning = [b.name for b in chosen.free if chosen.body.turns(b.name)]
        if chosen.frames > 1 or not turning:
            return super().curvature(x, rows)
        with torch.no_grad():
            moved = replace(chosen, base=chosen.retract(x))
            found = frame_curvature(moved, partial(add_pixels, turning))
            n = found.own.shape[-1]
            blocks = definite(found.at_steps(x[:, None, :n]))
        return arrow_of(blocks, x.dtype)


def add_pixels(turning: list[str], problem: Problem, parts: Blocks) -> None:
    """The share of terms that measure pixels; `turning` are the free blocks that turn joints."""
    scene = problem.scene(problem.base)
    jacobian = differentiate_pixels(problem, scene)
    slopes = torch.zeros_like(scene.pixels)
    for term in problem.terms.values():
        residuals = term.residuals(scene)
        if residuals is None:
            continue
        rows = term.pixel_rows(scene)
        weights = item_weights(term, residuals)
        add_rows(parts, jacobian, rows, (weights * rows.scale[..., None].square()).sqrt())
        slopes = add_slopes(slopes, rows, residuals.values * weights[..., None] * rows.scale[..., None, None])
    functional = pixel_rows(problem.points(scene.posed, scene.parameters), problem.camera(scene.parameters))
    bend = problem.body.bend(problem.base, scene.posed, (functional * slopes[..., None]).sum(dim=-2), turning)
    index = columns_of(problem, turning)
    parts.own[..., index[:, None], index] += bend


def add_slopes(slopes: Tensor, rows: PixelRows, values: Tensor) -> Float[Tensor, "problems frames points 2"]:
    """d cost / d pixel of every point."""
    values = values.flatten(2).unflatten(2, (-1, 2))
    found = slopes + values if rows.first is None else slopes.index_add(2, rows.first, values)
    return found if rows.second is None else found.index_add(2, rows.second, -values)


def columns_of(problem: Problem, names: list[str]) -> Int[Tensor, " steps"]:
    """Where blocks stand among a frame's own unknowns."""
    places = [problem.local[name] for name in names]
    return torch.cat([torch.arange(place.start, place.stop, device=problem.K.device) for place in places])


def arrow_of(blocks: Blocks, precision: torch.dtype) -> Arrow:
    """Of problems of one frame. A rejected step asks for the same matrix again: it is kept."""
    n, m = blocks.own.shape[-1], blocks.corner.shape[-1]
    none = blocks.own.new_zeros(len(blocks.own), 0, n)
    return Arrow(
        frames=1,
        width=n,
        shared=m,
        window=1,
        next=none,
        second=none,
        corner=torch.zeros_like(blocks.corner),
        blocks=lambda _: Blocks(*(part.clone() for part in blocks)),
        precision=precision,
    )


def definite(blocks: Blocks) -> Blocks:
    """As positive as it must be: a multiple of the diagonal is added until Cholesky succeeds (Nocedal & Wright, 2nd
    ed., algorithm 3.3)."""
    own, border, corner = blocks.own[:, 0], blocks.border[:, 0], blocks.corner
    n = own.shape[-1]
    matrix = torch.cat([torch.cat([own, border], dim=2), torch.cat([border.mT, corner], dim=2)], dim=1)
    left, shift = torch.arange(len(matrix), device=own.device), 0.0
    diagonal = matrix.diagonal(dim1=1, dim2=2).abs()
    for following in SHIFTS:
        failed = torch.linalg.cholesky_ex(matrix[left])[1] > 0
        left = left[failed]
        if len(left) == 0:
            break
        added = torch.diag_embed((following - shift) * diagonal[left])
        matrix[left] += added
        shift = following
    return Blocks(matrix[:, None, :n, :n], matrix[:, None, :n, n:], matrix[:, n:, n:])
