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
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.bends import stacked
from fitting.bodies.levers import ROUNDING, Hanging, hang_entries, masses, subtree
from fitting.types import Parameters

if TYPE_CHECKING:
    from fitting.bodies.body import PosedBody, SkinnedBody
    from fitting.bodies.decoded import Decoder

LEAST = 8  # points that are worth a group


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

        steps = stacked([d.steps(parameters[d.block.name])[:, 0] for d in self.decoders], pull)
        size = self.body.size_of(parameters)[:, 0].expand(len(pull), 1, 1)
        places = (posed.joints[:, 0] - parameters["transl"]) / size
        given = (posed.entries[:, 0], self.body.skin.entry_weight, posed.rotations[:, 0], places, steps)
        of_body = functional * size[..., None]  # all but the place grows with the body
        arrays = [t.contiguous().numpy() for t in (*given, of_body, 1 / size[:, 0, 0], pull, extra)]
        add_products(self.plan, *arrays, matrix.numpy(), along.numpy())


def make_products(
    body: SkinnedBody, decoders: Sequence[Decoder], places: Mapping[str, slice], more: Sequence[int]
) -> Products | None:
    """For unknowns at `places`, by block; `more` are those of what the caller adds. None where a contour slides, pose
    corrects the shape, or the body is to grow as a whole: what these do has no place here."""
    if body.contour is not None or body.levers.corrected or "scale" in places:
        return None
    moving = tuple(decoder for decoder in decoders if decoder.block.name in places)
    draft = Draft(body, turns_of(body, moving, places), places, more)
    groups = grouped(body, draft.hangs)
    for group in groups:
        draft.add(group)
    return Products(body, moving, draft.plan(groups))


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


class Group(NamedTuple):
    points: list[int]
    above: list[int]  # from the root, all that they hang on as a whole, their anchor last; empty: there is none

    @property
    def is_anchored(self) -> bool:
        return len(self.above) > 0


def grouped(body: SkinnedBody, hangs: Hanging) -> list[Group]:
    """Points that hang on a joint as a whole, the furthest out that has enough of them; then the others together."""
    is_one = (masses(body.skin).sum(dim=1) - 1).abs() < ROUNDING
    as_whole = (hangs.whole & is_one[:, None]).numpy()
    left, found = np.ones(body.skin.points, dtype=bool), []
    for joint in reversed(range(len(body.skeleton.parents))):  # children stand behind their parents
        on = left & as_whole[:, joint]
        if on.sum() >= LEAST:
            above = subtree(body.skeleton.parents)[:, joint].numpy()
            found.append(Group(np.flatnonzero(on).tolist(), np.flatnonzero(above).tolist()))
            left &= ~on
    return [*found, Group(np.flatnonzero(left).tolist(), [])] if left.any() else found


class Lists:
    """Arrays under construction: rows of each kind, and where those of the next owner begin."""

    def __init__(self, *shape: int) -> None:
        self.rows: list[object] = []
        self.first, self.shape = [0], shape

    def close(self) -> None:
        self.first.append(len(self.rows))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.first), np.array(self.rows, dtype=np.int64).reshape(-1, *self.shape)


class Draft:
    """A plan under construction, group by group."""

    def __init__(
        self, body: SkinnedBody, turns: Mapping[int, Turn], places: Mapping[str, slice], more: Sequence[int]
    ) -> None:
        self.body, self.turns, self.more = body, turns, list(more)
        self.hangs = hang_entries(body.skeleton, body.skin, body.skin.entry_point, body.skin.points)
        self.below, self.in_part = self.hangs.below.numpy() > 0, self.hangs.parts.numpy() > 0
        self.constants, self.owners = coefficients_of(body, places)
        # Slots without constants are no slots.
        self.is_slot = self.constants.any(axis=(2, 3))
        joint = body.levers.joint.numpy()
        self.slot_joint = np.where(joint < len(body.skeleton.parents), joint, -1)
        self.place = list(range(places["transl"].start, places["transl"].stop)) if "transl" in places else []
        self.columns, self.outer, self.entries, self.points, self.parts, self.bones = (Lists() for _ in range(6))
        self.chain, self.slots, self.pairs = Lists(4), Lists(3), Lists(6)
        self.spans, self.outer_spans = Lists(3), Lists(3)
        self.extra_at, self.outer_transl, self.transl_at = list[int](), list[int](), -1
        self.bone_constants, self.slot_constants = list[np.ndarray](), list[np.ndarray]()

    def add(self, group: Group) -> None:
        # What moves the anchor moves all of its points alike: bones above it.
        common = np.isin(self.slot_joint, [*group.above[:-1], -1]) & group.is_anchored
        self.add_outer(group, common)
        self.add_inner(group, common)

    def add_outer(self, group: Group, common: np.ndarray) -> None:
        """What moves the group as one: joints, the place, and bones, which any of its points tells."""
        any_point = group.points[0]
        over = [self.turns[j] for j in group.above if j in self.turns]
        about = sorted({c for turn in over for c in turn.columns()})
        self.chain.rows += [(turn.joint, about.index(turn.first), turn.row, turn.size) for turn in over]
        self.outer_transl.append(len(about) if self.place and group.is_anchored else -1)
        about += self.place if group.is_anchored else []
        start, stop = span_of(self.constants[any_point, common[any_point]])
        self.outer_spans.rows.append((len(about), start, stop))
        for slot in np.flatnonzero(common[any_point] & self.is_slot[any_point]):
            self.bones.rows.append(self.slot_joint[any_point, slot])
            self.bone_constants.append(self.constants[any_point, slot])
        self.outer.rows += [*about, *self.owners[start:stop]]
        for made in (self.chain, self.bones, self.outer):
            made.close()

    def add_inner(self, group: Group, common: np.ndarray) -> None:
        """Columns of the group's own: a twist, coefficients, what the caller adds, the place where there is no twist,
        and what turns within."""
        columns = [-1] * 6 if group.is_anchored else []
        start, stop = span_of(np.where(common[group.points][..., None, None], 0, self.constants[group.points]))
        self.spans.rows.append((start, stop, len(columns)))
        columns += self.owners[start:stop]
        self.extra_at.append(len(columns))
        columns += self.more
        if not group.is_anchored and self.place:
            self.transl_at = len(columns)
            columns += self.place
        inner = [joint for joint in self.turns if joint not in group.above]
        turning = [joint for joint in inner if self.in_part[group.points, joint].any()]
        columns += sorted({c for joint in turning for c in self.turns[joint].columns()})
        self.columns.rows += columns
        self.columns.close()
        for row, point in zip(range(0, 2 * len(group.points), 2), group.points, strict=True):
            self.points.rows.append(point)
            entries = np.flatnonzero(self.body.skin.entry_point.numpy() == point)
            self.entries.rows += entries.tolist()
            self.entries.close()
            for slot in np.flatnonzero(~common[point] & self.is_slot[point]):
                self.slots.rows.append((self.slot_joint[point, slot], point, row))
                self.slot_constants.append(self.constants[point, slot])
            for turn in (self.turns[joint] for joint in turning if self.in_part[point, joint]):
                self.pairs.rows.append((turn.joint, columns.index(turn.first), turn.row, turn.size, point, row))
                self.parts.rows += entries[self.below[turn.joint, entries]].tolist()
                self.parts.close()
        for made in (self.points, self.slots, self.pairs):
            made.close()

    def plan(self, groups: Sequence[Group]) -> Plan:
        group_first, points = self.points.arrays()
        return Plan(
            np.array(self.body.skeleton.parents), group_first, np.array([group.is_anchored for group in groups]),
            *self.columns.arrays(), np.array(self.extra_at), self.transl_at,
            *self.outer.arrays(), np.array(self.outer_transl), self.outer_spans.arrays()[1],
            *self.bones.arrays(), self.stacked(self.bone_constants),
            *self.chain.arrays(), points, *self.entries.arrays(), self.spans.arrays()[1],
            *self.slots.arrays(), self.stacked(self.slot_constants), *self.pairs.arrays(), *self.parts.arrays(),
        )  # fmt: skip

    def stacked(self, rows: list[np.ndarray]) -> np.ndarray:
        return np.array(rows) if rows else self.constants[:0, 0]


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
