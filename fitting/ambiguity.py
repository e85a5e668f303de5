"""What the evidence left open, by name and in plain words: directions that only a belief holds, or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import LeastSquares
from fitting.pixels import OFFSETS
from fitting.posterior import Belief, Posterior
from fitting.problem import Problem, width
from fitting.types import Solution

UNTOLD = 0.9  # share of a belief's variance that is left: the evidence said next to nothing
UNHELD = 50.0  # natural steps, 1 m or 5 rad: nobody believed this, it is what nothing holds
BOUND = 0.7  # correlation from which on one goes with the other
NO_BELIEF = 1e-9  # curvature per natural step squared
WORDS = {
    "scale": "size", "focal": "focal length", "transl": "depth", "betas": "shape", "global_orient": "head rotation",
    "jaw_pose": "jaw rotation", "leye_pose": "left eye's rotation", "reye_pose": "right eye's rotation",
}  # fmt: skip


def ambiguities(posterior: Posterior, solution: Solution) -> tuple[str, ...]:
    """Of the frame whose error bars are the middling ones; sentences, none where everything was seen."""
    frame = middling(solution)
    if frame is None:
        return ()
    belief = posterior.of_frame(frame)
    prior = prior_precision(posterior, frame, belief)
    covariance = belief.covariance / (belief.units[:, None] * belief.units)
    unheld = nothing_holds(belief, covariance)
    if unheld:
        return tuple(unheld)
    return (
        *scalars(belief, covariance, prior),
        *directions(belief, covariance, prior, solution.body.expression_names),
        *given(posterior),
    )


def middling(solution: Solution) -> int | None:
    """Of the fitted frames, the one with the median uncertainty of keypoints."""
    if solution.projected_sd is None or not solution.valid.any():
        return None
    mean = np.where(solution.valid, np.nan_to_num(solution.projected_sd).mean(axis=1), np.inf)
    order = np.argsort(mean, kind="stable")
    return int(order[(int(solution.valid.sum()) - 1) // 2])


def prior_precision(posterior: Posterior, frame: int, belief: Belief) -> Float[Tensor, "unknowns unknowns"]:
    """Curvature of the beliefs alone about a frame's own and the shared unknowns, natural steps; ties to other frames
    left out."""
    row, t = divmod(posterior.rows[frame], posterior.problem.frames)
    device = posterior.problem.K.device
    single = posterior.problem.select(torch.tensor([row], device=device)).at(torch.tensor([t], device=device))
    beliefs = {
        name: term for name, term in single.terms.items() if term.structure != "pixels" and len(term.stencil) < 2
    }
    arrow = LeastSquares(replace(single, terms=beliefs)).curvature(single.zero(), torch.arange(1, device=device))
    own, border, corner = arrow.blocks(slice(0, 1))
    n, size = width(single.local), len(belief.units)
    found = own.new_zeros(size, size)
    found[:n, :n] = own[0, 0]
    found[:n, n:] = border[0, 0, :, : size - n]
    found[n:, :n] = found[:n, n:].mT
    found[n:, n:] = (corner + arrow.corner)[0, : size - n, : size - n]
    return found


def nothing_holds(belief: Belief, covariance: Tensor) -> list[str]:
    """Directions whose standard deviation nobody believes, each by the blocks that it moves."""
    values, vectors = torch.linalg.eigh(covariance)
    found = []
    for k in torch.nonzero(values > UNHELD**2)[:, 0].tolist():
        share = {name: float(vectors[place, k].square().sum()) for name, place in belief.places.items()}
        moved = [word(name) for name, part in sorted(share.items(), key=lambda item: -item[1]) if part > 0.02]
        found.append(f"{' against '.join(moved[:3])}: nothing holds it; free fewer blocks or believe something of one")
    return list(dict.fromkeys(found))


def scalars(belief: Belief, covariance: Tensor, prior: Tensor) -> list[str]:
    """Size and focal length: held by the evidence, or by what is believed of them alone; depth may go with them."""
    found = []
    for name in ("scale", "focal"):
        if name not in belief.places:
            continue
        k = belief.places[name].start
        if float(covariance[k, k] * prior[k, k]) < UNTOLD:
            continue
        with_depth = ""
        if "transl" in belief.places:
            z = belief.places["transl"].start + 2
            bound = float((covariance[k, z] / (covariance[k, k] * covariance[z, z]).sqrt()).abs())
            with_depth = "depth against " if bound > BOUND else ""
        sd = 100 * float(covariance[k, k].sqrt() * belief.units[k])
        found.append(f"{with_depth}{word(name)}: only what is believed of the {word(name)} holds it, to {sd:.1f} %")
    return found


def directions(belief: Belief, covariance: Tensor, prior: Tensor, expressions: Sequence[str]) -> list[str]:
    """Blocks of several coefficients: in how many directions the evidence says next to nothing."""
    found = []
    for name, place in belief.places.items():
        believed = prior[place, place]
        size = len(believed)
        if name in ("scale", "focal") or float(believed.diagonal().min()) <= NO_BELIEF:
            continue
        factor = torch.linalg.cholesky(believed)
        left = torch.linalg.eigvalsh(factor.mT @ covariance[place, place] @ factor)
        count = int((left > UNTOLD).sum())
        if count:
            names = untold_names(covariance[place, place], believed, expressions if name == "expression" else ())
            found.append(f"{word(name)}: {count} of {size} directions are held by belief alone{names}")
    return found


def untold_names(covariance: Tensor, believed: Tensor, names: Sequence[str]) -> str:
    """Coefficients that have a name of their own."""
    left = covariance.diagonal() * believed.diagonal()
    order = [int(k) for k in torch.argsort(left, descending=True) if left[k] > UNTOLD and int(k) < len(names)]
    return ", among them " + ", ".join(names[k] for k in order[:3]) if order else ""


def given(posterior: Posterior) -> list[str]:
    """Depth follows what was taken as given, and no error bar knows of it."""
    problem: Problem = posterior.problem
    free = {block.name for block in problem.free} - {OFFSETS}
    if "transl" not in free:
        return []
    taken = [name for name in ("scale", "focal") if name in problem.base and name not in free]
    if not taken:
        return []
    words = " and ".join(word(name) for name in taken)
    return [f"depth against {words}: {words} taken as given; a person 1 % larger and 1 % further away looks the same"]


def word(name: str) -> str:
    return WORDS.get(name, name)
