"""What joints of the body cannot do: elbows and knees that bend the wrong way, angles past their range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.terms.base import Residuals, Scene, Structure, Term
from fitting.terms.priors import beyond

BODY = "body_pose"

# Degrees, least and greatest turn about the joint's x, y and z axes at rest in the T-pose (x to the left, y up, z
# forward), of the left side; an infinite one is free. Along a leg y is its twist, along an arm x; hips and shoulders
# flex by negative x and y, knees by positive x, the left elbow by negative y and positive z. Ranges of motion of
# healthy adults from J. M. Norkin, D. J. White, Measurement of Joint Motion: A Guide to Goniometry, 5th ed. 2016
# (hip: flexion 120, extension 20, abduction 45, rotation 45; knee 0 to 135, 10 past straight; ankle 50 plantar, 20
# dorsal; neck: flexion 45, extension 45, bend 45, rotation 60, shared by two joints; shoulder: all of flexion 180,
# abduction 180, rotation 90; elbow 0 to 150; wrist 80, 70, deviation 20 and 30, forearm 80 both ways), widened to what
# captured people do: these share one movement among joints differently, and axis-angle mixes axes in large turns.
FREE = (-math.inf, math.inf)
LIMITS: dict[str, tuple[tuple[float, float], ...]] = {
    "hip": ((-145, 40), (-45, 45), (-35, 55)),
    "knee": ((-6, 155), (-28, 28), (-25, 25)),
    "ankle": ((-55, 50), (-45, 45), (-30, 30)),
    "foot": ((-70, 60), (-25, 25), (-35, 50)),
    "spine1": ((-30, 70), (-25, 25), (-25, 25)),
    "spine2": ((-30, 45), (-25, 25), (-25, 25)),
    "spine3": ((-30, 45), (-25, 25), (-25, 25)),
    "neck": ((-45, 45), (-45, 45), (-35, 35)),
    "head": ((-58, 60), (-50, 50), (-40, 40)),
    "collar": ((-25, 25), (-50, 25), (-25, 40)),
    "shoulder": ((-95, 95), (-130, 75), (-110, 100)),
    "elbow": ((-70, 90), (-150, 8), (-30, 90)),
    "wrist": ((-85, 85), (-40, 40), (-80, 80)),
    "hand": ((-30, 30), (-30, 30), (-30, 30)),
}


def joint_limits(names: Sequence[str]) -> Float[Tensor, "joints 3 2"]:
    """Radians, (least, greatest) about each axis; the right side mirrored. A joint that is not in the table is free."""
    table = torch.tensor([LIMITS.get(name.rpartition("_")[2], (FREE,) * 3) for name in names], dtype=torch.float64)
    right = [k for k, name in enumerate(names) if name.startswith("right_")]
    table[right, 1:] = -table[right, 1:].flip(-1)
    return torch.deg2rad(table)


def body_joints(scene: Scene) -> tuple[str, ...]:
    """Names of the joints that `body_pose` turns: those after the root."""
    count = scene.coordinates[BODY].shape[-1] // 3
    return tuple(scene.body.joint_names[1 : 1 + count])


class AngleLimits(Term):
    """No joint of the body turns further than joints do, about any of its axes; sigma in radians."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = (BODY,)
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.1

    def residuals(self, scene: Scene) -> Residuals | None:
        if BODY not in scene.coordinates:
            return None
        angles = scene.coordinates[BODY]
        low, high = joint_limits(body_joints(scene)).to(angles).flatten(0, 1).unbind(-1)
        return Residuals(beyond(angles, low, high)[..., None])


class Bend(Term):
    """Elbows and knees bend one way only: residual exp(angle against the natural bend), so that a cost grows from half
    a sigma^-2 at the straight joint. SMPLify's prior w exp(2 angle) (Bogo et al. 2016, eq. 5, as SMPLify-X squares it)
    has sigma = w^-1/2; it pulls a straight limb to bend. Where only the limit is meant, `angle_limits` is zero inside.
    """

    reads: ClassVar[tuple[str, ...]] = (BODY,)
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.26
    # Joint, axis, and the sign of a turn that bends it the wrong way.
    hinges: ClassVar[tuple[tuple[str, int, float], ...]] = (
        ("left_elbow", 1, 1.0),
        ("right_elbow", 1, -1.0),
        ("left_knee", 0, -1.0),
        ("right_knee", 0, -1.0),
    )

    def residuals(self, scene: Scene) -> Residuals | None:
        if BODY not in scene.coordinates:
            return None
        columns, signs = self.columns(scene)
        return Residuals(torch.exp(signs * scene.coordinates[BODY][..., columns])[..., None])

    def jacobian(self, scene: Scene) -> dict[str, Tensor]:
        angles = scene.coordinates[BODY]
        columns, signs = self.columns(scene)
        rows = angles.new_zeros(*angles.shape[:2], len(columns), angles.shape[-1])
        rows[:, :, range(len(columns)), columns] = signs * torch.exp(signs * angles[..., columns])
        return {BODY: rows}

    def columns(self, scene: Scene) -> tuple[list[int], Float[Tensor, " hinges"]]:
        """Where the hinges' angles stand in the body's pose, and their signs."""
        names = body_joints(scene)
        columns = [3 * names.index(joint) + axis for joint, axis, _ in self.hinges]
        return columns, scene.coordinates[BODY].new_tensor([sign for _, _, sign in self.hinges])
