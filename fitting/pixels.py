"""Curvature of everything that is measured in pixels: closed-form Jacobians and their Gram matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import focal_slopes, pixel_rows
from fitting.problem import Problem, width
from fitting.solvers import Blocks
from fitting.terms import PixelRows, Scene

OFFSETS = "keypoint_offsets"
FEW = 8  # frames whose weighted Jacobian is in memory at once: it should stay in the cache


@dataclass(frozen=True)
class PixelJacobian:
    """d pixel / d step for some frames, in the blocks' own units."""

    blocks: tuple[Float[Tensor, "problems frames points 2 _"], ...]  # a frame's own, then the shared ones but offsets
    own: int  # n, columns of a frame's own
    offsets: Float[Tensor, "problems frames points 2 2"] | None  # each moves its own point only
    place: slice  # of the offsets among the shared unknowns: behind all others

    @property
    def columns(self) -> Float[Tensor, "problems frames points 2 n_and_k"]:
        return side_by_side(self.blocks)

    def during(self, problems: slice, frames: slice) -> PixelJacobian:
        blocks = tuple(block[problems, frames] for block in self.blocks)
        return replace(self, blocks=blocks, offsets=None if self.offsets is None else self.offsets[problems, frames])


def differentiate_pixels(problem: Problem, scene: Scene) -> PixelJacobian:
    """In closed form. The landmark offsets, millimetres on a lever of a head, are left out of the derivative by
    rotations."""
    parameters, posed = scene.parameters, scene.posed
    points, K = problem.points(posed, parameters), problem.camera(parameters)
    functional = pixel_rows(points, K)
    names = [name for name in (*problem.local, *problem.shared) if name != OFFSETS]
    by_block = problem.body.differentiate(parameters, posed, functional, names)
    if "focal" in names:
        by_block["focal"] = focal_slopes(points, K)[..., None]
    blocks = tuple(by_block[name] for name in names) or (functional[..., :0],)
    offsets = None
    if OFFSETS in problem.shared:
        offsets = functional @ posed.rotations[:, :, problem.body.head_joint, None, :, :2]
    place = problem.shared.get(OFFSETS, slice(0, 0))
    return PixelJacobian(blocks, width(problem.local), offsets, place)


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


def add_rows(parts: Blocks, jacobian: PixelJacobian, rows: PixelRows, weight: Tensor) -> None:
    """One term's share; `weight` is the root of what a squared pixel counts, (problems, frames, items), or one for each
    coordinate of every item: twice as many."""
    if weight.shape[2] == 0:
        return
    points = jacobian.blocks[0].shape[2] if rows.first is None else len(rows.first)
    each = weight.unflatten(2, (-1, 2)) if weight.shape[2] == 2 * points else weight[..., None]
    for problems, frames in few_at_a_time(weight.shape[0], weight.shape[1], FEW):
        share = Blocks(parts.own[problems, frames], parts.border[problems, frames], parts.corner[problems])
        add_few_rows(share, jacobian.during(problems, frames), rows, each[problems, frames])


def add_few_rows(
    parts: Blocks, jacobian: PixelJacobian, rows: PixelRows, each: Float[Tensor, "problems frames items axes"]
) -> None:
    weighted = side_by_side([difference(block, rows) for block in jacobian.blocks], each).flatten(2, 3)
    own, shared = weighted[..., : jacobian.own], weighted[..., jacobian.own :]
    k = shared.shape[-1]
    gram = own.mT @ weighted
    parts.own.add_(gram[..., : jacobian.own])
    if k:
        parts.border[..., :k] += gram[..., jacobian.own :]
        # In single precision over few frames only, and always over the same.
        every = shared.flatten(1, 2)
        parts.corner[:, :k, :k] += every.mT @ every
    if jacobian.offsets is not None:
        add_offset_rows(parts, jacobian.offsets, jacobian.place, own, shared, rows, each)


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
