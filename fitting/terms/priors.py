"""Beliefs about the parameters of one person or one frame."""

from __future__ import annotations

import roma
import torch
from pydantic import Field
from torch import Tensor

from fitting.terms.base import Residuals, Scene, Term


def rotation_vectors(scene: Scene, block: str) -> Tensor | None:
    """Axis-angle (problems, frames, joints, 3) of a rotation block, radians; None where the body has no such block."""
    if block not in scene.parameters:
        return None
    return roma.rotmat_to_rotvec(scene.parameters[block])


class Shape(Term):
    """Identity coefficients are drawn from a standard normal; sigma in standard deviations."""

    sigma: float = 1.0

    def residuals(self, scene: Scene) -> Residuals:
        return Residuals(scene.parameters["betas"][..., None])


class Size(Term):
    """The head is as large as the mean head; sigma is the relative standard deviation among adults."""

    sigma: float = 0.03

    def residuals(self, scene: Scene) -> Residuals | None:
        if "scale" not in scene.parameters:
            return None
        return Residuals(scene.parameters["scale"][..., None])


class Focal(Term):
    """The focal length is as given; sigma in its logarithm (0.1 = 10 %)."""

    sigma: float = 0.1

    def residuals(self, scene: Scene) -> Residuals:
        return Residuals(scene.parameters["focal"][..., None])


class Offsets(Term):
    """A landmark sits where the embedding says, up to a displacement that stays for the whole clip: a detector's
    habit, a person's own detail. Sigma is a share of the yard-stick (outer eye corners). Without it a clip's repeated
    error is counted once per frame and outvotes every belief about the shape."""

    sigma: float = 0.01

    def residuals(self, scene: Scene) -> Residuals | None:
        if "keypoint_offsets" not in scene.parameters:
            return None
        return Residuals(scene.parameters["keypoint_offsets"].unflatten(-1, (-1, 3)) / scene.yard_stick)


class Expression(Term):
    """Expression coefficients stay near rest, in units of the model's own standard deviation of each."""

    sigma: float = 1.0

    def residuals(self, scene: Scene) -> Residuals:
        return Residuals((scene.parameters["expression"] / scene.body.expression_sd)[..., None])


class ExpressionBounds(Term):
    """A facial action lies between 0 and 1, softly; sigma in the action's own unit."""

    sigma: float = 0.03

    def residuals(self, scene: Scene) -> Residuals | None:
        low, high = scene.body.expression_bounds.unbind(-1)
        if not torch.isfinite(low).any() and not torch.isfinite(high).any():
            return None
        expression = scene.parameters["expression"]
        return Residuals(((expression - high).clamp(min=0) - (low - expression).clamp(min=0))[..., None])


class Jaw(Term):
    """The jaw hangs closed; sigma in radians, of opening, sideways turn and roll as factors of it."""

    sigma: float = 0.25
    factors: tuple[float, float, float] = Field(default=(1.0, 0.12, 0.12), description="of sigma, for x, y, z")

    def residuals(self, scene: Scene) -> Residuals | None:
        vectors = rotation_vectors(scene, "jaw_pose")
        if vectors is None:
            return None
        # One item per axis: a kernel on the jaw's opening has nothing to do with its roll.
        return Residuals((vectors / vectors.new_tensor(self.factors)).flatten(2)[..., None])


class JawLimits(Term):
    """The lower jaw does not pass through the upper one, nor opens past 40 degrees; sigma in radians."""

    sigma: float = 0.01
    opening: tuple[float, float] = Field(default=(-0.02, 0.7), description="least and greatest turn about x, radians")

    def residuals(self, scene: Scene) -> Residuals | None:
        vectors = rotation_vectors(scene, "jaw_pose")
        if vectors is None:
            return None
        opening = vectors[..., 0]
        low, high = self.opening
        return Residuals(((opening - high).clamp(min=0) - (low - opening).clamp(min=0))[..., None])


class Neck(Term):
    """The head turns with the neck as one piece unless something else is known; sigma in radians."""

    sigma: float = 0.05

    def residuals(self, scene: Scene) -> Residuals | None:
        vectors = rotation_vectors(scene, "neck_pose")
        return None if vectors is None else Residuals(vectors)


class Eyes(Term):
    """Both eyes look straight ahead; sigma in radians."""

    sigma: float = 0.25

    def residuals(self, scene: Scene) -> Residuals | None:
        left, right = rotation_vectors(scene, "leye_pose"), rotation_vectors(scene, "reye_pose")
        return None if left is None or right is None else Residuals(torch.cat([left, right], dim=2))


class EyesTogether(Term):
    """Both eyes turn together, and neither rolls; sigma in radians."""

    sigma: float = 0.05

    def residuals(self, scene: Scene) -> Residuals | None:
        left, right = rotation_vectors(scene, "leye_pose"), rotation_vectors(scene, "reye_pose")
        if left is None or right is None:
            return None
        roll = torch.zeros_like(left)
        roll[..., 2] = 1.0
        return Residuals(torch.cat([left - right, left * roll, right * roll], dim=2))


class EyeLimits(Term):
    """No eye turns further than 35 degrees; sigma in radians."""

    sigma: float = 0.02
    limit: float = Field(default=0.6, description="radians")

    def residuals(self, scene: Scene) -> Residuals | None:
        left, right = rotation_vectors(scene, "leye_pose"), rotation_vectors(scene, "reye_pose")
        if left is None or right is None:
            return None
        vectors = torch.cat([left, right], dim=2)
        return Residuals(vectors - vectors.clamp(-self.limit, self.limit))
