"""SMPLify-X's total loss of one frame on the open body: forward of the full mesh, projection, all terms and weights.

Written from a description of what its code does (G. Pavlakos et al., Expressive Body Capture, CVPR 2019, eq. 1-4, and
the settings of its fit_smplx.yaml with VPoser off and the l2 prior on); not a line is taken from it. One function in
any precision: the reference minimises it in float32, results of any solver are compared by it in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from smplx.lbs import lbs
from torch import Tensor

from fitting import places
from fitting.bodies.body import SkinnedBody
from fitting.layouts import OPENPOSE137

LAYOUT = "openpose137"
BODY, HANDS, FACE = slice(0, 25), slice(25, 67), slice(67, 135)
CONTOUR = slice(67, 84)
IGNORED = (1, 9, 12)  # neck and hips
TORSO = (9, 12, 2, 5)
RHO, FOCAL, BEND, COMPONENTS = 100.0, 5000.0, 3.17, 12
SIZES = {
    "betas": 10, "global_orient": 3, "body_pose": 63, "left_hand": COMPONENTS, "right_hand": COMPONENTS, "jaw_pose": 3,
    "leye_pose": 3, "reye_pose": 3, "expression": 10,
}  # fmt: skip
Fit = Mapping[str, Tensor]  # the rows above and `transl`, the camera's translation; each (1, size)


@dataclass(frozen=True)
class Weights:
    """Of one stage, as fit_smplx.yaml has them."""

    pose: float
    shape: float
    expression: float
    hands: float
    jaw: tuple[float, float, float]
    hand_points: float
    face_points: float


STAGES = (
    Weights(404.0, 100.0, 100.0, 404.0, (4040.0, 40400.0, 40400.0), 0.0, 0.0),
    Weights(404.0, 50.0, 50.0, 404.0, (4040.0, 40400.0, 40400.0), 0.0, 0.0),
    Weights(57.4, 10.0, 10.0, 57.4, (574.0, 5740.0, 5740.0), 0.0, 0.0),
    Weights(4.78, 5.0, 5.0, 4.78, (47.8, 478.0, 478.0), 0.1, 0.0),
    Weights(4.78, 5.0, 5.0, 4.78, (47.8, 478.0, 478.0), 2.0, 2.0),
)


@dataclass(frozen=True)
class Seen:
    """One frame's keypoints in the layout's order."""

    points: Float[Tensor, "points 2"]
    confidence: Float[Tensor, " points"]
    height: float  # of the picture
    centre: Float[Tensor, "2"]


class Mesh:
    """The open body through smplx's own skinning, keypoints picked from the vertices.

    As a whole every vertex is computed, as SMPLify-X does. Else only those under keypoints and, as vertices of their
    own, the joints at rest: the same numbers up to rounding in a fraction of the time. The jaw line, which this
    configuration does not use, is left out.
    """

    def __init__(self, body: SkinnedBody, dtype: torch.dtype, whole: bool = True) -> None:
        like = torch.zeros(0, dtype=dtype)
        body = body.to(like)
        assert body.hands is not None
        embedding = body.embeddings[LAYOUT]
        self.means, self.components = body.hands.mean, body.hands.components[:, :COMPONENTS]
        self.parents = torch.tensor(body.skeleton.parents)
        self.joints = torch.full_like(embedding.points, -1) if embedding.joints is None else embedding.joints
        self.order, self.weights = embedding.points, embedding.weights[..., None].to(like)
        used, at = embedding.vertices.unique(return_inverse=True)
        chosen = torch.arange(len(body.skinning)) if whole else used
        self.vertices = embedding.vertices if whole else at
        directions = body.skin.directions.unflatten(1, (-1, 3)).permute(1, 2, 0)[chosen]
        self.template, self.skinning = body.skin.template[chosen], body.skinning[chosen]
        if whole:
            with np.load(places.models() / "open_body.npz") as arrays:
                self.regressor = torch.as_tensor(arrays["J_regressor"]).to(like)
        else:
            count = len(self.parents)
            joint_directions = body.skeleton.directions.unflatten(1, (-1, 3)).permute(1, 2, 0)
            directions = torch.cat([directions, joint_directions])
            self.template = torch.cat([self.template, body.skeleton.template])
            self.skinning = torch.cat([self.skinning, torch.eye(count).to(like)])
            self.regressor = torch.cat([torch.zeros(count, len(chosen)), torch.eye(count)], dim=1).to(like)
        self.directions = directions.contiguous()
        # The open body has no pose correctives; SMPL-X has, and its forward multiplies them: so does this one.
        self.correctives = self.template.new_zeros(9 * (len(self.parents) - 1), self.template.numel())

    def angles(self, fit: Fit) -> Float[Tensor, "1 165"]:
        """Axis-angle of all 55 joints."""
        hands = [self.means[k] + fit[name] @ self.components[k] for k, name in enumerate(("left_hand", "right_hand"))]
        names = ("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose")
        return torch.cat([*(fit[name] for name in names), *hands], dim=1)

    def keypoints(self, fit: Fit) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "joints 3"]]:
        """In the camera's frame without its translation: the layout's points (those it lacks at 0), and the joints."""
        shape = torch.cat([fit["betas"], fit["expression"]], dim=1)
        vertices, joints = lbs(
            shape, self.angles(fit), self.template[None], self.directions, self.correctives, self.regressor,
            self.parents, self.skinning,
        )  # fmt: skip
        picked = (vertices[0][self.vertices] * self.weights).sum(dim=1)
        points = torch.where((self.joints >= 0)[:, None], joints[0][self.joints.clamp(min=0)], picked)
        return points.new_zeros(len(OPENPOSE137), 3).index_copy(0, self.order, points), joints[0]


def project(points: Tensor, transl: Tensor, seen: Seen) -> Float[Tensor, "points 2"]:
    moved = points + transl
    return FOCAL * moved[:, :2] / moved[:, 2:] + seen.centre


def total_loss(mesh: Mesh, fit: Fit, seen: Seen, weights: Weights) -> Tensor:
    """The sum over all terms, interpenetration left out."""
    points, _ = mesh.keypoints(fit)
    residual = seen.points - project(points, fit["transl"], seen)
    robust = RHO**2 * residual**2 / (residual**2 + RHO**2)
    factor = joint_factors(weights).to(residual) * seen.confidence
    data = (1000 / seen.height) ** 2 * (factor[:, None] ** 2 * robust).sum()
    decoded = [fit[name] @ mesh.components[k] for k, name in enumerate(("left_hand", "right_hand"))]
    jaw = (fit["jaw_pose"] * fit["jaw_pose"].new_tensor(weights.jaw)).square().sum()
    return (
        data
        + weights.pose**2 * fit["body_pose"].square().sum()
        + BEND * weights.pose * bend(fit["body_pose"])
        + weights.shape**2 * fit["betas"].square().sum()
        + weights.expression**2 * fit["expression"].square().sum()
        + weights.hands**2 * sum(angles.square().sum() for angles in decoded)
        + jaw
    )


def bend(pose: Float[Tensor, "1 63"]) -> Tensor:
    signs = pose.new_tensor([1.0, -1.0, -1.0, -1.0])
    return torch.exp(2 * signs * pose[0, [52, 55, 9, 12]]).sum()


def joint_factors(weights: Weights) -> Float[Tensor, " points"]:
    """Without the jaw line and the pupils, as `use_face_contour: False` has it."""
    factors = torch.zeros(len(OPENPOSE137))
    factors[BODY], factors[HANDS], factors[FACE] = 1.0, weights.hand_points, weights.face_points
    factors[list(IGNORED)] = 0.0
    factors[CONTOUR] = 0.0
    return factors
