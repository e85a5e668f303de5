"""Gram matrices of a body's keypoints without their Jacobian: J'J and J'r of a problem of one frame, by compiled code.

Most keypoints sit on a head or on a hand, and move as one with all joints that these hang on: their derivatives by
those joints are W T, with W what a twist of the whole group does to each point (2 x 6), T what joints and bones do to
the twist. So J'J = T' (W'W) T, and only what stirs within the group is made point by point. Checked against the whole
Jacobian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from fitting.bodies.levers import subtree
from fitting.bodies.skinning import joint_of_entries
from fitting.types import Parameters

if TYPE_CHECKING:
    from fitting.bodies.body import PosedBody, SkinnedBody
    from fitting.bodies.decoded import Decoder

LEAST = 8  # points that are worth a group
ROUNDING = 1e-6  # of the longest lever: shorter ones are what a regression left


class Turn(NamedTuple):
    """A joint that turns, and its unknowns: three, or a vector's by three rows of its steps."""

    joint: int
    first: int
    row: int  # -1: three unknowns of its own
    size: int

    def columns(self) -> range:
        return range(self.first, self.first + self.size)


class Plan(NamedTuple):
    """Which columns a group of points has; arrays as compiled code takes them. A list's `first` has one more for the
    end."""

    parents: np.ndarray
    group_first: np.ndarray  # of its points
    anchored: np.ndarray  # groups that move as one with a joint: their first six columns are a twist
    column_first: np.ndarray
    columns: np.ndarray  # unknowns, by group
    extra_at: np.ndarray  # column of what the caller adds, by group
    transl_at: int  # column of the place in the group that has no anchor; -1: it does not move
    outer_first: np.ndarray
    outer: np.ndarray  # unknowns that a group's twist comes from
    outer_transl: np.ndarray  # the place's among them, by group
    outer_coefficients: np.ndarray  # where those that move its anchor stand among them, and which these are: a range
    bone_first: np.ndarray
    bone_joint: np.ndarray  # -1: carried by none
    bones: np.ndarray  # what they do to the anchor in the axes of these joints: bones, 3, coefficients
    chain_first: np.ndarray
    chain: np.ndarray  # joint, place among `outer`, row of steps, size
    points: np.ndarray
    entry_first: np.ndarray  # by point
    entries: np.ndarray
    span: np.ndarray  # of the constants' coefficients, and their column, by group
    slot_first: np.ndarray
    slots: np.ndarray  # joint (-1: carried by none), point, row of the group's columns
    constants: np.ndarray  # slots, 3, coefficients
    pair_first: np.ndarray
    pairs: np.ndarray  # joint, column, row of steps, size, point, row of the group's columns
    part_first: np.ndarray  # by pair
    parts: np.ndarray  # entries that hang on the joint


@dataclass(frozen=True)
class Products:
    """What adds a body's products to a matrix of unknowns."""

    body: SkinnedBody
    decoders: tuple[Decoder, ...]  # whose vectors move
    plan: Plan

    def add(
        self,
        parameters: Parameters,
        posed: PosedBody,
        functional: Float[Tensor, "problems points 2 3"],
        pull: Float[Tensor, "problems points 2"],
        extra: Float[Tensor, "problems points 2 more"],
        matrix: Float[Tensor, "problems n n"],
        along: Float[Tensor, "problems n"],
    ) -> None:
        """Adds J'J to the lower triangle of `matrix` and J' pull to `along`: J is d functional . point by unknowns."""
        from fitting.bodies.kernel_products import add_products

        steps = [decoder.steps(parameters[decoder.block.name])[:, 0] for decoder in self.decoders]
        most = max((some.shape[2] for some in steps), default=0)
        every = torch.cat([pad(some, (0, most - some.shape[2])) for some in steps] or [pull[:, :0]], dim=1)
        places = posed.joints[:, 0] - parameters["transl"]
        given = (posed.entries[:, 0], self.body.skin.entry_weight, posed.rotations[:, 0], places, every)
        arrays = [t.contiguous().numpy() for t in (*given, functional, pull, extra)]
        add_products(self.plan, *arrays, matrix.numpy(), along.numpy())


def make_products(
    body: SkinnedBody, decoders: Sequence[Decoder], places: Mapping[str, slice], more: Sequence[int]
) -> Products | None:
    """For unknowns at `places`, by block; `more` are those of what the caller adds. None where a contour slides, pose
    corrects the shape, or the body grows as a whole: what these do has no place here."""
    if body.contour is not None or body.levers.corrected or "scale" in places:
        return None
    moving = tuple(decoder for decoder in decoders if decoder.block.name in places)
    turns = turns_of(body, moving, places)
    groups = group(body)
    return Products(body, moving, lay_out(body, turns, groups, places, more))


def turns_of(body: SkinnedBody, decoders: Sequence[Decoder], places: Mapping[str, slice]) -> dict[int, Turn]:
    found: dict[int, Turn] = {}
    row, spans = 0, body.spans(body.rotation_blocks)
    for decoder in decoders:
        span, place = spans[decoder.target], places[decoder.block.name]
        size = place.stop - place.start
        found |= {j: Turn(j, place.start, row + 3 * k, size) for k, j in enumerate(range(span.start, span.stop))}
        row += 3 * (span.stop - span.start)
    for name, span in spans.items():
        if name in places:
            joints = range(span.start, span.stop)
            found |= {j: Turn(j, places[name].start + 3 * k, -1, 3) for k, j in enumerate(joints)}
    return found


class Hanging(NamedTuple):
    """Which entries of each point hang on which joint."""

    of_point: list[np.ndarray]  # entries
    below: np.ndarray  # joints, entries

    def entries(self, point: int, joint: int) -> np.ndarray:
        every = self.of_point[point]
        return every[self.below[joint, every]]


def hanging(body: SkinnedBody) -> Hanging:
    below = subtree(body.skeleton.parents).numpy()[:, joint_of_entries(body.skin).numpy()] > 0
    point = body.skin.entry_point.numpy()
    return Hanging([np.flatnonzero(point == k) for k in range(body.skin.points)], below)


class Group(NamedTuple):
    points: list[int]
    anchor: int  # -1: none


def ancestors(body: SkinnedBody, joint: int) -> list[int]:
    """The joint itself and all that it hangs on."""
    found = []
    while joint >= 0:
        found.append(joint)
        joint = body.skeleton.parents[joint]
    return found


def group(body: SkinnedBody) -> list[Group]:
    """Points that hang on a joint as a whole, the furthest out that has enough of them; then the others together."""
    hangs, weight = hanging(body), body.skin.entry_weight.numpy()
    left = list(range(body.skin.points))
    whole = {k for k in left if abs(weight[hangs.of_point[k]].sum() - 1) < ROUNDING}
    found = []
    for joint in reversed(range(len(body.skeleton.parents))):  # children stand behind their parents
        on = [k for k in left if k in whole and hangs.below[joint, hangs.of_point[k]].all()]
        if len(on) >= LEAST:
            found.append(Group(on, joint))
            left = [k for k in left if k not in set(on)]
    return [*found, Group(left, -1)] if left else found


class Lists:
    """Arrays under construction: rows of each kind, and where those of the next owner begin."""

    def __init__(self) -> None:
        self.rows: list[object] = []
        self.first = [0]

    def close(self) -> None:
        self.first.append(len(self.rows))

    def arrays(self, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.first), np.array(self.rows, dtype=np.int64).reshape(-1, *shape)


def lay_out(
    body: SkinnedBody,
    turns: Mapping[int, Turn],
    groups: Sequence[Group],
    places: Mapping[str, slice],
    more: Sequence[int],
) -> Plan:
    """All columns of all groups: a twist, coefficients, the place, what the caller adds, and what turns within."""
    hangs = hanging(body)
    constants, owners = coefficients_of(body, places)
    joints = np.where(body.levers.joint.numpy() < len(body.skeleton.parents), body.levers.joint.numpy(), -1)
    columns, outer, chain, bones, entries, slots, pairs, parts, points = (Lists() for _ in range(9))
    spans, blocks, outer_blocks, extra_at, outer_transl, outer_spans, transl_at = [], [], [], [], [], [], -1
    place = list(range(places["transl"].start, places["transl"].stop)) if "transl" in places else []
    for one in groups:
        above = ancestors(body, one.anchor)
        # What moves the anchor moves all of its points alike: bones above it, whichever point they are read from.
        common = np.isin(joints, [*above[1:], -1]) & (one.anchor >= 0)
        first = one.points[0]
        over = [turns[j] for j in reversed(above) if j in turns]
        about = sorted({c for turn in over for c in turn.columns()})
        chain.rows += [(turn.joint, about.index(turn.first), turn.row, turn.size) for turn in over]
        outer_transl.append(len(about) if place and one.anchor >= 0 else -1)
        about += place if one.anchor >= 0 else []
        start, stop = span_of(constants[first, common[first]])
        outer_spans.append((len(about), start, stop))
        for slot in np.flatnonzero(common[first]):
            bones.rows.append(joints[first, slot])
            outer_blocks.append(constants[first, slot])
        outer.rows += [*about, *owners[start:stop]]
        for made in (chain, bones, outer):
            made.close()

        own = [-1] * 6 if one.anchor >= 0 else []
        start, stop = span_of(np.where(common[one.points][..., None, None], 0, constants[one.points]))
        spans.append((start, stop, len(own)))
        own += owners[start:stop]
        extra_at.append(len(own))
        own += more
        if one.anchor < 0 and place:
            transl_at = len(own)
            own += place
        within = {k: [turns[j] for j in turns if j not in above and len(hangs.entries(k, j))] for k in one.points}
        own += sorted({c for some in within.values() for turn in some for c in turn.columns()})
        columns.rows += own
        columns.close()
        for row, k in zip(range(0, 2 * len(one.points), 2), one.points, strict=True):
            points.rows.append(k)
            entries.rows += hangs.of_point[k].tolist()
            for slot in np.flatnonzero(~common[k] & constants[k].any(axis=(1, 2))):
                slots.rows.append((joints[k, slot], k, row))
                blocks.append(constants[k, slot])
            for turn in within[k]:
                pairs.rows.append((turn.joint, own.index(turn.first), turn.row, turn.size, k, row))
                parts.rows += hangs.entries(k, turn.joint).tolist()
                parts.close()
            entries.close()
        for made in (points, slots, pairs):
            made.close()

    def stacked(rows: list[np.ndarray]) -> np.ndarray:
        return np.array(rows) if rows else constants[:0, 0]

    group_first, every_point = points.arrays()
    return Plan(
        np.array(body.skeleton.parents), group_first, np.array([one.anchor >= 0 for one in groups]),
        *columns.arrays(), np.array(extra_at), transl_at,
        *outer.arrays(), np.array(outer_transl), np.array(outer_spans), *bones.arrays(), stacked(outer_blocks),
        *chain.arrays(4), every_point, *entries.arrays(), np.array(spans), *slots.arrays(3), stacked(blocks),
        *pairs.arrays(6), *parts.arrays(),
    )  # fmt: skip


def coefficients_of(body: SkinnedBody, places: Mapping[str, slice]) -> tuple[np.ndarray, list[int]]:
    """Constants (points, slots, 3, coefficients) of the coefficients that move, without what rounding left; and their
    unknowns."""
    spans = {name: span for name, span in body.spans(body.coefficient_blocks).items() if name in places}
    fixed = body.levers.fixed.unflatten(1, (-1, 3)).numpy()
    parts = [fixed[..., span] for span in spans.values()]
    parts = [np.where(abs(part) > ROUNDING * abs(part).max(initial=0.0), part, 0) for part in parts]
    owners = [column for name in spans for column in range(places[name].start, places[name].stop)]
    return np.concatenate([*parts, fixed[..., :0]], axis=-1), owners


def span_of(constants: np.ndarray) -> tuple[int, int]:
    """From the first coefficient that moves any of these points to the last."""
    used = np.flatnonzero(constants.any(axis=tuple(range(constants.ndim - 1))))
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
