"""What a term is: a residual in natural units, a sigma in those units, a robust kernel, and one sentence.

    E = 1/2 * sum over terms, over items of  rho( |residual|^2 / sigma^2 * confidence^2 )

Whitening, kernel and confidence are applied in one place (`problem.py`); a term only measures.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, cast

import roma
import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator
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
    fps: float = 25.0  # frames per second, or what they are taken for
    picture_px: Float[Tensor, "problems frames"] | None = None  # height of the pictures

    def per_frame(self) -> tuple[str, ...]:
        """Names of the fields that have a row for every frame of every problem."""
        named = ("keypoints", "confidence", "subject_px", "seen", "picture_px")
        return tuple(name for name in named if getattr(self, name) is not None)

    def position(self) -> dict[int, int]:
        """Where each layout index stands among the keypoints."""
        return {index: place for place, index in enumerate(self.points.tolist())}


class Coordinates(Mapping[str, Tensor]):
    """Blocks as numbers (problems, frames or 1, tangent size): vectors as they are, rotations as axis-angle, made when
    first asked for, all in one go: many small operations cost more than a large one. What is decoded from vectors, as
    hands are, few ask for: it is made apart."""

    def __init__(self, parameters: Parameters, decoded: Collection[str] = ()) -> None:
        self.parameters, self.decoded = parameters, decoded

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        return self._vectors(name for name in self.parameters if name not in self.decoded)

    @cached_property
    def behind(self) -> dict[str, Tensor]:
        return self._vectors(self.decoded)

    def _vectors(self, names: Iterable[str]) -> dict[str, Tensor]:
        rotations = {name: self.parameters[name] for name in names if self.parameters[name].ndim == 5}
        found = roma.rotmat_to_rotvec(torch.cat(list(rotations.values()), dim=2))
        sizes = [value.shape[2] for value in rotations.values()]
        return {n: part.flatten(2) for n, part in zip(rotations, found.split(sizes, dim=2), strict=True)}

    def __getitem__(self, name: str) -> Tensor:
        value = self.parameters[name]
        if value.ndim != 5:
            return value
        return self.behind[name] if name in self.decoded else self.vectors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.parameters.blocks

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)


@dataclass(frozen=True)
class Scene:
    """Everything a term may look at."""

    body: Body
    yard_stick: float  # metres
    parameters: Parameters
    start: Parameters
    evidence: Evidence
    take_picture: Callable[[], tuple[Posed, Tensor]]
    substitute: Mapping[str, Tensor] | None = None

    @cached_property
    def picture(self) -> tuple[Posed, Tensor]:
        """Taken when a term first looks at it: a belief about a whole clip's motion needs no posed body."""
        return self.take_picture()

    @property
    def posed(self) -> Posed:
        """The body; its points are the evidence's keypoints."""
        return self.picture[0]

    @cached_property
    def joints(self) -> Float[Tensor, "problems frames joints 3"]:
        """Where the skeleton's joints are, in the world, metres."""
        return self.body.bones.pose(self.parameters).points

    @property
    def pixels(self) -> Float[Tensor, "problems frames points 2"]:
        return self.picture[1]

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What a term has searched for and will ask for again."""
        return {}

    @cached_property
    def coordinates(self) -> Mapping[str, Tensor]:
        """The parameters as numbers; `substitute` stands in where a term is to be differentiated by them."""
        if self.substitute is not None:
            return self.substitute
        return Coordinates(self.parameters, [name for name in self.parameters if self.body.moving(name) != name])

    def with_coordinates(self, coordinates: MutableMapping[str, Tensor]) -> Scene:
        """The same scene with other numbers for some parameters; pixels and poses stay as they are."""
        rest = cast(MutableMapping[str, Tensor], self.coordinates)  # looked at, never changed
        return replace(self, substitute=ChainMap(coordinates, rest))


class Residuals(NamedTuple):
    """Raw residuals in the term's unit. Frames are 1 for a term on shared parameters, frames - 1 between neighbours."""

    values: Float[Tensor, "problems frames items dims"]
    confidence: Float[Tensor, "#problems #frames #items"] | None = None


Structure = Literal["pixels", "elementwise", "dense", "stencil", "motion", "surface"]


class Term(BaseModel):
    """A piece of evidence or belief. Subclasses add fields with a sentence each, and `residuals`.

    `structure` says what second-order solvers may rely on:

        pixels       a residual is scale * (pixel of one point - pixel of another, or nothing): `pixel_rows`
        elementwise  residual k depends on coordinate k of the blocks in `reads`, end to end, and on nothing else
        dense        residuals depend on the coordinates of the few blocks in `reads`, in the same frame
        motion       residuals are second differences over time of joints' places (`JointAcceleration`)
        surface      residuals depend on places on the whole skin: `step_rows`
        stencil      residual k is `stencil` over time on coordinate k of the blocks in `blocks`, over their sigma
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structure: ClassVar[Structure] = "dense"
    in_error_bars: ClassVar[bool] = True  # False: counts evidence twice, or is a wall and not a distribution
    lasts: ClassVar[float] = 0.0  # seconds for which the frames of a clip are no news to it: see uncertainty.py
    draws_near: ClassVar[bool] = False  # holds coefficients to nothing: nearer, less of them explains the same pixels
    reads: ClassVar[tuple[str, ...]] = ()
    stencil: ClassVar[tuple[float, ...]] = ()

    sigma: float = Field(gt=0, description="standard deviation of the residual, in the term's unit")
    kernel: Literal["squared", "huber", "geman_mcclure"] = Field(
        default="squared", description="how a residual far beyond its sigma counts"
    )
    kernel_width: float = Field(default=2.0, gt=0, description="where the kernel bends, in sigmas")

    @field_validator("sigma")
    @classmethod
    def _positive(cls, sigma: float) -> float:
        """A subclass that gives its own default replaces the field, and its limit with it; validators are inherited."""
        if not sigma > 0:
            raise ValueError("a sigma is greater than 0")
        return sigma

    def settled(self, evidence: Evidence) -> Term:
        """The same belief after a look at the evidence as a whole, where a field asks for one."""
        return self

    def residuals(self, scene: Scene) -> Residuals | None:
        """None where the term does not apply: a body without a jaw, a layout without lids, a single frame."""
        raise NotImplementedError

    def pixel_rows(self, scene: Scene) -> PixelRows:
        """Of a term whose structure is 'pixels'."""
        raise NotImplementedError

    def looks_at(self, evidence: Evidence) -> Bool[Tensor, " points"]:
        """Of a term whose structure is 'pixels': the points that count. The others need not be computed."""
        return torch.ones(len(evidence.points), dtype=torch.bool, device=evidence.points.device)

    def jacobian(self, scene: Scene) -> dict[str, Float[Tensor, "problems frames rows coordinates"]] | None:
        """Of a 'dense' term: d residuals / d coordinates of every block in `reads`, items and dims end to end. None:
        it is differentiated one coordinate after another, which is slow for more than a few."""
        return None

    def step_rows(self, scene: Scene) -> dict[str, Float[Tensor, "problems frames rows steps"]]:
        """Of a 'surface' term: d residuals / d step of every rotation block, stepped from the left, in one frame."""
        raise NotImplementedError

    def moving(self, scene: Scene) -> Mapping[str, Tensor | float]:
        """Of a term whose structure is 'stencil': its blocks and their sigmas, in the order of its residuals."""
        raise NotImplementedError


class PixelRows(NamedTuple):
    """Residual k is scale * (pixel of first[k] - pixel of second[k]) up to a constant. Without `first` it is of every
    point in turn, without `second` nothing is subtracted."""

    first: Int[Tensor, " items"] | None
    second: Int[Tensor, " items"] | None
    scale: Float[Tensor, "problems frames"]


def robust_slope(squared: Tensor, kernel: str, width: float | Tensor) -> Tensor:
    """d rho / d s: the weight that iteratively reweighted least squares gives a residual."""
    bend = width * width
    if kernel == "huber":
        return (bend / squared.clamp(min=bend)).sqrt()
    if kernel == "geman_mcclure":
        return (bend / (squared + bend)).square()
    return squared.new_ones(squared.shape)


def robust(squared: Tensor, kernel: str, width: float | Tensor) -> Tensor:
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


def item_weights(term: Term, residuals: Residuals) -> Float[Tensor, "problems rows items"]:
    """What a squared raw residual counts: kernel slope * confidence^2 / sigma^2."""
    scale = torch.full_like(residuals.values[..., 0], 1 / term.sigma)
    if residuals.confidence is not None:
        scale = scale * residuals.confidence
    squared = (residuals.values * scale[..., None]).square().sum(dim=-1)
    return robust_slope(squared, term.kernel, term.kernel_width) * scale.square()
