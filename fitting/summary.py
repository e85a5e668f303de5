"""From what the solvers found to a `Solution`: one row per input frame, gaps filled, errors measured, sources named."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fitting.camera import camera_to_pixels, world_to_camera
from fitting.evidence import Case, embedded_points
from fitting.problem import Problem, pick
from fitting.start import fill_rotations, fill_rows
from fitting.types import Body, Observations, Parameters, Solution, Stop

FRAMES_AT_ONCE = 256
SHORT_GAP = 12  # frames: half a second


def summarise(
    case: Case,
    problem: Problem,
    fittable: Tensor,
    result: Parameters,
    iterations: Tensor,
    stop: list[Stop],
    seconds: float,
) -> Solution:
    """One row per input frame: what was found, how good it is, and where it comes from."""
    frames, together = len(case.observations), problem.count == 1 and problem.frames > 1
    whole = spread(problem.start, fittable, result)
    whole = fill_gaps(whole, problem)
    seen = case.seen.cpu().numpy()
    per_problem = problem.evidence.seen.shape[1]
    steps = torch.zeros(problem.count, dtype=torch.long).index_copy(0, fittable.cpu(), iterations.cpu())
    reasons = [Stop.NOT_FITTED] * problem.count
    for row, reason in zip(fittable.tolist(), stop, strict=True):
        reasons[row] = reason
    K = problem.camera(whole).expand(problem.count, per_problem, 3, 3).reshape(frames, 3, 3).double().cpu().numpy()
    # The clip's landmark offsets are the detector's habit, not the body's: no part of what is projected and kept.
    parameters = without(whole, "focal", "keypoint_offsets")
    pixels = project(case.body, parameters, K, case.observations)
    at_start = project(case.body, without(problem.start, "focal"), case.K.double().cpu().numpy(), case.observations)
    error = mean_error(pixels, case.observations)
    return Solution(
        body=case.body,
        observations=case.observations,
        parameters=parameters,
        start=without(problem.start, "focal"),
        K=K,
        valid=seen,
        source=sources(seen, unbroken(problem.evidence.linked[0]) if together else []),
        error_px=error,
        error_percent=100 * error / detected_size(case, problem),
        start_error_px=mean_error(at_start, case.observations),
        cost_start=frame_costs(problem, problem.start, seen),
        cost_end=frame_costs(problem, whole, seen),
        iterations=np.repeat(steps.numpy(), per_problem),
        stop=tuple(
            r if s else Stop.NOT_FITTED
            for r, s in zip([r for r in reasons for _ in range(per_problem)], seen, strict=True)
        ),
        projected=pixels,
        seconds=seconds,
        cuts=tuple(k + 1 for k in torch.nonzero(~problem.evidence.linked[0])[:, 0].tolist()) if together else (),
    )


def without(parameters: Parameters, *names: str) -> Parameters:
    return Parameters({name: value for name, value in parameters.items() if name not in names})


def spread(start: Parameters, rows: Tensor, result: Parameters) -> Parameters:
    """Results of some problems among the starts of all."""
    whole = {}
    for name, value in result.items():
        if name in start:
            whole[name] = start[name].expand(-1, value.shape[1], *[-1] * (value.ndim - 2)).index_copy(0, rows, value)
        else:
            whole[name] = value.new_zeros(len(start["transl"]), *value.shape[1:]).index_copy(0, rows, value)
    return Parameters(whole)


def fill_gaps(parameters: Parameters, problem: Problem) -> Parameters:
    """Frames of a clip without a detection. In a short gap the chain knows best: what goes on smoothly stays as it was
    solved. Longer gaps are bridged between their neighbours, beyond the ends the last row is held."""
    seen = problem.evidence.seen
    if problem.count != 1 or seen.all() or not seen.any():
        return parameters
    solved = seen[0].clone()
    for part in unbroken(problem.evidence.linked[0]):
        solved[part] |= in_short_gap(seen[0, part])
    smooth = {name for term in problem.terms.values() if len(term.stencil) == 3 for name in getattr(term, "blocks", {})}
    filled = {name: value.clone() for name, value in parameters.items()}
    for part in unbroken(problem.evidence.linked[0]):
        if not seen[0, part].any():
            continue  # nothing to go by: as the chain left it
        for name, value in filled.items():
            known = solved[part] if name in smooth else seen[0, part]
            if value.shape[1] > 1:
                fill = fill_rotations if value.ndim == 5 else fill_rows
                value[0, part] = fill(value[0, part], known)
    return Parameters(filled)


def unbroken(linked: Tensor) -> list[slice]:
    """Runs of frames that follow each other: from cut to cut, clip by clip."""
    ends = [k + 1 for k in torch.nonzero(~linked)[:, 0].tolist()]
    return [slice(*pair) for pair in zip([0, *ends], [*ends, len(linked) + 1], strict=True)]


def in_short_gap(seen: Tensor) -> Tensor:
    """Unseen frames with a seen one before and after them, no more than SHORT_GAP apart."""
    number = torch.arange(len(seen), device=seen.device)
    before = torch.where(seen, number, -1).cummax(dim=0).values
    after = torch.where(seen, number, 2 * len(seen)).flip(0).cummin(dim=0).values.flip(0)
    return ~seen & (before >= 0) & (after < len(seen)) & (after - before <= SHORT_GAP + 1)


def sources(seen: np.ndarray, parts: list[slice]) -> tuple[str, ...]:
    """Frame by frame; `parts` are runs of frames that follow each other, none for photos."""
    named = ["fitted" if fitted else "missing" for fitted in seen]
    for part in parts:
        known = np.flatnonzero(seen[part]) + part.start
        for k in np.flatnonzero(~seen[part]) + part.start:
            if len(known):
                named[k] = "interpolated" if known[0] < k < known[-1] else "held"
    return tuple(named)


def frame_costs(problem: Problem, parameters: Parameters, seen: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        costs = problem.costs(parameters)
    return {name: np.where(seen, cost.reshape(-1).cpu().numpy(), np.nan) for name, cost in costs.items()}


def project(body: Body, parameters: Parameters, K: np.ndarray, observations: Observations) -> np.ndarray:
    """All keypoints of the layout that the body has, in pixels (frames, points, 2), NaN for the others."""
    embedding = body.embedding_of(observations.layout)
    assert embedding is not None  # `bind` has made sure
    keypoints = body.restrict(embedding)
    frames, points = len(observations), embedded_points(embedding)
    pixels = np.full((frames, len(observations.layout), 2), np.nan)
    flat = parameters.apart(frames)
    for first in range(0, frames, FRAMES_AT_ONCE):
        rows = torch.arange(first, min(first + FRAMES_AT_ONCE, frames), device=flat["transl"].device)
        with torch.no_grad():
            posed = world_to_camera(keypoints.pose(pick(flat, rows)).points[:, 0])
            found = camera_to_pixels(posed, torch.as_tensor(K[first : first + FRAMES_AT_ONCE]).to(posed))
        pixels[first : first + FRAMES_AT_ONCE, points] = found.double().cpu().numpy()
    return pixels


def mean_error(pixels: np.ndarray, observations: Observations) -> np.ndarray:
    """Mean distance in pixels over the keypoints that were seen and that the body has; NaN where there are none."""
    used = (observations.confidence > 0) & np.isfinite(pixels).all(axis=-1)
    used &= np.isfinite(observations.keypoints).all(axis=-1)
    distance = np.where(used, np.linalg.norm(pixels - observations.keypoints, axis=-1), 0.0)
    return np.where(used.any(axis=1), distance.sum(axis=1) / np.maximum(used.sum(axis=1), 1), np.nan)


def detected_size(case: Case, problem: Problem) -> np.ndarray:
    """Pixels between a face's size pair as detected; from the fit's depth where one of them was not seen, and of whole
    persons, of whose height a picture seldom shows both ends."""
    observations = case.observations
    if observations.layout.shows_a_person:
        return problem.evidence.subject_px.reshape(-1).cpu().numpy()
    ends, known = [], np.ones(len(observations), dtype=bool)
    for side in observations.layout.size_pair:
        ends.append(observations.keypoints[:, list(side)].mean(axis=1))
        known &= (observations.confidence[:, list(side)] > 0).all(axis=1)
    size = np.linalg.norm(ends[0] - ends[1], axis=-1)
    return np.where(known & (size > 0), size, problem.evidence.subject_px.reshape(-1).cpu().numpy())
