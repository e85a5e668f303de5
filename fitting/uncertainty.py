"""Error bars: the inverse of the Gauss-Newton matrix at the solution is the covariance of what was estimated.

Every term is a noise model, so the objective is a negative log posterior and its curvature is the precision (Laplace's
approximation). What only the priors hold shows as a standard deviation that is as large as the prior's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.curvature import LeastSquares, unit_vector
from fitting.pixels import OFFSETS, differentiate_pixels
from fitting.problem import Problem, width
from fitting.solvers.arrow import FrameCovariance
from fitting.types import Block, Parameters


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations, one row per frame of all problems in order."""

    blocks: dict[str, Float[np.ndarray, "rows _"]]  # in the block's unit; rotations: radians about the world's axes
    keypoints: Float[np.ndarray, "rows points"]  # pixels, root of the mean variance over u and v
    betas_covariance: Float[np.ndarray, "problems betas betas"] | None


def error_bars(problem: Problem, parameters: Parameters, free: tuple[Block, ...]) -> Uncertainty:
    """Of all `free` blocks together at `parameters`, robust kernels at the weight they have there.

    Offsets of landmarks take part but are not reported: they are the detector's, not the person's. Terms that count the
    same pixels again, and soft walls, take no part: measured against known truth they make the bars too short.
    """
    terms = {name: term for name, term in problem.terms.items() if term.in_error_bars}
    problem = replace(problem, base=parameters, free=free, terms=terms)
    problems, frames = problem.count, problem.frames
    rows = torch.arange(problems, device=problem.K.device)
    arrow = LeastSquares(problem).curvature(problem.zero(), rows)
    own_unit, shared_unit = unit_vector(problem, problem.local), unit_vector(problem, problem.shared)
    own = torch.zeros(problems, frames, width(problem.local), dtype=torch.float64)
    shared = torch.zeros(problems, width(problem.shared), dtype=torch.float64)
    keypoints = torch.zeros(problems, frames, len(problem.evidence.points), dtype=torch.float64)
    lens = Lens(problem)
    covariance = None
    for found in arrow.covariances():
        own[:, found.frame] = deviations(found.own) * own_unit.cpu()
        keypoints[:, found.frame] = lens.keypoint_deviations(found)
        covariance = found.shared
    if covariance is not None:
        shared = deviations(covariance) * shared_unit.cpu()
    blocks = {name: own[..., place].flatten(0, 1).numpy() for name, place in problem.local.items()}
    for name, place in problem.shared.items():
        if name != OFFSETS:
            blocks[name] = shared[:, None, place].expand(-1, frames, -1).flatten(0, 1).numpy()
    return Uncertainty(blocks, keypoints.flatten(0, 1).numpy(), betas_covariance(problem, covariance))


def betas_covariance(problem: Problem, covariance: Tensor | None) -> np.ndarray | None:
    if covariance is None or "betas" not in problem.shared:
        return None
    place = problem.shared["betas"]
    return covariance[:, place, place].cpu().numpy()


def deviations(covariance: Float[Tensor, "problems n n"]) -> Float[Tensor, "problems n"]:
    return covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().cpu()


class Lens:
    """From covariances of unknowns to those of keypoints, frame by frame; Jacobians are made a window at a time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.own_unit = unit_vector(problem, problem.local)
        places = [place for name, place in problem.shared.items() if name != OFFSETS]
        units = unit_vector(problem, problem.shared)
        self.shared_index = (
            torch.cat([torch.arange(p.start, p.stop) for p in places]) if places else torch.zeros(0).long()
        )
        self.shared_index = self.shared_index.to(problem.K.device)
        self.shared_unit = units[self.shared_index]
        self.window = slice(0, 0)

    def keypoint_deviations(self, found: FrameCovariance) -> Float[Tensor, "problems points"]:
        if not self.window.start <= found.frame < self.window.stop:
            self._look_at(found.frame)
        k = found.frame - self.window.start
        J = self.jacobian[:, k].double()  # problems, points, 2, n + m
        index = self.shared_index
        cross, shared = found.cross[..., index], found.shared[:, index[:, None], index]
        whole = torch.cat([torch.cat([found.own, cross], dim=2), torch.cat([cross.mT, shared], dim=2)], dim=1)
        variance = ((J @ whole[:, None]) * J).sum(dim=-1)
        return variance.mean(dim=-1).clamp(min=0).sqrt().cpu()

    def _look_at(self, frame: int) -> None:
        self.window = next(w for w in self.problem.windows() if w.start <= frame < w.stop)
        with torch.no_grad():
            part = self.problem.during(self.window)
            jacobian = differentiate_pixels(part, part.scene(part.base))
        units = torch.cat([self.own_unit, self.shared_unit]).to(jacobian.columns)
        self.jacobian = jacobian.columns * units
