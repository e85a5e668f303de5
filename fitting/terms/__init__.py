"""One class = one kind of evidence or belief. A new term is one class and one line below."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from fitting.terms.anchor import Anchor
from fitting.terms.base import Evidence, PixelRows, Residuals, Scene, Term, item_weights, robust, robust_slope
from fitting.terms.body_limits import AngleLimits, Bend
from fitting.terms.body_pose import HandComponents, Hands, PoseGmm, PoseLatent, PoseLearned, PoseRest, Upright
from fitting.terms.by_size import LENGTHS, counts_by_size
from fitting.terms.interpenetration import Interpenetration
from fitting.terms.keypoints import Keypoints, Openings
from fitting.terms.motion import JointAcceleration
from fitting.terms.priors import (
    Expression,
    ExpressionBounds,
    EyeLimits,
    Eyes,
    EyesTogether,
    Focal,
    Jaw,
    JawLimits,
    Neck,
    Offsets,
    Shape,
    Size,
)
from fitting.terms.smoothness import Acceleration, Velocity

__all__ = [
    "LENGTHS",
    "Evidence",
    "Keypoints",
    "Interpenetration",
    "JointAcceleration",
    "PixelRows",
    "Residuals",
    "Scene",
    "Term",
    "Terms",
    "counts_by_size",
    "item_weights",
    "robust",
    "robust_slope",
]


class Terms(BaseModel):
    """The terms of an objective; one that is None takes no part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keypoints: Keypoints | None = None
    keypoints_hands: Keypoints | None = None  # where a part's kernel is another than the rest's
    keypoints_face: Keypoints | None = None
    openings: Openings | None = None
    shape: Shape | None = None
    size: Size | None = None
    focal: Focal | None = None
    offsets: Offsets | None = None
    expression: Expression | None = None
    expression_bounds: ExpressionBounds | None = None
    jaw: Jaw | None = None
    jaw_limits: JawLimits | None = None
    neck: Neck | None = None
    eyes: Eyes | None = None
    eyes_together: EyesTogether | None = None
    eye_limits: EyeLimits | None = None
    upright: Upright | None = None
    pose: PoseLearned | None = None
    pose_gmm: PoseGmm | None = None
    pose_rest: PoseRest | None = None
    pose_latent: PoseLatent | None = None
    bend: Bend | None = None
    angle_limits: AngleLimits | None = None
    hands: Hands | None = None
    hand_components: HandComponents | None = None
    interpenetration: Interpenetration | None = None
    anchor: Anchor | None = None
    velocity: Velocity | None = None
    acceleration: Acceleration | None = None
    joint_acceleration: JointAcceleration | None = None

    def named(self) -> dict[str, Term]:
        """The terms that take part, by name, in the order above."""
        return {name: term for name in type(self).model_fields if (term := getattr(self, name)) is not None}

    def settled(self, evidence: Evidence) -> Terms:
        """Every term after its look at the evidence as a whole."""
        return self.model_copy(update={name: term.settled(evidence) for name, term in self.named().items()})
