"""Beliefs about the parameters of one person or one frame: functions of their coordinates."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from fitting.terms.base import Residuals, Scene, Structure, Term
from fitting.terms.by_size import BySize


class Shape(Term):
    """Identity coefficients are drawn from a standard normal; sigma in standard deviations.

    A detector's errors repeat from frame to frame and a clip counts them every time: with `repeats` so does this
    belief. 25 stands for a deviation of 0.2 on a clip of 25 frames or more, and leaves a photo with 1."""

    structure: ClassVar[Structure] = "elementwise"
    draws_near: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("betas",)
    sigma: float = 1.0
    repeats: int = Field(default=1, ge=1, description="in a clip, counts once per frame, up to so many times")

    def residuals(self, scene: Scene) -> Residuals:
        times = min(scene.evidence.seen.shape[1], self.repeats)
        return Residuals(times**0.5 * scene.coordinates["betas"][..., None])


class Size(Term):
    """The head is as large as the mean head; sigma is the relative standard deviation among adults."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("scale",)
    sigma: float = 0.03

    def residuals(self, scene: Scene) -> Residuals | None:
        if "scale" not in scene.coordinates:
            return None
        return Residuals(scene.coordinates["scale"][..., None])


class Focal(Term):
    """The focal length is as given; sigma in its logarithm (0.1 = 10 %)."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("focal",)
    sigma: float = 0.1

    def residuals(self, scene: Scene) -> Residuals:
        return Residuals(scene.coordinates["focal"][..., None])


class Offsets(Term):
    """A landmark sits where the embedding says, up to a displacement that stays for the whole clip: a detector's
    habit, a person's own detail. Sigma is a share of the yard-stick (outer eye corners). Without it a clip's repeated
    error is counted once per frame and outvotes every belief about the shape."""

    structure: ClassVar[Structure] = "elementwise"
    draws_near: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("keypoint_offsets",)
    sigma: float = 0.01

    def residuals(self, scene: Scene) -> Residuals | None:
        if "keypoint_offsets" not in scene.coordinates:
            return None
        return Residuals(scene.coordinates["keypoint_offsets"].unflatten(-1, (-1, 2)) / scene.yard_stick)


class Expression(BySize):
    """Expression coefficients stay near rest, in units of the model's own standard deviation of each."""

    structure: ClassVar[Structure] = "elementwise"
    draws_near: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("expression",)
    sigma: float = 1.0

    def residuals(self, scene: Scene) -> Residuals:
        return Residuals((scene.coordinates["expression"] / scene.body.expression_sd / self.size(scene))[..., None])


class ExpressionBounds(Term):
    """A facial action lies between 0 and 1, softly; sigma in the action's own unit."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("expression",)
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.03

    def residuals(self, scene: Scene) -> Residuals | None:
        low, high = scene.body.expression_bounds.unbind(-1)
        if not torch.isfinite(low).any() and not torch.isfinite(high).any():
            return None
        return Residuals(beyond(scene.coordinates["expression"], low, high)[..., None])


class Jaw(Term):
    """The jaw hangs closed; sigma in radians, of opening, sideways turn and roll as factors of it."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("jaw_pose",)
    sigma: float = 0.25
    factors: tuple[float, float, float] = Field(default=(1.0, 0.12, 0.12), description="of sigma, for x, y, z")

    def residuals(self, scene: Scene) -> Residuals | None:
        if "jaw_pose" not in scene.coordinates:
            return None
        vectors = scene.coordinates["jaw_pose"]
        # One item per axis: a kernel on the jaw's opening has nothing to do with its roll.
        return Residuals((vectors / vectors.new_tensor(self.factors))[..., None])


class JawLimits(Term):
    """The lower jaw does not pass through the upper one, nor opens past 40 degrees; sigma in radians."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("jaw_pose",)
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.01
    opening: tuple[float, float] = Field(default=(-0.02, 0.7), description="least and greatest turn about x, radians")

    def residuals(self, scene: Scene) -> Residuals | None:
        if "jaw_pose" not in scene.coordinates:
            return None
        opening = beyond(scene.coordinates["jaw_pose"][..., :1], *self.opening)
        return Residuals(torch.nn.functional.pad(opening, (0, 2))[..., None])  # nothing is said about y and z


class Neck(Term):
    """The head turns with the neck as one piece unless something else is known; sigma in radians."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("neck_pose",)
    sigma: float = 0.05

    def residuals(self, scene: Scene) -> Residuals | None:
        if "neck_pose" not in scene.coordinates:
            return None
        return Residuals(scene.coordinates["neck_pose"].unflatten(-1, (-1, 3)))


class EyeTerm(Term):
    """What all beliefs about eyes share: both eyes' axis-angle (problems, frames, 2, 3), left first."""

    reads: ClassVar[tuple[str, ...]] = ("leye_pose", "reye_pose")

    def both(self, scene: Scene) -> torch.Tensor | None:
        if any(name not in scene.coordinates for name in self.reads):
            return None
        return torch.stack([scene.coordinates[name] for name in self.reads], dim=2)


class Eyes(EyeTerm):
    """Both eyes look straight ahead; sigma in radians."""

    structure: ClassVar[Structure] = "elementwise"
    sigma: float = 0.25

    def residuals(self, scene: Scene) -> Residuals | None:
        eyes = self.both(scene)
        return None if eyes is None else Residuals(eyes)


class EyesTogether(EyeTerm):
    """Both eyes turn together, and neither rolls; sigma in radians."""

    sigma: float = 0.05

    def residuals(self, scene: Scene) -> Residuals | None:
        eyes = self.both(scene)
        if eyes is None:
            return None
        roll = eyes * eyes.new_tensor([0.0, 0.0, 1.0])
        return Residuals(torch.cat([eyes[:, :, :1] - eyes[:, :, 1:], roll], dim=2))

    def jacobian(self, scene: Scene) -> dict[str, torch.Tensor]:
        like = scene.coordinates["leye_pose"]
        eye, roll, none = torch.eye(3).to(like), torch.diag(like.new_tensor([0.0, 0.0, 1.0])), like.new_zeros(3, 3)
        left, right = torch.cat([eye, roll, none]), torch.cat([-eye, none, roll])
        shape = (*like.shape[:2], 9, 3)
        return {"leye_pose": left.expand(shape), "reye_pose": right.expand(shape)}


class EyeLimits(EyeTerm):
    """No eye turns further than 35 degrees; sigma in radians."""

    structure: ClassVar[Structure] = "elementwise"
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.02
    limit: float = Field(default=0.6, description="radians")

    def residuals(self, scene: Scene) -> Residuals | None:
        eyes = self.both(scene)
        return None if eyes is None else Residuals(beyond(eyes, -self.limit, self.limit))


def beyond(value: torch.Tensor, low: torch.Tensor | float, high: torch.Tensor | float) -> torch.Tensor:
    """How far a value is outside its bounds, with its sign; 0 inside."""
    return (value - high).clamp(min=0) - (low - value).clamp(min=0)
