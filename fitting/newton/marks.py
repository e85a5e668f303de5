"""Keypoint terms of single frames as few tensors: what they cost and how that changes with the pixels.

A keypoint usually counts in one of a recipe's terms (body, hands, face), each with a sigma and a kernel width of its
own: then all of them are one term whose numbers differ from point to point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.problem import Problem
from fitting.terms import Evidence, Keypoints, Term, robust, robust_slope


class Slopes(NamedTuple):
    """By pixel."""

    slope: Float[Tensor, "problems points 2"]
    weight: Float[Tensor, "problems points 2"]  # of squared pixels in the Gauss-Newton matrix


@dataclass(frozen=True)
class Marks:
    """Terms of one kind of kernel, no point in two of them."""

    keypoints: Float[Tensor, "problems points 2"]
    scale: Float[Tensor, "problems points"]  # confidence over sigma in pixels
    width: Float[Tensor, " points"]  # of the kernel, in sigmas
    kernel: str
    by_axis: bool

    def select(self, rows: Tensor) -> Marks:
        return Marks(self.keypoints[rows], self.scale[rows], self.width, self.kernel, self.by_axis)

    def whitened(self, pixels: Float[Tensor, "problems points 2"]) -> tuple[Tensor, Tensor]:
        """How far pixels are from where they were seen, and squared distances in sigmas, float64."""
        away = pixels - self.keypoints
        squared = (away * self.scale[..., None]).double().square()
        return away, squared if self.by_axis else squared.sum(dim=-1, keepdim=True)

    def cost(self, pixels: Float[Tensor, "problems points 2"]) -> Float[Tensor, " problems"]:
        _, squared = self.whitened(pixels)
        return 0.5 * robust(squared, self.kernel, self.width[:, None].double()).sum(dim=(1, 2))

    def slopes(self, pixels: Float[Tensor, "problems points 2"]) -> Slopes:
        away, squared = self.whitened(pixels)
        slope = robust_slope(squared.to(away), self.kernel, self.width[:, None])
        weight = (slope * self.scale[..., None].square()).expand_as(away)
        return Slopes(away * weight, weight)


def marks_of(problem: Problem) -> tuple[Marks, ...]:
    """All keypoint terms of problems of one frame."""
    found: list[Marks] = []
    for term in problem.terms.values():
        if isinstance(term, Keypoints):
            put(found, marks_of_term(term, problem.evidence))
    return tuple(found)


def put(found: list[Marks], new: Marks) -> None:
    """Into the first of its kind that has none of its points, else beside them."""
    used = (new.scale > 0).any(dim=0)
    for k, old in enumerate(found):
        same = (old.kernel, old.by_axis) == (new.kernel, new.by_axis)
        if same and not (used & (old.scale > 0).any(dim=0)).any():
            keypoints = torch.where(used[:, None], new.keypoints, old.keypoints)
            width = torch.where(used, new.width, old.width)
            found[k] = Marks(keypoints, old.scale + new.scale, width, old.kernel, old.by_axis)
            return
    found.append(new)


def marks_of_term(term: Keypoints, evidence: Evidence) -> Marks:
    confidence = evidence.confidence * term.point_factors(evidence)
    scale = (confidence / (term.sigma * term.unit_of(evidence)[..., None]))[:, 0]
    keypoints = evidence.keypoints[:, 0]
    # An unseen keypoint may hold anything, NaN included.
    keypoints = torch.where((scale > 0)[..., None], keypoints, torch.zeros_like(keypoints))
    return Marks(keypoints, scale, torch.full_like(scale[0], term.kernel_width), term.kernel, term.by_axis)


def are_marks(terms: Iterable[Term]) -> bool:
    return all(isinstance(term, Keypoints) for term in terms)
