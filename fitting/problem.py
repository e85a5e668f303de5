"""Binds a body, observations and terms: from a vector of unknowns to costs. The one place where residuals are
whitened, weighed by confidence and bent by their kernel, and where unknowns become parameters.

Unknowns are steps away from `base`: value + unit * x for a vector, exp(unit * x) R for a rotation, so that x = 0 is
where a stage begins and a step of 1 is a natural step in every direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.camera import camera_to_pixels, world_to_camera
from fitting.terms import Evidence, Residuals, Scene, Term, robust
from fitting.types import Block, Body, Parameters, Posed

WINDOW = 512  # frames whose bodies are in memory at once; no result depends on it
STRETCH = 32 * WINDOW  # frames whose differences are: those of a shorter clip in one go


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
    def frames(self) -> int:
        return self.evidence.seen.shape[1]

    @cached_property
    def local(self) -> dict[str, slice]:
        """Where a frame's own blocks stand among its unknowns."""
        return places(block for block in self.free if not block.shared)

    @cached_property
    def shared(self) -> dict[str, slice]:
        """Where the blocks shared by all frames stand among the shared unknowns; landmark offsets last."""
        return places(sorted((b for b in self.free if b.shared), key=lambda block: block.name == "keypoint_offsets"))

    @property
    def size(self) -> int:
        """Unknowns of one problem: frame by frame its own, then the shared ones."""
        return self.frames * width(self.local) + width(self.shared)

    @property
    def count(self) -> int:
        return self.evidence.seen.shape[0]

    def zero(self) -> Float[Tensor, "problems unknowns"]:
        return torch.zeros(self.count, self.size).to(self.evidence.keypoints)

    def select(self, rows: Tensor) -> Problem:
        """Some of the problems, by number."""
        kept = {name: getattr(self.evidence, name)[rows] for name in (*self.evidence.per_frame(), "linked")}
        evidence = replace(self.evidence, **kept)
        return replace(
            self, evidence=evidence, K=self.K[rows], start=pick(self.start, rows), base=pick(self.base, rows)
        )

    def at(self, frames: Tensor | slice) -> Problem:
        """The same problems with some of their frames only, by number; these no longer follow each other in time."""
        kept = {name: getattr(self.evidence, name)[:, frames] for name in self.evidence.per_frame()}
        unlinked = self.evidence.seen.new_zeros(self.count, max(kept["seen"].shape[1] - 1, 0))
        evidence = replace(self.evidence, **kept, linked=unlinked)
        return replace(
            self, evidence=evidence, K=self.K[:, frames], start=self.start.at(frames), base=self.base.at(frames)
        )

    def watching(self) -> Problem:
        """The same problems with no other keypoints than those that count in some term. Of a contour all or none; and
        all where every keypoint has an offset."""
        kept = torch.zeros_like(self.evidence.points, dtype=torch.bool)
        for term in self.terms.values():
            if term.structure == "pixels":
                kept |= term.looks_at(self.evidence)
        contour = self.body.sliding
        kept[contour] = kept[contour].any()
        if kept.all() or not kept.any() or "keypoint_offsets" in self.base:
            return self
        evidence = replace(
            self.evidence,
            points=self.evidence.points[kept],
            keypoints=self.evidence.keypoints[:, :, kept],
            confidence=self.evidence.confidence[:, :, kept],
        )
        return replace(self, body=self.body.only(kept), evidence=evidence)

    def of(self, rows: Tensor) -> Problem:
        """`select`, without a copy where all problems are asked for."""
        return self if len(rows) == self.count else self.select(rows)

    def retract(self, x: Float[Tensor, "problems unknowns"], repeat_shared: bool = False) -> Parameters:
        """The parameters a vector of unknowns stands for; what frames share once, or once per frame."""
        border = self.frames * width(self.local)
        own, common = x[:, :border].unflatten(1, (self.frames, width(self.local))), x[:, None, border:]
        if repeat_shared:
            common = common.expand(-1, self.frames, -1)
        own, common = own.to(self.K), common.to(self.K)
        steps = {
            b: (common[..., self.shared[b.name]] if b.shared else own[..., self.local[b.name]]) * b.unit
            for b in self.free
        }
        moved = {b.name: self.base[b.name] + step for b, step in steps.items() if b.kind == "vector"}
        turning = [b for b in self.free if b.kind == "rotation"]
        if turning:  # all joints in one go: small operations cost as much as large ones
            turns = roma.rotvec_to_rotmat(torch.cat([steps[b] for b in turning], dim=-1).unflatten(-1, (-1, 3)))
            turned = turns @ torch.cat([self.base[b.name] for b in turning], dim=2)
            moved |= zip((b.name for b in turning), turned.split([b.size for b in turning], dim=2), strict=True)
        return self.base.replace(moved)

    def scene(self, parameters: Parameters) -> Scene:
        """The body and its picture, both made when a term looks at them."""

        full = self.body.full(parameters)
        start = self.full_start if "anchor" in self.terms else self.start  # nothing else looks at it

        def take_picture() -> tuple[Posed, Tensor]:
            posed = self.body.pose(full)
            camera = world_to_camera(self.points(posed, full))
            return posed, camera_to_pixels(camera, self.camera(full))

        return Scene(self.body, self.yard_stick, full, start, self.evidence, take_picture)

    @cached_property
    def full_start(self) -> Parameters:
        """With the rotations behind codes: what an anchor of joints holds on to."""
        return self.body.full(self.start)

    def points(self, posed: Posed, parameters: Parameters) -> Float[Tensor, "problems frames points 3"]:
        """Keypoints in the world, each moved by its offset along the head's x and y axes where there are offsets."""
        if "keypoint_offsets" not in parameters:
            return posed.points
        across = posed.rotations[:, :, self.body.head_joint, :, :2]
        return posed.points + parameters["keypoint_offsets"].unflatten(-1, (-1, 2)) @ across.mT

    def camera(self, parameters: Parameters) -> Float[Tensor, "problems frames 3 3"]:
        """K with the focal length's factor."""
        factor = torch.exp(parameters["focal"])
        return self.K * torch.cat([factor, factor, torch.ones_like(factor)], dim=-1)[..., None, :]

    def costs(self, parameters: Parameters) -> dict[str, Float[Tensor, "problems frames"]]:
        """Cost of every term in every frame, in float64; what is shared by all frames is divided among them."""
        if self.frames <= WINDOW or len(self.clip_terms) == len(self.terms):
            return self._costs(parameters)
        parts = [self.during(window)._costs(parameters.at(window)) for window in self.windows()]
        found = {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
        found |= self.only(self.clip_terms)._costs(parameters)
        return {name: found[name] for name in self.terms if name in found}

    def _costs(self, parameters: Parameters) -> dict[str, Float[Tensor, "problems frames"]]:
        """`costs` with all frames in memory at once."""
        scene = self.scene(parameters)
        found = {}
        for name, term in self.terms.items():
            residuals = term.residuals(scene)
            if residuals is not None:
                found[name] = per_frame(term_cost(term, residuals), self.frames)
        return found

    def objective(
        self, x: Float[Tensor, "problems unknowns"], repeat_shared: bool = False
    ) -> Float[Tensor, " problems"]:
        return self.total(self.retract(x, repeat_shared))

    def total(self, parameters: Parameters) -> Float[Tensor, " problems"]:
        """What all terms cost in all frames, in float64."""
        nothing = torch.zeros(self.count, dtype=torch.float64, device=self.K.device)
        return sum((cost.sum(dim=1) for cost in self.costs(parameters).values()), start=nothing)

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows unknowns"]]:
        """Objective and gradient of some problems, as the solvers want it; clips window by window.

        What frames share gets one gradient per frame, and these are added up in double precision: in single, their sum
        would depend on the window, and a weakly determined step would show it.
        """
        chosen = self.of(rows)
        if chosen.frames == 1:
            return differentiate(chosen, x)
        values, gradient = x.new_zeros(len(x), dtype=torch.float64), torch.zeros_like(x, dtype=torch.float64)
        for frames, stretch in chosen.clip_parts():
            columns = chosen.columns(frames)
            value, slope = differentiate(stretch, x[:, columns])
            values = values + value
            gradient[:, columns] += slope
        for window in chosen.windows():
            columns = chosen.columns(window)
            part, slope = differentiate(chosen.during(window), x[:, columns].double(), repeat_shared=True)
            values = values + part
            gradient[:, columns] += slope
        return values, gradient

    # ------------------------------------------------------------------ long clips, window by window

    @cached_property
    def clip_terms(self) -> dict[str, Term]:
        """Terms between frames, or on what all frames share: they look at a clip as a whole, and at no pixel."""
        return {name: term for name, term in self.terms.items() if self.frames > 1 and self.is_clip_wide(term)}

    def is_clip_wide(self, term: Term) -> bool:
        read = [self.base[name] for name in term.reads if name in self.base]
        return term.structure in ("stencil", "motion") or (len(read) > 0 and all(value.shape[1] == 1 for value in read))

    def clip_parts(self) -> Iterator[tuple[slice, Problem]]:
        """All clip-wide residuals, each once: differences over time by the frame where they begin."""
        if self.frames <= STRETCH:
            yield slice(0, self.frames), self.only(self.clip_terms)
            return
        for name, term in self.clip_terms.items():
            alone, reach = self.only({name: term}), len(term.stencil) - 1
            if term.structure not in ("stencil", "motion"):  # of what is shared
                yield slice(0, 1), alone.stretch(slice(0, 1))
            elif term.structure == "motion" or reach == 0:  # measured against where the clip begins
                yield slice(0, self.frames), alone
            else:
                for start in range(0, self.frames - reach, STRETCH):
                    frames = slice(start, min(start + STRETCH + reach, self.frames))
                    yield frames, alone.stretch(frames)

    def stretch(self, frames: slice) -> Problem:
        """Frames in a row, tied as they are."""
        linked = self.evidence.linked[:, frames.start : frames.stop - 1]
        found = self.at(frames)
        return replace(found, evidence=replace(found.evidence, linked=linked))

    def only(self, terms: Mapping[str, Term]) -> Problem:
        return replace(self, terms=terms)

    def windows(self) -> list[slice]:
        return [slice(first, min(first + WINDOW, self.frames)) for first in range(0, self.frames, WINDOW)]

    def during(self, window: slice) -> Problem:
        """Some frames in a row, with the terms that look at one frame at a time."""
        terms = {name: term for name, term in self.terms.items() if name not in self.clip_terms}
        return self.at(window).only(terms)

    def columns(self, window: slice) -> Tensor:
        """The unknowns of a window's frames and the shared ones."""
        n = width(self.local)
        own = torch.arange(window.start * n, window.stop * n, device=self.K.device)
        return torch.cat([own, torch.arange(self.frames * n, self.size, device=self.K.device)])


def differentiate(problem: Problem, x: Tensor, repeat_shared: bool = False) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        unknowns = x.detach().requires_grad_()
        values = problem.objective(unknowns, repeat_shared)
        if not values.requires_grad:  # no term looks at what moves
            return values, torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(values.sum(), unknowns)
    return values.detach(), gradient


def places(blocks: Iterable[Block]) -> dict[str, slice]:
    """Blocks laid end to end."""
    found, first = {}, 0
    for block in blocks:
        found[block.name] = slice(first, first + block.tangent_size)
        first += block.tangent_size
    return found


def width(places: Mapping[str, slice]) -> int:
    return max((place.stop for place in places.values()), default=0)


def pick(parameters: Parameters, rows: Tensor) -> Parameters:
    return Parameters({name: value[rows] for name, value in parameters.items()})


def either(is_one: Bool[Tensor, " problems"], one: Parameters, other: Parameters) -> Parameters:
    """Problem by problem the one parameters or the other: of the blocks that both have."""
    return Parameters(
        {
            name: torch.where(is_one.view(-1, *[1] * (value.ndim - 1)), one[name], value)
            for name, value in other.items()
            if name in one
        }
    )


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
