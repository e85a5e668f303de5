"""Curvature of everything that is measured in pixels: closed-form Jacobians and their Gram matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import focal_slopes, pixel_rows
from fitting.problem import Problem, width
from fitting.solvers import Blocks
from fitting.terms import PixelRows, Scene
from fitting.types import Columns

OFFSETS = "keypoint_offsets"
FEW = 8  # frames whose weighted Jacobian is in memory at once: it should stay in the cache


@dataclass(frozen=True)
class PixelJacobian:
    """d pixel / d step for some frames, in the blocks' own units."""

    problems: int
    frames: int
    columns: Columns  # a frame's own, then the shared ones but offsets
    own: int  # n, columns of a frame's own
    offsets: Float[Tensor, "problems frames points 2 2"] | None  # each moves its own point only
    place: slice  # of the offsets among the shared unknowns: behind all others

    def is_summed_at_once(self, measured: Measured) -> bool:
        """Whether what a term says of the shared unknowns alone needs no Jacobian: all of one problem's points, one by
        one, moved by coefficients."""
        alone = self.problems == 1 and self.frames > 1 and self.offsets is None
        return (
            alone and measured.rows.first is None and self.columns.are_coefficients(slice(self.own, self.columns.width))
        )

    def whole(self) -> Float[Tensor, "problems frames points 2 n_and_k"]:
        return self.columns.few(slice(None)).unflatten(0, (self.problems, self.frames))

    def few(self, problems: slice, frames: slice, weight: Tensor | None = None) -> Few:
        """Some frames of one problem, or all frames of some problems; times a weight (problems, frames, points, #axes)
        where there is one."""
        first = problems.start * self.frames + frames.start
        count = (problems.stop - problems.start) * (frames.stop - frames.start)
        J = self.columns.few(slice(first, first + count), None if weight is None else weight.flatten(0, 1))
        J = J.unflatten(0, (problems.stop - problems.start, -1))
        offsets = None if self.offsets is None else self.offsets[problems, frames]
        return Few(J, self.own, offsets, self.place, weight is not None)


class Few(NamedTuple):
    """A few frames' derivatives of pixels: they should stay in the cache."""

    J: Float[Tensor, "problems frames points 2 n_and_k"]
    own: int
    offsets: Float[Tensor, "problems frames points 2 2"] | None
    place: slice
    is_weighted: bool  # by what the only term makes of it


class Measured(NamedTuple):
    """What one term measures, and the root of what a squared pixel counts there."""

    rows: PixelRows
    weight: Float[Tensor, "problems frames items #axes"]  # one for both coordinates, or one each

    def during(self, problems: slice, frames: slice) -> Measured:
        return Measured(self.rows, self.weight[problems, frames])


def differentiate_pixels(problem: Problem, scene: Scene) -> PixelJacobian:
    """In closed form. The landmark offsets, millimetres on a lever of a head, are left out of the derivative by
    rotations."""
    parameters, posed = scene.parameters, scene.posed
    points, K = problem.points(posed, parameters), problem.camera(parameters)
    functional, n = pixel_rows(points, K), width(problem.local)
    shared = {name: place for name, place in problem.shared.items() if name != OFFSETS}
    places = {**problem.local, **{name: slice(n + p.start, n + p.stop) for name, p in shared.items()}}
    focal = places.pop("focal", None)
    columns = problem.body.columns(parameters, posed, functional, places, n + width(shared))
    if focal is not None:
        columns = columns.beside(focal, focal_slopes(points, K)[..., None].flatten(0, 1))
    offsets = None
    if OFFSETS in problem.shared:
        offsets = functional @ posed.rotations[:, :, problem.body.head_joint, None, :, :2]
    place = problem.shared.get(OFFSETS, slice(0, 0))
    return PixelJacobian(problem.count, problem.frames, columns, n, offsets, place)


def side_by_side(
    blocks: Sequence[Float[Tensor, "*rows _"]], weight: Float[Tensor, "*#rows"] | None = None
) -> Float[Tensor, "*rows columns"]:
    """`torch.cat` along the last axis, which is slow for blocks with their points first in memory; times a weight."""
    joined = blocks[0].new_empty(*blocks[0].shape[:-1], sum(block.shape[-1] for block in blocks))
    first = 0
    for block in blocks:
        place = joined[..., first : first + block.shape[-1]]
        place.copy_(block) if weight is None else torch.mul(block, weight[..., None], out=place)
        first += block.shape[-1]
    return joined


def few_at_a_time(problems: int, frames: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Slices of about `count` frames: some frames of one problem, or all frames of some problems."""
    p, f = max(count // frames, 1), min(count, frames)
    for problem in range(0, problems, p):
        for frame in range(0, frames, f):
            yield slice(problem, min(problem + p, problems)), slice(frame, min(frame + f, frames))


def add_rows(parts: Blocks, jacobian: PixelJacobian, measured: Sequence[Measured]) -> None:
    """All terms' share, a few frames at a time; what coefficients alone say of what is shared, in one go."""
    measured = [each for each in measured if each.weight.shape[2]]
    at_once = [jacobian.is_summed_at_once(each) for each in measured]
    shared = slice(jacobian.own, jacobian.columns.width)
    k = shared.stop - shared.start
    for each, is_summed in zip(measured, at_once, strict=True):
        if is_summed:
            parts.corner[0, :k, :k] += jacobian.columns.gram(shared, each.weight[0])
    only = measured[0] if len(measured) == 1 and measured[0].rows.first is None else None
    for problems, frames in few_at_a_time(jacobian.problems, jacobian.frames, FEW):
        share = Blocks(parts.own[problems, frames], parts.border[problems, frames], parts.corner[problems])
        few = jacobian.few(problems, frames, None if only is None else only.weight[problems, frames])
        for each, is_summed in zip(measured, at_once, strict=True):
            add_few_rows(share, few, each.during(problems, frames), not is_summed)


def add_few_rows(parts: Blocks, few: Few, measured: Measured, with_corner: bool) -> None:
    n, each = few.own, measured.weight
    moved = few.J if few.is_weighted else difference(few.J, measured.rows) * each[..., None]
    weighted = moved.flatten(2, 3)  # laid out as it was: points first
    gram = (weighted[..., :n].flatten(0, 1).mT @ weighted.flatten(0, 1)).unflatten(0, weighted.shape[:2])
    own, shared = weighted[..., :n], weighted[..., n:]
    parts.own.add_(gram[..., :n])
    k = shared.shape[-1]
    if k:
        parts.border[..., :k] += gram[..., n:]
    if k and with_corner:
        # In single precision over few frames only, and always over the same.
        every = shared.transpose(1, 2).flatten(1, 2)
        parts.corner[:, :k, :k] += every.mT @ every
    if few.offsets is not None:
        add_offset_rows(parts, few.offsets, few.place, own, shared, measured.rows, each)


def add_offset_rows(
    parts: Blocks,
    offsets: Float[Tensor, "problems frames points 2 2"],
    place: slice,
    own: Tensor,
    shared: Tensor,
    rows: PixelRows,
    each: Float[Tensor, "problems frames items axes"],
) -> None:
    """The offsets' share of border and corner: every row touches the offset of one point or of two."""
    problems, frames, items = each.shape[:3]
    points = offsets.shape[2]
    n, k = own.shape[-1], shared.shape[-1]
    blocks = each.new_zeros(problems, points, points, 2, 2)
    every = torch.arange(points, device=each.device)
    ends = [(every if rows.first is None else rows.first, 1.0)]
    if rows.second is not None:
        ends.append((rows.second, -1.0))
    moved = [(at, sign * each[..., None] * offsets[:, :, at]) for at, sign in ends]
    border = each.new_zeros(problems, frames, points, n, 2)
    cross = each.new_zeros(problems, points, k, 2)
    for at, G in moved:
        border.index_add_(2, at, own.unflatten(2, (items, 2)).mT @ G)
        if k:
            cross.index_add_(1, at, torch.einsum("pfirk,pfird->pikd", shared.unflatten(2, (items, 2)), G))
        for other, H in moved:
            gram = torch.einsum("pfird,pfire->pide", G, H)
            blocks.index_put_(tuple_index(problems, at, other), gram, accumulate=True)
    parts.border[..., place] += border.transpose(2, 3).flatten(3)
    parts.corner[:, place, place] += blocks.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
    tie = cross.permute(0, 2, 1, 3).flatten(2)
    parts.corner[:, :k, place] += tie
    parts.corner[:, place, :k] += tie.mT


def tuple_index(problems: int, at: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Index of blocks (problem, at[k], other[k]) for all problems and k."""
    return torch.arange(problems, device=at.device)[:, None], at[None], other[None]


def difference(values: Float[Tensor, "problems frames points 2 _"], rows: PixelRows) -> Tensor:
    """Of the first point's rows and the second's, where there is one."""
    first = values if rows.first is None else values[:, :, rows.first]
    return first if rows.second is None else first - values[:, :, rows.second]
