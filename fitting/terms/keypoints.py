"""Evidence in the picture: where the keypoints are, and how far lids and lips are apart."""

from __future__ import annotations

import difflib
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, field_validator
from torch import Tensor

from fitting.layouts import LAYOUTS
from fitting.terms.base import Evidence, PixelRows, Residuals, Scene, Structure, Term


class Keypoints(Term):
    """A projected keypoint lies where it was detected; sigma is a share of the subject's size in the picture (outer eye
    corners for faces, shoulders to hips for whole bodies)."""

    structure: ClassVar[Structure] = "pixels"
    sigma: float = 0.02
    unit: Literal["subject", "picture"] = Field(
        default="subject", description="what sigma is a share of: the subject's size, or the picture's height"
    )
    groups: dict[str, float] = Field(
        default={}, description="confidence factor of a layout's group of points, default 1"
    )
    by_axis: bool = Field(default=False, description="the kernel bends x and y apart, as SMPLify-X's, not the distance")
    points: dict[str, float] = Field(default={}, description="the same of single points, by name")

    @field_validator("points")
    @classmethod
    def _named(cls, points: dict[str, float]) -> dict[str, float]:
        """An input may lack a point; a name that no layout has is misspelt."""
        known = {name for layout in LAYOUTS for name in layout.point_names}
        unknown = [name for name in points if name not in known]
        if unknown:
            nearest = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
            raise ValueError(f"no keypoint is called {unknown[0]!r}: did you mean {nearest!r}?")
        return points

    def residuals(self, scene: Scene) -> Residuals:
        evidence = scene.evidence
        values = (scene.pixels - evidence.keypoints) / self.unit_of(evidence)[..., None, None]
        confidence = evidence.confidence * self.point_factors(evidence)
        # An unseen keypoint may hold anything, NaN included, and 0 * NaN is NaN.
        values = values.where((confidence > 0)[..., None], torch.zeros_like(values))
        if self.by_axis:
            return Residuals(values.flatten(2)[..., None], confidence.repeat_interleave(2, dim=-1))
        return Residuals(values, confidence)

    def pixel_rows(self, scene: Scene) -> PixelRows:
        return PixelRows(None, None, 1 / self.unit_of(scene.evidence))

    def unit_of(self, evidence: Evidence) -> Float[Tensor, "problems frames"]:
        """Pixels of the unit."""
        if self.unit == "subject":
            return evidence.subject_px
        assert evidence.picture_px is not None
        return evidence.picture_px

    def looks_at(self, evidence: Evidence) -> Bool[Tensor, " points"]:
        return (self.point_factors(evidence) > 0) & (evidence.confidence > 0).flatten(0, 1).any(dim=0)

    def point_factors(self, evidence: Evidence) -> Float[Tensor, " points"]:
        """One factor per keypoint, from its group."""
        place = evidence.position()
        factors = torch.ones(len(place)).to(evidence.keypoints)
        for group, factor in self.groups.items():
            inside = [place[i] for i in evidence.layout.groups.get(group, ()) if i in place]
            factors[inside] = factor
        names = evidence.layout.point_names
        for name, factor in self.points.items():
            factors[[place[i] for i, known in enumerate(names) if known == name and i in place]] = factor
        return factors


class Openings(Term):
    """The vector from upper to lower lid and from upper to lower lip is as detected; with the part `mouth_corners` also
    that across the mouth. Sigma is a share of the subject's size. It closes eyes and mouths that a small absolute
    error leaves ajar."""

    structure: ClassVar[Structure] = "pixels"
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.01
    parts: dict[str, float] = Field(default={"eyes": 1.0, "lips": 1.0}, description="confidence factor of each set")

    def residuals(self, scene: Scene) -> Residuals | None:
        upper, lower, factor = self.pairs(scene)
        if len(upper) == 0:
            return None
        evidence = scene.evidence
        confidence = torch.minimum(evidence.confidence[..., upper], evidence.confidence[..., lower]) * factor
        fitted = scene.pixels[..., upper, :] - scene.pixels[..., lower, :]
        detected = evidence.keypoints[..., upper, :] - evidence.keypoints[..., lower, :]
        values = (fitted - detected) / evidence.subject_px[..., None, None]
        return Residuals(values.where((confidence > 0)[..., None], torch.zeros_like(values)), confidence)

    def pixel_rows(self, scene: Scene) -> PixelRows:
        upper, lower, _ = self.pairs(scene)
        return PixelRows(upper, lower, 1 / scene.evidence.subject_px)

    def pairs(self, scene: Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Upper and lower point of every pair that the body has, and its confidence factor."""
        place = scene.evidence.position()
        found = [
            (place[a], place[b], factor)
            for part, factor in self.parts.items()
            for a, b in scene.evidence.layout.distances.get(part, ())
            if a in place and b in place
        ]
        device = scene.pixels.device
        upper = torch.tensor([a for a, _, _ in found], dtype=torch.long, device=device)
        lower = torch.tensor([b for _, b, _ in found], dtype=torch.long, device=device)
        return upper, lower, torch.tensor([f for _, _, f in found]).to(scene.pixels)
