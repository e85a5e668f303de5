"""Error bars: how far the truth lies from the result, by what is believed and what was seen.

Every term is a noise model, so the objective is a negative log posterior and its curvature is the precision (Laplace's
approximation). The result is the posterior's peak; its middle lies elsewhere (`lens.py`), most of all in depth. A
standard deviation here is the root mean square distance of the truth from the result: variance + (mean - peak)^2. In
the picture peak and middle are the same to a fraction of a pixel: what the pixels hold does not drift. What only the
priors hold shows as a standard deviation that is as large as the prior's.

Where a recipe takes what frames share from some of them only (keyframes), so do the error bars: the other frames follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import unit_vector
from fitting.lens import look
from fitting.pixels import OFFSETS
from fitting.posterior import Posterior, arrow_of
from fitting.problem import Problem, width
from fitting.solvers import Arrow, Covariance
from fitting.types import Block, Parameters

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
    slope: Float[Tensor, "problems unknowns"]  # of the volume
    follow: Float[Tensor, "problems frames n"]  # what a shift of the shared unknowns brings with it


def error_bars(
    problem: Problem, parameters: Parameters, free: tuple[Block, ...], keyframes: Tensor | None = None
) -> Uncertainty:
    """Of all `free` blocks together at `parameters`, robust kernels at the weight they have there.

    `keyframes` are the frames that the shared blocks were taken from; None: all. Offsets of landmarks take part but are
    not reported: they are the detector's, not the person's. Terms that count the same pixels again, and soft walls,
    take no part: measured against known truth they make the bars too short.
    """
    problem = in_float64(problem, parameters, free)
    chunks = torch.arange(problem.count, device=problem.K.device).split(AT_ONCE)
    found = [estimate(problem.select(chunk), keyframes) for chunk in chunks]
    shared, shift = (torch.cat([getattr(part, name) for part in found]) for name in ("shared", "shift"))
    rows = {k: k for k in range(problem.count * problem.frames)}
    return summary(Posterior(without_walls(problem), shared, shift, rows), found)


@dataclass(frozen=True)
class Estimate:
    """Of a few problems, natural steps and pixels."""

    variance: Float[Tensor, "problems frames n"]
    pixels: Float[Tensor, "problems frames points"]  # mean variance over u and v
    shared: Float[Tensor, "problems m m"]  # covariance
    shift: Float[Tensor, "problems unknowns"]  # from the peak to the mean


def estimate(problem: Problem, keyframes: Tensor | None) -> Estimate:
    seen = without_walls(problem)
    if keyframes is None or not problem.shared:
        covariance = Covariance(arrow_of(seen))
        shared = covariance.shared()
        found = gather(seen, covariance, shared)
        return Estimate(found.variance, found.pixels, shared, shift_of(problem))
    few = problem.at(keyframes)
    shared = Covariance(arrow_of(without_walls(few))).shared()
    common = shift_of(few)[:, few.frames * width(few.local) :]
    found = gather(seen, Covariance(arrow_of(seen)), shared, common)
    alone = arrow_of(replace(seen, free=tuple(block for block in problem.free if not block.shared)))
    own = solved(alone, -found.slope[:, : problem.frames * width(problem.local)])
    return Estimate(found.variance, found.pixels, shared, torch.cat([own + found.follow.flatten(1), common], dim=1))


def without_walls(problem: Problem) -> Problem:
    return replace(problem, terms={name: term for name, term in problem.terms.items() if term.in_error_bars})


def shift_of(problem: Problem) -> Float[Tensor, "problems unknowns"]:
    """From the peak to the mean. Here walls count: an action that rests against its limit takes no room."""
    arrow = arrow_of(problem)
    covariance = Covariance(arrow)
    return solved(arrow, -gather(problem, covariance, covariance.shared()).slope)


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


def gather(problem: Problem, covariance: Covariance, shared: Tensor, common: Tensor | None = None) -> Found:
    """Window by window, a few frames at a time; `common` is the shift of the shared unknowns."""
    n, m, count = width(problem.local), width(problem.shared), problem.count
    zeros = shared.new_zeros
    variance, follow, slope = (zeros(count, problem.frames, n) for _ in range(3))
    pixels = zeros(count, problem.frames, len(problem.evidence.points))
    for part in covariance.frames(shared):
        variance[:, part.frames] = part.own.diagonal(dim1=-2, dim2=-1)
        if common is not None:
            follow[:, part.frames] = (part.gain @ common[:, None, :, None])[..., 0]
        for first in range(part.frames.start, part.frames.stop, AT_ONCE):
            window = slice(first, min(first + AT_ONCE, part.frames.stop))
            inside = slice(window.start - part.frames.start, window.stop - part.frames.start)
            with torch.no_grad():
                seen = look(problem.during(window), part.own[:, inside], part.cross[:, inside], shared)
            pixels[:, window] = seen.variance
            if "transl" in problem.local:
                z = problem.local["transl"].stop - 1
                slope[:, window, z] = seen.slope * unit_vector(problem, problem.local)[z]
    return Found(variance, pixels, torch.cat([slope.flatten(1), zeros(count, m)], dim=1), follow)


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
    place = problem.shared.get("betas")
    betas = None if place is None else moment[:, place, place].cpu().numpy()
    return Uncertainty(blocks, pixels.sqrt().flatten(0, 1).cpu().numpy(), betas, posterior)
