"""SMPLify-X's procedure, straightforward: one frame at a time, full mesh, torch's L-BFGS, its stages and stop rules.

Camera stage on shoulders and hips, from a depth that ignores confidence; a second orientation where the shoulders are
less than 25 px apart; everything else reset and five stages for each orientation with the translation frozen; the lower
final loss wins. Written from a description of its code, see smplifyx_objective.py.

How a loss is evaluated is left to whoever asks for a fit: by itself, or, in smplifyx_together.py, with those of others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.smplifyx_objective import (
    FOCAL,
    SIZES,
    STAGES,
    TORSO,
    Fit,
    Mesh,
    Seen,
    Weights,
    residuals,
    scales,
    squares,
    total_losses,
)

EDGES = ((5, 12), (2, 9))  # shoulder to hip, each side
SHOULDERS = (5, 2)
DEPTH_WEIGHT, SIDE_VIEW_PX = 100.0, 25.0
STEPS, INNER, HISTORY = 30, 30, 100
FTOL = GTOL = 1e-9


@dataclass(frozen=True)
class Result:
    fit: Fit
    loss: float  # as it was minimised
    evaluations: int
    seconds: float


class Counter:
    """How often a loss was evaluated."""

    def __init__(self) -> None:
        self.evaluations = 0


@dataclass(frozen=True)
class TorsoLoss:
    """The camera stage's: four points, by squared distance, and the depth."""

    seen: Seen
    depth: Tensor

    @staticmethod
    def of(mesh: Mesh, fits: Fit, losses: Sequence[TorsoLoss]) -> Float[Tensor, " frames"]:
        points, _ = mesh.every_keypoint(fits)
        seen = [loss.seen for loss in losses]
        away = residuals(points, fits["transl"], seen)[:, list(TORSO)]
        deep = fits["transl"][:, 2] - torch.stack([loss.depth for loss in losses])
        return scales(seen, away) * squares(away.flatten(1)) + DEPTH_WEIGHT**2 * deep**2


@dataclass(frozen=True)
class StageLoss:
    seen: Seen
    weights: Weights

    @staticmethod
    def of(mesh: Mesh, fits: Fit, losses: Sequence[StageLoss]) -> Float[Tensor, " frames"]:
        return total_losses(mesh, fits, [loss.seen for loss in losses], [loss.weights for loss in losses])


Loss = TorsoLoss | StageLoss
Evaluate = Callable[[Fit, Loss], Tensor]  # of one frame, to be differentiated by what moves


def by_itself(mesh: Mesh) -> Evaluate:
    return lambda fit, loss: of_kind(mesh, fit, [loss])[0]


def of_kind(mesh: Mesh, fits: Fit, losses: Sequence[Loss]) -> Float[Tensor, " frames"]:
    """Losses that are all of the first one's kind."""
    if isinstance(losses[0], TorsoLoss):
        return TorsoLoss.of(mesh, fits, [loss for loss in losses if isinstance(loss, TorsoLoss)])
    return StageLoss.of(mesh, fits, [loss for loss in losses if isinstance(loss, StageLoss)])


def fit_frame(mesh: Mesh, seen: Seen, evaluate: Evaluate | None = None) -> Result:
    began, count = time.perf_counter(), Counter()
    evaluate = by_itself(mesh) if evaluate is None else evaluate
    camera = place_camera(mesh, seen, count, evaluate)
    candidates = [camera["global_orient"]]
    if (seen.points[SHOULDERS[0]] - seen.points[SHOULDERS[1]]).norm() < SIDE_VIEW_PX:
        half = roma.rotvec_to_rotmat(mesh.template.new_tensor([0.0, math.pi, 0.0]))
        turned = roma.rotvec_to_rotmat(camera["global_orient"][0]) @ half
        candidates.append(roma.rotmat_to_rotvec(turned)[None])
    found = [run_stages(mesh, seen, orient, camera["transl"], count, evaluate) for orient in candidates]
    fit, loss = min(found, key=lambda pair: pair[1])
    return Result(fit, loss, count.evaluations, time.perf_counter() - began)


def zeros(mesh: Mesh) -> dict[str, Tensor]:
    return {name: mesh.template.new_zeros(1, size) for name, size in SIZES.items()}


def place_camera(mesh: Mesh, seen: Seen, count: Counter, evaluate: Evaluate | None = None) -> dict[str, Tensor]:
    """Orientation and translation from four points; the depth is held at that of the torso's length."""
    evaluate = by_itself(mesh) if evaluate is None else evaluate
    values = zeros(mesh)
    with torch.no_grad():
        points, _ = mesh.keypoints(values)
    long_3d = sum((points[a] - points[b]).norm() for a, b in EDGES) / len(EDGES)
    long_2d = sum((seen.points[a] - seen.points[b]).norm() for a, b in EDGES) / len(EDGES)
    depth = FOCAL * long_3d / long_2d
    values["transl"] = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth])[None]
    loss = TorsoLoss(seen, depth)
    fit, _ = minimise(lambda fit: evaluate(fit, loss), values, ("transl", "global_orient"), count)
    return fit


def run_stages(
    mesh: Mesh, seen: Seen, orient: Tensor, transl: Tensor, count: Counter, evaluate: Evaluate
) -> tuple[dict[str, Tensor], float]:
    fit = {**zeros(mesh), "global_orient": orient, "transl": transl}
    value = math.inf
    for weights in STAGES:
        loss = StageLoss(seen, weights)
        fit, value = minimise(lambda fit, loss=loss: evaluate(fit, loss), fit, tuple(SIZES), count)
    return fit, value


def minimise(
    loss: Callable[[Fit], Tensor], start: Fit, free: Sequence[str], count: Counter
) -> tuple[dict[str, Tensor], float]:
    """A fresh L-BFGS with strong Wolfe conditions, up to 30 calls of up to 30 iterations each."""
    fit = {name: value.detach().clone().requires_grad_(name in free) for name, value in start.items()}
    moving = [fit[name] for name in free]
    optimiser = torch.optim.LBFGS(
        moving, lr=1.0, max_iter=INNER, max_eval=INNER * 5 // 4, tolerance_grad=1e-5, tolerance_change=1e-9,
        history_size=HISTORY, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        count.evaluations += 1
        value = loss(fit)
        value.backward()
        return value

    before = math.inf
    for _ in range(STEPS):
        value = float(optimiser.step(closure))
        if not math.isfinite(value):
            break
        if math.isfinite(before) and (before - value) / max(abs(before), abs(value), 1.0) <= FTOL:
            break
        if all(abs(float(part.grad.max())) < GTOL for part in moving if part.grad is not None):
            break
        before = value
    found = {name: value.detach() for name, value in fit.items()}
    with torch.no_grad():
        return found, float(loss(found))
