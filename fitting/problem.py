"""Binds a body, observations and terms: from a vector of unknowns to costs. The one place where residuals are
whitened, weighed by confidence and bent by their kernel, and where unknowns become parameters.

Unknowns are steps away from `base`: value + unit * x for a vector, exp(unit * x) R for a rotation, so that x = 0 is
where a stage begins and a step of 1 is a natural step in every direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import camera_to_pixels, world_to_camera
from fitting.terms import Evidence, Residuals, Scene, Term, robust
from fitting.types import Block, Body, Parameters


@dataclass(frozen=True)
class Problem:
    """Independent problems of equal size, solved side by side. Only `free` blocks move."""

    body: Body  # restricted to the evidence's keypoints
    yard_stick: float  # metres
    evidence: Evidence
    K: Float[Tensor, "problems frames 3 3"]
    terms: Mapping[str, Term]
    start: Parameters  # what anchors hold on to
    base: Parameters  # where x = 0 is
    free: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Unknowns of one problem."""
        frames = self.evidence.seen.shape[1]
        return sum(block.tangent_size * (1 if block.shared else frames) for block in self.free)

    @property
    def count(self) -> int:
        return self.evidence.seen.shape[0]

    def zero(self) -> Float[Tensor, "problems unknowns"]:
        return torch.zeros(self.count, self.size).to(self.evidence.keypoints)

    def select(self, rows: Tensor) -> Problem:
        """Some of the problems, by number."""
        evidence = replace(
            self.evidence,
            **{
                name: getattr(self.evidence, name)[rows]
                for name in ("keypoints", "confidence", "subject_px", "seen", "linked")
            },
        )
        return replace(
            self, evidence=evidence, K=self.K[rows], start=pick(self.start, rows), base=pick(self.base, rows)
        )

    def retract(self, x: Float[Tensor, "problems unknowns"]) -> Parameters:
        """The parameters a vector of unknowns stands for."""
        frames = self.evidence.seen.shape[1]
        moved = {}
        first = 0
        for block in self.free:
            rows = 1 if block.shared else frames
            step = x[:, first : first + rows * block.tangent_size].unflatten(1, (rows, -1)) * block.unit
            first += rows * block.tangent_size
            value = self.base[block.name]
            if block.kind == "rotation":
                moved[block.name] = roma.rotvec_to_rotmat(step.unflatten(-1, (-1, 3))) @ value
            else:
                moved[block.name] = value + step
        return self.base.replace(moved)

    def scene(self, parameters: Parameters) -> Scene:
        """Poses the body and takes its picture."""
        posed = self.body.pose(parameters)
        points = posed.points
        if "keypoint_offsets" in parameters:
            head = posed.rotations[:, :, self.body.head_joint]
            offsets = parameters["keypoint_offsets"].unflatten(-1, (-1, 3))
            points = points + offsets @ head.mT
        factor = torch.exp(parameters["focal"])
        K = self.K * torch.cat([factor, factor, torch.ones_like(factor)], dim=-1)[..., None, :]
        pixels = camera_to_pixels(world_to_camera(points), K)
        return Scene(self.body, self.yard_stick, parameters, self.start, posed, pixels, self.evidence)

    def costs(self, parameters: Parameters) -> dict[str, Float[Tensor, "problems frames"]]:
        """Cost of every term in every frame, in float64; what is shared by all frames is divided among them."""
        scene = self.scene(parameters)
        frames = self.evidence.seen.shape[1]
        found = {}
        for name, term in self.terms.items():
            residuals = term.residuals(scene)
            if residuals is not None:
                found[name] = per_frame(term_cost(term, residuals), frames)
        return found

    def objective(self, x: Float[Tensor, "problems unknowns"]) -> Float[Tensor, " problems"]:
        costs = self.costs(self.retract(x)).values()
        return torch.stack([cost.sum(dim=1) for cost in costs]).sum(dim=0)

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows unknowns"]]:
        """Objective and gradient of some problems, as the solvers want it."""
        chosen = self if len(rows) == self.count else self.select(rows)
        with torch.enable_grad():
            unknowns = x.detach().requires_grad_()
            values = chosen.objective(unknowns)
            (gradient,) = torch.autograd.grad(values.sum(), unknowns)
        return values.detach(), gradient


def pick(parameters: Parameters, rows: Tensor) -> Parameters:
    return Parameters({name: value[rows] for name, value in parameters.items()})


def term_cost(term: Term, residuals: Residuals) -> Float[Tensor, "problems frames"]:
    """1/2 sum over items of rho(|residual|^2 / sigma^2 * confidence^2), summed in float64."""
    whitened = residuals.values / term.sigma
    if residuals.confidence is not None:
        whitened = whitened * residuals.confidence[..., None]
    squared = whitened.double().square().sum(dim=-1)
    return 0.5 * robust(squared, term.kernel, term.kernel_width).sum(dim=-1)


def per_frame(cost: Float[Tensor, "problems rows"], frames: int) -> Float[Tensor, "problems frames"]:
    """Rows of a term to frames: shared ones divided among all, differences to the later or the middle frame."""
    rows = cost.shape[1]
    if rows == frames:
        return cost
    if rows == 1:
        return (cost / frames).expand(-1, frames)
    return torch.nn.functional.pad(cost, (1, frames - rows - 1))
