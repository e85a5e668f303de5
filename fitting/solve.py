"""Stages -> Solution: the only loop over stages."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting import anew, excerpt
from fitting.ambiguity import ambiguities
from fitting.compiled import alone
from fitting.config import FitConfig, StageConfig
from fitting.curvature import LeastSquares
from fitting.evidence import Case, apart, as_evidence
from fitting.journal import Journal, Page, Reached
from fitting.newton import Newton, has_model
from fitting.problem import Problem, either, pick
from fitting.solvers import SOLVERS, Minimum, SolverOptions, saddle_free
from fitting.solvers.saddle_free import Rest
from fitting.stagnation import name_stagnation
from fitting.summary import summarise
from fitting.terms import Terms
from fitting.types import Block, Body, ConfigError, Parameters, Solution, Stop
from fitting.uncertainty import centre, error_bars

LONGEST_WITH_ERROR_BARS = 10_000  # frames of one clip: with landmark offsets they cost some 25 ms a frame

SMALLEST_CHUNK = 32  # problems: fewer are not shared out among threads
LOOKED_AT = 256  # frames whose costs are summed together: their bodies should stay in the cache

Progress = Callable[[str, int, int], None]  # what, done, of how many
Found = TypeVar("Found")


def solve(
    case: Case,
    start: Parameters,
    config: FitConfig,
    progress: Progress = lambda *_: None,
    journal: Journal | None = None,
    begun: int = 0,
) -> Solution:
    """Runs the stages on a clip as one problem, on photos as one problem each, without the first few, `begun`, that the
    start has been through; with a journal, those that it does not know yet.

    `start` is (1, frames). The objective of the last stage is never higher at the result than at the start: a problem
    whose result is worse keeps its start and says so. Raises ConfigError for a block that the body does not have.
    """
    began = time.perf_counter()
    frames = len(case.observations)
    together = case.observations.is_clip and frames > 1
    start = start.replace({"focal": torch.zeros(1, 1, 1).to(case.keypoints)})
    cuts = None if config.read.cuts == "auto" else frozenset(config.read.cuts)
    evidence = as_evidence(case, start, cuts)
    if not together:
        evidence, start = apart(evidence), start.apart(frames)
    last = config.stages[-1]
    problem = Problem(
        body=case.restricted,
        yard_stick=case.yard_stick,
        evidence=evidence,
        K=case.K[None] if together else case.K[:, None],
        terms=config.stage_terms(last).settled(evidence).named(),
        start=start,
        base=start,
        free=(),
    )
    fittable = torch.nonzero(evidence.seen.any(dim=1))[:, 0]
    to_come = config.model_copy(update={"stages": config.stages[begun:]})
    result, iterations, stop = run_stages(problem.select(fittable), to_come, progress, journal)
    result, stop = keep_better(problem.select(fittable), pick(start, fittable), result, stop)
    stop = name_stagnation(problem.select(fittable), result, stop)
    solution = summarise(case, problem, fittable, result, iterations, stop, time.perf_counter() - began)
    if not config.error_bars or result["transl"].shape[1] > LONGEST_WITH_ERROR_BARS:
        return solution
    progress("estimating error bars", 0, frames)
    return with_error_bars(solution, problem.select(fittable), fittable, result, config)


def with_error_bars(
    solution: Solution, problem: Problem, fitted: Tensor, result: Parameters, config: FitConfig
) -> Solution:
    """Standard deviations of all that any stage has fitted; NaN in frames that were not fitted."""
    moving = [(stage, moving_blocks(stage, problem.body)) for stage in config.stages]
    names = dict.fromkeys(name for _, block_names in moving for name in block_names if name in result)
    blocks = known_blocks(problem)
    sharing = [stage for stage, found in moving if any(blocks[name].shared for name in found if name in names)]
    chosen = keyframes(problem, sharing[-1].keyframes) if sharing else None
    is_centred = bool(sharing) and sharing[-1].centre and problem.frames > 1
    found = error_bars(problem, result, tuple(blocks[name] for name in names), chosen, is_centred)
    frames = len(solution)
    rows = np.arange(frames).reshape(-1, problem.frames)[fitted.cpu().numpy()].ravel()

    def spread(values: np.ndarray, size: int, columns: np.ndarray | slice) -> np.ndarray:
        whole = np.full((frames, size), np.nan)
        whole[rows[:, None], np.arange(size)[columns]] = values
        whole[~solution.valid] = np.nan
        return whole

    where = {int(k): row for row, k in enumerate(rows) if solution.valid[k]}
    belief = replace(found.posterior, rows=where)
    solution = replace(
        solution,
        sd={name: spread(values, values.shape[1], slice(None)) for name, values in found.blocks.items()},
        projected_sd=spread(found.keypoints, len(solution.observations.layout), problem.evidence.points.cpu().numpy()),
        betas_covariance=found.betas_covariance,
        belief=belief,
    )
    return replace(solution, ambiguities=ambiguities(belief, solution))


def run_stages(
    problem: Problem, config: FitConfig, progress: Progress, journal: Journal | None = None
) -> tuple[Parameters, Tensor, list[Stop]]:
    """Every stage on every chunk of independent problems; iterations and the last stage's reason to stop.

    Chunks are solved in as many threads as torch has, each with one: large products gain less from a second thread than
    all else does.
    """
    frames, count = problem.frames, problem.count
    threads = torch.get_num_threads() if problem.K.device.type == "cpu" and count > SMALLEST_CHUNK else 1
    size = min(config.chunk, max(SMALLEST_CHUNK, -(-count // threads)))
    parts = [problem.select(rows) for rows in torch.arange(count, device=problem.K.device).split(size)]
    pages = [Page.blank(part) for part in parts] if journal is None else journal.pages(parts, config)
    done = [part.count * page.reached.stages / len(config.stages) for part, page in zip(parts, pages, strict=True)]

    def run(number: int) -> Reached:
        chunk, reached = parts[number], pages[number].reached
        for stage in config.stages[reached.stages :]:
            chunk = replace(chunk, base=reached.base)
            chunk = prepare(chunk, stage, config.stage_terms(stage).settled(chunk.evidence))
            chunk, minimum = run_anew(chunk, stage) if stage.anew else run_stage(chunk, stage)
            reached = reached.after(chunk.base, minimum.iterations, minimum.stop)
            pages[number].save(reached)
            done[number] += chunk.count / len(config.stages)
            progress("fitting", round(sum(done) * frames), count * frames)
        return reached

    found = in_threads(run, len(parts), threads)
    iterations = torch.cat([one.iterations for one in found])
    return join([one.base for one in found]), iterations, [reason for one in found for reason in one.stop]


def in_threads(run: Callable[[int], Found], count: int, threads: int) -> list[Found]:
    """What `run` gives for every number, torch's own threads shared out among so many."""
    if min(count, threads) < 2:
        return [run(number) for number in range(count)]
    torch.set_num_threads(1)
    try:
        with alone(), ThreadPoolExecutor(min(count, threads)) as pool:
            return list(pool.map(run, range(count)))
    finally:
        torch.set_num_threads(threads)


def totals(problem: Problem, parameters: Parameters) -> Float[Tensor, " problems"]:
    """What all terms cost there, a few problems at a time, shared out among torch's threads."""
    few = max(1, LOOKED_AT // problem.frames)
    if problem.count <= few:
        with torch.no_grad():
            return problem.total(parameters)
    whole = replace(problem, base=parameters)
    parts = torch.arange(problem.count, device=problem.K.device).split(few)

    def look(number: int) -> Tensor:
        some = whole.select(parts[number])
        with torch.no_grad():  # which is a thread's own
            return some.total(some.base)

    threads = torch.get_num_threads() if problem.K.device.type == "cpu" else 1
    return torch.cat(in_threads(look, len(parts), threads))


def run_anew(problem: Problem, stage: StageConfig) -> tuple[Problem, Minimum | Rest]:
    """A stage from some blocks at rest; problems that it leaves higher than they were stay as they were."""
    moved, minimum = run_stage(anew.at_rest(problem, stage.anew), stage)
    return anew.keep_lower(problem, moved.base)[0], minimum


def run_stage(problem: Problem, stage: StageConfig) -> tuple[Problem, Minimum | Rest]:
    """One stage on all frames, or on `keyframes` of them: then only what is shared is taken over."""
    options = SolverOptions(stage.iterations, stage.tolerance, stage.step)
    chosen = keyframes(problem, stage.keyframes)
    part = (problem if chosen is None else problem.at(chosen)).watching()
    if stage.bends and stage.solver == "lm" and has_model(part):
        newton = Newton(part)
        rest = saddle_free.minimise(newton, newton.unknowns, options, part.K)
        return replace(problem, base=newton.here), rest
    if stage.solver == "lm" and excerpt.is_worth_it(part):
        part, options = excerpt.begin(part, options)
    minimum = SOLVERS[stage.solver](LeastSquares(part), part.zero(), options)
    moved = part.retract(minimum.x)
    if stage.centre and part.frames > 1 and part.shared:
        moved = moved.replace(centre(replace(part, base=moved)))
    if chosen is not None:
        moved = Parameters({block.name: moved[block.name] for block in part.free if block.shared})
    return replace(problem, base=problem.base.replace(moved)), minimum


def keyframes(problem: Problem, count: int | None) -> Tensor | None:
    """Frames evenly spread over those in which something is seen; None where all take part."""
    if count is None or problem.frames <= count:
        return None
    seen = torch.nonzero(problem.evidence.seen.all(dim=0))[:, 0]
    return seen[torch.linspace(0, len(seen) - 1, min(count, len(seen))).round().long()]


def prepare(problem: Problem, stage: StageConfig, terms: Terms) -> Problem:
    """A stage's problem: its terms, its free blocks, and the nuisance blocks it brings."""
    blocks = known_blocks(problem)
    names = moving_blocks(stage, problem.body)
    unknown = [name for name in names if name not in blocks]
    if unknown:
        raise ConfigError(
            f"stage {stage.name!r}: {problem.body.name} has no block {unknown[0]!r}; it has {', '.join(blocks)}"
        )
    check_names(terms, set(blocks), problem)
    base = problem.base
    missing = {n: blocks[n].neutral(problem.count, 1).to(problem.K) for n in names if n not in base}
    # An offset shared by all frames of a clip means nothing on a single photo: there it is part of the noise.
    single = problem.evidence.seen.shape[1] == 1
    names = tuple(n for n in names if not (single and n == "keypoint_offsets"))
    missing = {n: v for n, v in missing.items() if n in names}
    return replace(problem, terms=terms.named(), base=base.replace(missing), free=tuple(blocks[name] for name in names))


def moving_blocks(stage: StageConfig, body: Body) -> tuple[str, ...]:
    """Names of a stage's free blocks; a code instead of what is decoded from it."""
    return tuple(dict.fromkeys(body.moving(name) for name in stage.blocks()))


def check_names(terms: Terms, blocks: set[str], problem: Problem) -> None:
    """Terms that go by block or by group of keypoints name those that exist: a misspelt one would do nothing.

    Raises ConfigError.
    """
    layout = problem.evidence.layout
    known_names = {"blocks": blocks, "groups": set(layout.groups), "parts": set(layout.distances)}
    for name, term in terms.named().items():
        for field, known in known_names.items():
            meant = {key: problem.body.moving(key) if field == "blocks" else key for key in getattr(term, field, {})}
            unknown = [key for key, found in meant.items() if found not in known]
            if unknown:
                raise ConfigError(f"terms.{name}.{field}: no {unknown[0]!r}; there are {', '.join(sorted(known))}")


def known_blocks(problem: Problem) -> dict[str, Block]:
    return {block.name: block for block in (*problem.body.blocks, *nuisance_blocks(problem))}


def nuisance_blocks(problem: Problem) -> tuple[Block, ...]:
    """What has to be estimated although nobody asked for it."""
    points = len(problem.evidence.points)
    return (
        Block("focal", "vector", 1, shared=True, unit=0.1),  # logarithm of the factor on K's focal length
        Block("keypoint_offsets", "vector", 2 * points, shared=True, unit=0.001),  # metres, along the head's x and y
    )


def keep_better(
    problem: Problem, start: Parameters, result: Parameters, stop: list[Stop]
) -> tuple[Parameters, list[Stop]]:
    """The start instead of the result where the last objective says that the start was better."""
    worse = ~(totals(problem, result) <= totals(problem, start))
    if not worse.any():
        return result, stop
    missing = {name: torch.zeros_like(value) for name, value in result.items() if name not in start}
    kept = either(worse, start.replace(missing), result)
    return kept, [Stop.KEPT_START if w else s for s, w in zip(stop, worse.tolist(), strict=True)]


def join(parts: list[Parameters]) -> Parameters:
    return Parameters({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
