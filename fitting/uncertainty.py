"""Error bars: how far the truth lies from the result, by what is believed and what was seen.

Every term is a noise model, so the objective is a negative log posterior and its curvature is the precision (Laplace's
approximation). What only the priors hold shows as a standard deviation that is as large as the prior's.

The result is the posterior's peak, and the joint peak of shape, expressions and places of many frames is drawn towards
the camera: a nearer head needs less of every coefficient to explain the same pixels. With E the cost of the beliefs,
quadratic in coefficients that grow as the depth z,  dE/dz = 2 E / z  in every frame, all of one sign (the inconsistency
of joint maxima: Neyman & Scott, 1948). So the peak is displaced from the middle of what is believed by

    peak - middle = -H^-1 g,    g_z = -2 E_t / z_t  (world z, towards the viewer, negative before the camera)

which on average over draws from the beliefs is the slope of the posterior's volume, 1/2 d log det H / dz (Tierney &
Kadane, 1986), since 2 E is then the number of unknowns that the pixels determine. A standard deviation here is the root
mean square distance of the truth from the result: variance + (middle - peak)^2. In the picture peak and middle are the
same to a fraction of a pixel: what the pixels hold does not drift.

A stage with `centre: true` moves what is shared to the middle, and the stages behind it follow (`centre` below). The
shift is of first order and itself in doubt: half of it stays in the error bars.

Where a recipe takes what frames share from some of them only (keyframes), so do the error bars: the others follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import unit_vector
from fitting.lens import pixel_variance
from fitting.pixels import OFFSETS
from fitting.posterior import Posterior, arrow_of
from fitting.problem import Problem, width
from fitting.solvers import Arrow, Covariance
from fitting.terms import Shape, Term, counts_by_size
from fitting.types import Block, Parameters

DOUBT = 0.5  # share of a shift by which it may be wrong itself; measured on known truth, benchmarks/error_bars.py
AT_ONCE = 32  # frames or photos whose Jacobians in float64 are in memory together


@dataclass(frozen=True)
class Uncertainty:
    """Root mean square distances from the truth, one row per frame of all problems in order."""

    blocks: dict[str, Float[np.ndarray, "rows _"]]  # in the block's unit; rotations: radians about the world's axes
    keypoints: Float[np.ndarray, "rows points"]  # pixels, root of the mean variance over u and v
    betas_covariance: Float[np.ndarray, "problems betas betas"] | None
    posterior: Posterior


@dataclass(frozen=True)
class Found:
    """Of all frames of a few problems, natural steps and pixels."""

    variance: Float[Tensor, "problems frames n"]
    pixels: Float[Tensor, "problems frames points"]
    follow: Float[Tensor, "problems frames n"]  # what a shift of the shared unknowns brings with it


def error_bars(
    problem: Problem,
    parameters: Parameters,
    free: tuple[Block, ...],
    keyframes: Tensor | None = None,
    is_centred: bool = False,
) -> Uncertainty:
    """Of all `free` blocks together at `parameters`, robust kernels at the weight they have there.

    `keyframes` are the frames that the shared blocks were taken from; None: all. `is_centred`: these are not at
    their peak but in their middle, by `centre`. Offsets of landmarks take part but are
    not reported: they are the detector's, not the person's. Terms that count the same pixels again, and soft walls,
    take no part: measured against known truth they make the bars too short.
    """
    problem = among_people(in_float64(problem, parameters, free))
    problem = problem if keyframes is not None else posture_by_posture(problem)
    chunks = torch.arange(problem.count, device=problem.K.device).split(AT_ONCE)
    found = [estimate(problem.select(chunk), keyframes, is_centred) for chunk in chunks]
    shared, shift = (torch.cat([getattr(part, name) for part in found]) for name in ("shared", "shift"))
    rows = {k: k for k in range(problem.count * problem.frames)}
    return summary(Posterior(without_walls(problem), shared, shift, rows), found)


@dataclass(frozen=True)
class Estimate:
    """Of a few problems, natural steps and pixels."""

    variance: Float[Tensor, "problems frames n"]
    pixels: Float[Tensor, "problems frames points"]  # mean variance over u and v
    shared: Float[Tensor, "problems m m"]  # covariance
    shift: Float[Tensor, "problems unknowns"]  # by how far the result is probably beside the middle


def estimate(problem: Problem, keyframes: Tensor | None, is_centred: bool) -> Estimate:
    """What is shared from the frames that were asked for it, then all frames under that."""
    seen, m = without_walls(problem), width(problem.shared)
    few = problem if keyframes is None or m == 0 else problem.at(keyframes)
    every = Covariance(arrow_of(seen), few is problem)
    shared = every.shared() if few is problem else Covariance(arrow_of(without_walls(few))).shared()
    shift = shift_of(few)
    common = shift[:, shift.shape[1] - m :] * (DOUBT if is_centred else 1.0)
    found = gather(seen, every, shared, common)
    if few is not problem or is_centred:
        alone = replace(problem, free=tuple(block for block in problem.free if not block.shared))
        shift = torch.cat([shift_of(alone) + found.follow.flatten(1), common], dim=1)
    return Estimate(found.variance, found.pixels, shared, shift)


def centre(problem: Problem) -> Parameters:
    """What is shared, moved from the peak of the posterior, where the problem is based, to its middle. On known truth
    drawn from the beliefs the mean error of depth falls from 27 to 5 mm, and no
    longer grows with the number of frames."""
    shift = shift_of(in_float64(problem, problem.base, problem.free))
    common = shift[:, None, shift.shape[1] - width(problem.shared) :]
    return Parameters(
        {
            block.name: problem.base[block.name] + (common[..., problem.shared[block.name]] * block.unit).to(problem.K)
            for block in problem.free
            if block.shared
        }
    )


def among_people(problem: Problem) -> Problem:
    """With people's own spread of shapes where the recipe believes in a narrower one, once per frame or with a smaller
    sigma, lest errors that repeat in a clip bend the shape: that makes a better fit and no better known person."""

    def usual(term: Term) -> Term:
        if not isinstance(term, Shape):
            return term
        return term.model_copy(update={"sigma": max(term.sigma, 1.0), "repeats": 1})

    return replace(problem, terms={name: usual(term) for name, term in problem.terms.items()})


def posture_by_posture(problem: Problem) -> Problem:
    """With beliefs about postures counted once for as long as a posture lasts, not in every frame of a clip: thirty
    frames of one second are no thirty people. As much as the frames agree the fit may follow such a belief; it knows no
    more from it. Without this, 90 % intervals of a captured motion's joint angles held the truth in 66 % of cases."""

    def lasting(term: Term) -> Term:
        frames = min(problem.frames, term.lasts * problem.evidence.fps)
        return term if frames <= 1 else term.model_copy(update={"sigma": term.sigma * frames**0.5})

    return replace(problem, terms={name: lasting(term) for name, term in problem.terms.items()})


def without_walls(problem: Problem) -> Problem:
    return replace(problem, terms={name: term for name, term in problem.terms.items() if term.in_error_bars})


def shift_of(problem: Problem) -> Float[Tensor, "problems unknowns"]:
    """From the peak to the middle. Here walls count: an action that rests against its limit stays there."""
    return solved(arrow_of(problem), pull(problem))


def pull(problem: Problem) -> Float[Tensor, "problems unknowns"]:
    """-g: what it takes to undo the beliefs' pull towards the camera, frame by frame, along depth."""
    beliefs = {name: term for name, term in problem.terms.items() if draws_near(term)}
    with torch.no_grad():
        costs = replace(problem, terms=beliefs).costs(problem.base).values()
    away = torch.zeros(problem.count, problem.frames, width(problem.local)).to(problem.K)
    if "transl" in problem.local:
        z = problem.local["transl"].stop - 1
        unit = unit_vector(problem, problem.local)[z]
        for cost in costs:
            away[..., z] += 2 * cost / problem.base["transl"][..., 2] * unit
    return torch.cat([away.flatten(1), away.new_zeros(problem.count, width(problem.shared))], dim=1)


def draws_near(term: Term) -> bool:
    """Not what is counted in proportion to the body."""
    return term.draws_near and not counts_by_size(term)


def solved(arrow: Arrow, right: Tensor) -> Tensor:
    return arrow.solve(right, arrow.corner.new_zeros(len(right))).x


def in_float64(problem: Problem, parameters: Parameters, free: tuple[Block, ...]) -> Problem:
    """What is nearly undetermined would drown in float32's rounding. Without the terms that count pixels again."""
    like = problem.K.new_zeros((), dtype=torch.float64)
    named = [name for name in problem.evidence.per_frame() if name != "seen"]
    evidence = replace(problem.evidence, **{name: getattr(problem.evidence, name).to(like) for name in named})
    return replace(
        problem,
        body=problem.body.to(like),
        evidence=evidence,
        K=problem.K.to(like),
        terms={n: term for n, term in problem.terms.items() if term.in_error_bars or term.structure != "pixels"},
        start=problem.start.to(like),
        base=parameters.to(like),
        free=free,
    )


def gather(problem: Problem, covariance: Covariance, shared: Tensor, common: Tensor) -> Found:
    """Window by window, a few frames at a time; `common` is the shift of the shared unknowns."""
    zeros = shared.new_zeros
    variance, follow = (zeros(problem.count, problem.frames, width(problem.local)) for _ in range(2))
    pixels = zeros(problem.count, problem.frames, len(problem.evidence.points))
    for part in covariance.frames(shared):
        variance[:, part.frames] = part.own.diagonal(dim1=-2, dim2=-1)
        follow[:, part.frames] = (part.gain @ common[:, None, :, None])[..., 0]
        for first in range(part.frames.start, part.frames.stop, AT_ONCE):
            window = slice(first, min(first + AT_ONCE, part.frames.stop))
            inside = slice(window.start - part.frames.start, window.stop - part.frames.start)
            with torch.no_grad():
                pixels[:, window] = pixel_variance(
                    problem.during(window), part.own[:, inside], part.cross[:, inside], shared
                )
    return Found(variance, pixels, follow)


def summary(posterior: Posterior, found: list[Estimate]) -> Uncertainty:
    problem, shift = posterior.problem, posterior.shift
    variance = torch.cat([part.variance for part in found])
    pixels = torch.cat([part.pixels for part in found])
    own_unit, shared_unit = unit_vector(problem, problem.local), unit_vector(problem, problem.shared)
    border = problem.frames * width(problem.local)
    own = (variance + shift[:, :border].view_as(variance).square()).sqrt() * own_unit
    moment = posterior.shared + shift[:, border:, None] * shift[:, None, border:]  # about the result
    shared = moment.diagonal(dim1=-2, dim2=-1).sqrt() * shared_unit
    blocks = {name: own[..., place].flatten(0, 1).cpu().numpy() for name, place in problem.local.items()}
    for name, place in problem.shared.items():
        if name != OFFSETS:
            blocks[name] = shared[:, None, place].expand(-1, problem.frames, -1).flatten(0, 1).cpu().numpy()
    at = problem.shared.get("betas")
    betas = None if at is None else moment[:, at, at].cpu().numpy()
    return Uncertainty(blocks, pixels.sqrt().flatten(0, 1).cpu().numpy(), betas, posterior)
