"""What a term is: a residual in natural units, a sigma in those units, a robust kernel, and one sentence.

    E = 1/2 * sum over terms, over items of  rho( |residual|^2 / sigma^2 * confidence^2 )

Whitening, kernel and confidence are applied in one place (`problem.py`); a term only measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fitting.types import Body, Layout, Parameters, Posed


@dataclass(frozen=True)
class Evidence:
    """Observations of all problems as tensors, only those keypoints that the body has a place for."""

    layout: Layout
    points: Int[Tensor, " points"]  # index into the layout of every keypoint below
    keypoints: Float[Tensor, "problems frames points 2"]  # pixels
    confidence: Float[Tensor, "problems frames points"]  # 0 where not seen
    subject_px: Float[Tensor, "problems frames"]  # the layout's yard-stick in pixels, foreshortening taken out
    seen: Bool[Tensor, "problems frames"]
    linked: Bool[Tensor, "problems links"]  # frame k and k + 1 belong together: not cut, same clip

    def position(self) -> dict[int, int]:
        """Where each layout index stands among the keypoints."""
        return {int(index): place for place, index in enumerate(self.points)}


@dataclass(frozen=True)
class Scene:
    """Everything a term may look at."""

    body: Body
    yard_stick: float  # metres
    parameters: Parameters
    start: Parameters
    posed: Posed  # its points are the evidence's keypoints
    pixels: Float[Tensor, "problems frames points 2"]
    evidence: Evidence


class Residuals(NamedTuple):
    """Raw residuals in the term's unit. Frames are 1 for a term on shared parameters, frames - 1 between neighbours."""

    values: Float[Tensor, "problems frames items dims"]
    confidence: Float[Tensor, "#problems #frames #items"] | None = None


class Term(BaseModel):
    """A piece of evidence or belief. Subclasses add fields with a sentence each, and `residuals`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma: float = Field(gt=0, description="standard deviation of the residual, in the term's unit")
    kernel: Literal["squared", "huber", "geman_mcclure"] = "squared"
    kernel_width: float = Field(default=2.0, gt=0, description="where the kernel bends, in sigmas")

    def residuals(self, scene: Scene) -> Residuals | None:
        """None where the term does not apply: a body without a jaw, a layout without lids, a single frame."""
        raise NotImplementedError


def robust(squared: Tensor, kernel: str, width: float) -> Tensor:
    """rho of a squared whitened residual; rho(s) = s for small s in every kernel.

    Huber (1964): 2 k sqrt(s) - k^2 beyond k^2. Geman & McClure (1987): s k^2 / (s + k^2).
    """
    bend = width * width
    if kernel == "huber":
        outside = squared > bend
        # sqrt's slope at 0 is infinite: the inner branch must never see it, not even multiplied by zero.
        safe = squared.clamp(min=bend)
        return (2 * width * safe.sqrt() - bend).where(outside, squared)
    if kernel == "geman_mcclure":
        return squared * bend / (squared + bend)
    return squared
