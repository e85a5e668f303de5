"""Several starts where the picture leaves it open which way a person faces, how long the lens is, or which side is
left: every one is fitted frame by frame, side by side, and each frame takes its best.

In a clip the best ones must also follow each other: the choice is the cheapest path over the frames (Viterbi, 1967),
so that a frame that could be seen from both sides goes with its neighbours. The lens is one for a whole clip.

Of photos a few more candidates may go on beside the best for some of the recipe's stages (`carry`): which basin is the
deepest often shows only there.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.calm import calm
from fitting.config import FitConfig, SearchConfig, StageConfig
from fitting.evidence import Case, apart, as_evidence
from fitting.journal import Journal
from fitting.layouts.sides import other_side, swapped
from fitting.path import cheapest_path, links
from fitting.problem import Problem, pick
from fitting.rivals import final_costs, race
from fitting.solve import Progress, join, run_stages
from fitting.start import fill_rotations, fill_rows, guess
from fitting.terms import Evidence
from fitting.types import Parameters

MET = 0.2  # radians between two that look the same way
SWAP_COST = 4.0  # of taking left for right, or of going back: swaps come in runs


@dataclass(frozen=True)
class Found:
    """Where to start from."""

    case: Case  # with the camera and the sides that were found
    start: Parameters  # (1, frames)
    swapped: tuple[int, ...] = ()  # frames whose left and right were exchanged
    stages: int = 0  # of the recipe's, how many the start has been through


@dataclass(frozen=True)
class Candidate:
    """One reading of the pictures: every frame of the case with its own start."""

    case: Case  # with its K, and its left and right
    start: Parameters  # (1, frames)
    focal_factor: float
    swapped: bool
    arms: str = "hanging"


def search(case: Case, config: FitConfig, progress: Progress, journal: Journal | None = None) -> Found:
    """The best candidate of every frame, fitted. Without `search` in the recipe, or with a regressor's word: one guess.

    Raises InputError when no frame has enough keypoints.
    """
    wanted = config.search
    if wanted is None or knows_the_start(case):
        return Found(case, guess(case))
    tried = candidates(case, wanted)
    every = [as_evidence(one.case, one.start) for one in tried]
    # One yard-stick for all: a candidate must not win because it believes that the person is small.
    size_px = torch.stack([evidence.subject_px for evidence in every]).median(dim=0).values
    seen = torch.nonzero(case.seen)[:, 0]
    pairs = zip(tried, every, strict=True)
    problem = side_by_side(
        [independent(one, replace(evidence, subject_px=size_px), config).select(seen) for one, evidence in pairs]
    )
    result, costs = run_candidates(problem, tried, config, wanted.stages, progress, journal)
    known = {name: value.unflatten(0, (len(tried), -1)) for name, value in result.items() if name in tried[0].start}
    fitted = [Parameters({name: value[k] for name, value in known.items()}) for k in range(len(tried))]
    path = choose(tried, costs.cpu().numpy(), fitted, links(every[0].linked[0], seen))
    found = take(case, tried, fitted, seen, path)
    if not case.observations.is_clip:
        return (
            found
            if wanted.carry <= 1
            else carry_on(case, config, tried, Fitted(fitted, costs, seen), progress, journal)
        )
    return replace(found, start=calm(found.start, every[0].linked[0], every[0].fps))


class Fitted(NamedTuple):
    """What all candidates came to in the frames in which something is seen."""

    parameters: list[Parameters]  # candidate by candidate, every frame a problem
    costs: Float[Tensor, "frames candidates"]
    seen: Int[Tensor, " frames"]


def carry_on(
    case: Case, config: FitConfig, tried: list[Candidate], fitted: Fitted, progress: Progress, journal: Journal | None
) -> Found:
    """Every photo's best candidate, and a few more that are not much dearer, through the recipe's stages up to
    `carry_through`; the lowest counts from there on."""
    wanted, seen = config.search, fitted.seen
    assert wanted is not None
    costs, order = fitted.costs.nan_to_num(nan=torch.inf).sort(dim=1)
    goes_on = (costs <= wanted.carry * costs[:, :1]) & (torch.arange(costs.shape[1]).to(seen) <= wanted.rivals)
    goes_on[:, 0] = True
    rank, photo = torch.nonzero(goes_on.T, as_tuple=True)  # the best of all photos first
    starts = []
    for k in range(int(rank.max()) + 1):
        ranked = take(case, tried, fitted.parameters, seen, order[:, k].cpu().numpy())
        starts.append(photos(ranked, config).select(seen[photo[rank == k]]))
    result, row = race(side_by_side(starts), photo, config, progress, journal)
    end, path = pick(result, row), order[photo[row], rank[row]]
    known = Parameters({name: value for name, value in end.items() if name in tried[0].start})
    found = take(case, tried, [known] * len(tried), seen, path.cpu().numpy())
    return replace(found, stages=len(config.carried()))


def photos(found: Found, config: FitConfig) -> Problem:
    """Every frame from the candidate that was chosen for it."""
    one = Candidate(found.case, found.start, 1.0, swapped=False)
    return independent(one, as_evidence(found.case, found.start), config)


def run_candidates(
    problem: Problem,
    tried: list[Candidate],
    config: FitConfig,
    stages: Sequence[StageConfig],
    progress: Progress,
    journal: Journal | None,
) -> tuple[Parameters, Float[Tensor, "frames candidates"]]:
    """All stages; candidates that have met after the first go on as one. Those that were left have an infinite cost."""

    def run(some: Problem, chosen: Sequence[StageConfig]) -> Parameters:
        report = lambda _, done, count: progress("searching", done, count)  # noqa: E731
        return run_stages(some, config.model_copy(update={"stages": tuple(chosen)}), report, journal)[0]

    result = run(problem, stages[:1])
    going = torch.ones(problem.count, dtype=torch.bool, device=problem.K.device)
    if len(stages) > 1:
        costs = final_costs(problem, result, config.model_copy(update={"stages": tuple(stages[:1])}))
        kinds = [(one.focal_factor, one.swapped, one.arms) for one in tried]  # all but where they looked at first
        going = first_there(kinds, result, costs)
        rows = torch.nonzero(going)[:, 0]
        part = replace(problem, base=result).select(rows)
        moved = run(part, stages[1:])
        before = problem.start.replace(result)
        kept = (name for name in moved if name in problem.start)
        result = Parameters({name: before[name].index_copy(0, rows, moved[name]) for name in kept})
    costs = final_costs(problem, result, config.model_copy(update={"stages": tuple(stages)}))
    return result, costs.masked_fill(~going, torch.inf).unflatten(0, (len(tried), -1)).T


def first_there(
    kinds: Sequence[Hashable], result: Parameters, costs: Float[Tensor, " problems"]
) -> Bool[Tensor, " problems"]:
    """Of candidates that are of a kind, and now look the same way, the cheapest."""
    count = len(kinds)
    turns, cost = result["global_orient"][:, 0, 0].unflatten(0, (count, -1)), costs.unflatten(0, (count, -1))
    same = torch.tensor([[a == b for b in kinds] for a in kinds], device=costs.device)
    near = (roma.rotmat_geodesic_distance(turns[:, None], turns[None]) < MET) & same[..., None]
    going = torch.zeros_like(cost, dtype=torch.bool)
    frames = torch.arange(cost.shape[1], device=costs.device)
    for chosen in cost.argsort(dim=0):
        is_new = ~(near[chosen, :, frames].mT & going).any(dim=0)
        going[chosen, frames] = is_new
    return going.flatten()


def knows_the_start(case: Case) -> bool:
    """A regressor has said where the person looks."""
    codes = case.observations.start
    return codes is not None and "global_orient" in codes.values


def candidates(case: Case, wanted: SearchConfig) -> list[Candidate]:
    """All combinations of sides, focal length and facing."""
    found = []
    for exchanged in (False, True) if wanted.swap else (False,):
        sides = swap_sides(case) if exchanged else case
        for factor in wanted.focal_factors:
            lens = replace(sides, K=scale_focal(case.K, torch.full_like(case.K[:, 0, 0], factor)))
            for facing, arms in itertools.product(wanted.facing, wanted.arms):
                found.append(Candidate(lens, guess(lens, facing, arms), factor, exchanged, arms))
    return found


def scale_focal(K: Float[Tensor, "frames 3 3"], factor: Float[Tensor, " frames"]) -> Float[Tensor, "frames 3 3"]:
    return K * torch.stack([factor, factor, torch.ones_like(factor)], dim=-1)[..., None, :]


def swap_sides(case: Case) -> Case:
    """The same keypoints with every left one called right and the other way round."""
    place = {int(index): k for k, index in enumerate(case.points)}
    twins = other_side(case.observations.layout)[case.points]
    order = [place.get(int(twin), k) for k, twin in enumerate(twins)]
    return replace(case, keypoints=case.keypoints[:, order], confidence=case.confidence[:, order])


def independent(candidate: Candidate, evidence: Evidence, config: FitConfig) -> Problem:
    """Every frame as a problem of its own."""
    case, frames = candidate.case, len(candidate.case.observations)
    start = candidate.start.replace({"focal": torch.zeros(1, 1, 1).to(case.keypoints)}).apart(frames)
    return Problem(
        body=case.restricted,
        yard_stick=case.yard_stick,
        evidence=apart(evidence),
        K=case.K[:, None],
        terms=config.terms.named(),
        start=start,
        base=start,
        free=(),
    )


def side_by_side(problems: list[Problem]) -> Problem:
    """One batch of problems that have the same body and the same terms."""
    first, every = problems[0], [problem.evidence for problem in problems]
    names = (*first.evidence.per_frame(), "linked")
    joined: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in every]) for name in names}
    evidence = replace(first.evidence, **joined)
    start = join([problem.start for problem in problems])
    return replace(first, evidence=evidence, K=torch.cat([p.K for p in problems]), start=start, base=start)


def choose(
    tried: list[Candidate],
    costs: Float[np.ndarray, "frames candidates"],
    fitted: list[Parameters],
    link: Float[np.ndarray, " links"],
) -> Int[np.ndarray, " frames"]:
    """Each frame's candidate: the cheapest one for photos, the cheapest path through one lens for a clip."""
    costs = np.where(np.isfinite(costs), costs, np.inf)
    if not tried[0].case.observations.is_clip:
        return costs.argmin(axis=1)
    turns = torch.stack([found["global_orient"][:, 0, 0] for found in fitted], dim=1)
    factors = np.array([one.focal_factor for one in tried])
    swapped = np.array([one.swapped for one in tried])
    paths = []
    for factor in np.unique(factors):
        group = np.flatnonzero(factors == factor)
        change = SWAP_COST * (swapped[group][:, None] != swapped[group])
        path, cost = cheapest_path(costs[:, group], turns[:, torch.as_tensor(group)], change, link)
        paths.append((cost, group[path]))
    return min(paths, key=lambda found: found[0])[1]


def take(
    case: Case,
    tried: list[Candidate],
    fitted: list[Parameters],
    seen: Int[Tensor, " some"],
    path: Int[np.ndarray, " some"],
) -> Found:
    """The chosen candidates as one case and one start; frames without a person are filled from their neighbours,
    what a clip shares is the mean."""
    together, frames = case.observations.is_clip, len(case.observations)
    rows = torch.arange(len(seen))
    shared = {block.name for block in case.body.blocks if block.shared}
    known = torch.zeros_like(case.seen).index_fill(0, seen, True)
    start = {}
    for name in fitted[0]:
        chosen = torch.stack([found[name][:, 0] for found in fitted])[torch.as_tensor(path), rows]
        if together and name in shared:
            start[name] = chosen.mean(dim=0)[None, None]
            continue
        whole = chosen.new_zeros(frames, *chosen.shape[1:]).index_copy(0, seen, chosen)
        start[name] = (fill_rotations if chosen.ndim == 4 else fill_rows)(whole, known)[None]
    factors = case.K.new_zeros(frames, 1).index_copy(
        0, seen, case.K.new_tensor([[tried[k].focal_factor] for k in path])
    )
    lens = replace(case, K=scale_focal(case.K, fill_rows(factors, known)[:, 0]))
    swapped = seen[torch.tensor([tried[k].swapped for k in path], dtype=torch.bool, device=seen.device)]
    return Found(exchange_sides(lens, swapped), Parameters(start), tuple(swapped.tolist()))


def exchange_sides(case: Case, frames: Int[Tensor, " some"]) -> Case:
    """Left and right exchanged in some frames, of the tensors and of the observations they come from."""
    other = swap_sides(case)
    keypoints, confidence = case.keypoints.clone(), case.confidence.clone()
    keypoints[frames], confidence[frames] = other.keypoints[frames], other.confidence[frames]
    chosen = np.isin(np.arange(len(case.observations)), frames.cpu().numpy())
    observations = swapped(case.observations, chosen)
    return replace(case, keypoints=keypoints, confidence=confidence, observations=observations)
