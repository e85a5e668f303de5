"""The derivatives of a posed body by its blocks, put together from jacobian.py's two kinds: coefficients and turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.bodies.bends import Part, turn_bends
from fitting.bodies.columns import Columns, arranged
from fitting.bodies.contour import contour_pick
from fitting.bodies.jacobian import Pose, coefficient_rows, corrective_rows, rotation_steps, turn_rows, turned_rows
from fitting.bodies.levers import ROUNDING
from fitting.types import Parameters

if TYPE_CHECKING:
    from fitting.bodies.body import PosedBody, SkinnedBody


def differentiate(
    body: SkinnedBody,
    parameters: Parameters,
    posed: PosedBody,
    functional: Float[Tensor, "problems frames points rows 3"],
    names: Collection[str],
) -> dict[str, Float[Tensor, "problems frames points rows _"]]:
    """See `SkinnedBody.differentiate`."""
    found, factors = without_coefficients(body, parameters, posed, functional, names)
    if factors is not None:
        spans = {name: span for name, span in body.spans(body.coefficient_blocks).items() if name in names}
        for name, columns in spans.items():
            found[name] = coefficient_rows(body.levers, columns, factors.turned, factors.pick)
    return {name: value.unflatten(0, posed.rotations.shape[:2]) for name, value in found.items()}


def columns_of(
    body: SkinnedBody,
    parameters: Parameters,
    posed: PosedBody,
    functional: Float[Tensor, "problems frames points rows 3"],
    places: Mapping[str, slice],
    width: int,
) -> Columns:
    """See `SkinnedBody.columns`."""
    found, factors = without_coefficients(body, parameters, posed, functional, places.keys())
    others = tuple((places[name], value) for name, value in found.items())
    spans = {name: span for name, span in body.spans(body.coefficient_blocks).items() if name in places}
    if factors is None or not spans:
        return Columns(width, others)
    return Columns(width, others, arranged(body.levers, spans, places, width), factors.turned, factors.pick)


class Factors(NamedTuple):
    """What coefficients' derivatives are made of."""

    turned: Float[Tensor, "points lever rows batch"]
    pick: Float[Tensor, "batch table"] | None


def without_coefficients(
    body: SkinnedBody,
    parameters: Parameters,
    posed: PosedBody,
    functional: Float[Tensor, "problems frames points rows 3"],
    names: Collection[str],
) -> tuple[dict[str, Float[Tensor, "batch points rows _"]], Factors | None]:
    """Derivatives by turns, place and scale; and the factors of all others, where any is asked for."""
    size, transl = body.size_of(parameters), parameters["transl"][:, :, None]
    rows = (functional * size[..., None]).flatten(0, 1)
    pick = pick_of(body, posed)
    pose = pose_of(body, parameters, posed, pick)
    found, factors = by_turns(body, rows, pose, names), None
    turns = {name: span for name, span in body.spans(body.rotation_blocks).items() if name in names}
    is_corrected = bool(turns) and body.levers.corrected
    if is_corrected or any(name in names for name in body.coefficient_blocks):
        factors = Factors(turned_rows(body.levers.joint, rows, pose.rotations), pick)
        for name, joints in turns.items() if is_corrected else ():
            span = range(joints.start, joints.stop)
            more = corrective_rows(body.levers, span, factors.turned, pick, pose.local)
            found[name] = found[name] + more if name in found else more
    if "transl" in names:
        found["transl"] = functional.flatten(0, 1)
    if "scale" in names:
        found["scale"] = (functional * (posed.points - transl)[..., None, :]).sum(dim=-1, keepdim=True).flatten(0, 1)
    return found, factors


def pull(
    body: SkinnedBody,
    parameters: Parameters,
    posed: PosedBody,
    forces: Float[Tensor, "problems frames points 3"],
    names: Collection[str],
) -> dict[str, Float[Tensor, "problems frames _"]]:
    """See `SkinnedBody.pull`."""
    shape = posed.rotations.shape[:2]
    size, transl = body.size_of(parameters), parameters["transl"][:, :, None]
    pose = pose_of(body, parameters, posed, pick_of(body, posed))
    found = pull_back(body, pose, (forces * size).flatten(0, 1), names)
    found = {name: value.unflatten(0, shape) for name, value in found.items()}
    if "transl" in names:
        found["transl"] = forces.sum(dim=2)
    if "scale" in names:
        found["scale"] = (forces * (posed.points - transl)).sum(dim=(2, 3))[..., None]
    return found


def pull_back(
    body: SkinnedBody, pose: Pose, forces: Float[Tensor, "batch points 3"], names: Collection[str]
) -> dict[str, Float[Tensor, "batch _"]]:
    """Moments about joints for turns, forces in the joints' axes for coefficients."""
    reach = body.reach
    at_entries = forces[:, reach.point]
    pulls = pose.masses[..., None] * at_entries
    moments = torch.linalg.cross(pose.entries, at_entries)
    joints = len(body.skeleton.parents)
    own = forces.new_zeros(len(forces), joints, 6).index_add_(1, reach.joint, torch.cat([moments, pulls], dim=2))
    below = reach.hanging @ own
    torque = below[..., :3] - torch.linalg.cross(pose.places, below[..., 3:])
    above = pose.turns[:, reach.parent]
    steps = (above.mT @ torque[..., None])[..., 0]
    coefficients = {name: span for name, span in body.spans(body.coefficient_blocks).items() if name in names}
    found: dict[str, Tensor] = {}
    if coefficients or body.levers.corrected:
        # Masses are in the constants already; what is left is how much of an entry is picked.
        at_rest = (pose.rotations.mT[:, reach.joint] @ (at_entries * share_of(body, pose))[..., None])[..., 0]
        by_entry = at_rest.flatten(1) @ reach.entries
        in_parent = (above.mT @ below[..., 3:, None])[..., 0]
        count = reach.bones.shape[1]
        every = by_entry[:, :count] + in_parent.flatten(1) @ reach.bones
        found = {name: every[:, span] for name, span in coefficients.items()}
        if body.levers.corrected:
            feature = by_entry[:, count:].unflatten(1, (joints - 1, 1, 9))
            steps[:, 1:] += (feature @ rotation_steps(pose.local[:, 1:]))[:, :, 0]
    turned = {name: span for name, span in body.spans(body.rotation_blocks).items() if name in names}
    return found | {name: steps[:, span].flatten(1) for name, span in turned.items()}


def share_of(body: SkinnedBody, pose: Pose) -> Tensor | float:
    """Of every entry how much is picked (batch, entries, 1); 1 without a contour."""
    if body.contour is None:
        return 1.0
    weight = body.skin.entry_weight
    return torch.where(weight != 0, pose.masses / weight, torch.zeros_like(pose.masses))[..., None]


def bend(
    body: SkinnedBody,
    parameters: Parameters,
    posed: PosedBody,
    forces: Float[Tensor, "problems frames points 3"],
    blocks: Mapping[str, Tensor | None],
) -> Float[Tensor, "problems frames steps steps"]:
    """See `SkinnedBody.bend`."""
    spans, parts = body.spans(body.rotation_blocks), list[Part]()
    for name, steps in blocks.items():
        joints = list(range(spans[name].start, spans[name].stop))
        if steps is None and parts and parts[-1].steps is None:
            parts[-1] = Part([*parts[-1].joints, *joints], None)  # fewer and larger products
        else:
            parts.append(Part(joints, None if steps is None else steps.flatten(0, 1)))
    pose = pose_of(body, parameters, posed, pick_of(body, posed))
    found = turn_bends(body, pose, (forces * body.size_of(parameters)).flatten(0, 1), parts)
    return found.unflatten(0, posed.rotations.shape[:2])


def moved_points(body: SkinnedBody, name: str) -> Bool[Tensor, " points"]:
    """Which points of a restricted body a block moves, by more than rounding. All, where that is not known."""
    turns, coefficients = body.spans(body.rotation_blocks), body.spans(body.coefficient_blocks)
    every = torch.ones_like(body.pairs.whole[:, 0], dtype=torch.bool)
    if name in turns and not body.levers.corrected:
        joints = turns[name]
        found = body.pairs.whole[:, joints].any(dim=1)
        first = body.pairs.first
        return found.index_fill(0, body.pairs.point[first[joints.start] : first[joints.stop]], True)
    if name in coefficients:
        constants = (body.levers.fixed[:, None], body.levers.sliding)
        size = torch.cat([c[..., coefficients[name]].abs().amax(dim=(1, 2, 3)) for c in constants])
        return size > ROUNDING * size.amax()
    return every


def pick_of(body: SkinnedBody, posed: PosedBody) -> Float[Tensor, "batch table"] | None:
    """How much of each row of its table a contour takes."""
    if body.contour is None:
        return None
    return contour_pick(body.contour, posed.rotations[:, :, body.head_joint]).flatten(0, 1)


def pose_of(body: SkinnedBody, parameters: Parameters, posed: PosedBody, pick: Tensor | None) -> Pose:
    """Frames of all problems in a row; a contour's entries count as much as the frame picks their row."""
    size, transl = body.size_of(parameters), parameters["transl"][:, :, None]
    entries, masses = posed.entries.flatten(0, 1), body.skin.entry_weight[None]
    if body.contour is not None and pick is not None:
        share = pick_of_candidates(body, pick)[:, body.skin.entry_point]
        entries, masses = entries * share[..., None], masses * share
    return Pose(
        entries,
        masses,
        posed.rotations.flatten(0, 1),
        ((posed.joints - transl) / size).flatten(0, 1),
        torch.cat([parameters[name] for name in body.rotation_blocks], dim=2).flatten(0, 1),
    )


def pick_of_candidates(body: SkinnedBody, pick: Float[Tensor, "batch table"]) -> Float[Tensor, "batch candidates"]:
    """1 for fixed points, for a contour's candidates how much their row is picked."""
    assert body.contour is not None
    rows, count = body.contour.vertices.shape[:2]
    fixed = pick.new_ones(len(pick), body.skin.points - rows * count)
    return torch.cat([fixed, pick.repeat_interleave(count, dim=1)], dim=1)


def by_turns(
    body: SkinnedBody, rows: Tensor, pose: Pose, names: Collection[str]
) -> dict[str, Float[Tensor, "batch points rows _"]]:
    """Rotations of rigid entries, blocks that stand side by side in one go."""
    found: dict[str, Tensor] = {}
    run: dict[str, slice] = {}
    for name, span in (*body.spans(body.rotation_blocks).items(), ("", slice(0, 0))):
        if name in names:
            run[name] = span
        elif run:
            joints = range(min(s.start for s in run.values()), max(s.stop for s in run.values()))
            columns = turn_rows(body.pairs, joints, rows, pose)
            found |= zip(run, columns.split([3 * (s.stop - s.start) for s in run.values()], dim=3), strict=True)
            run = {}
    return found
