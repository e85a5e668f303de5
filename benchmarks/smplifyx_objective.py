"""SMPLify-X's total loss of one frame on the open body: forward of the full mesh, projection, all terms and weights.

Written from a description of what its code does (G. Pavlakos et al., Expressive Body Capture, CVPR 2019, eq. 1-4, and
the settings of its fit_smplx.yaml with VPoser off and the l2 prior on); not a line is taken from it. One function in
any precision and of any number of frames: the reference minimises it in float32, results of any solver are compared by
it in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from smplx.lbs import lbs
from torch import Tensor

from fitting import places
from fitting.bodies.body import SkinnedBody
from fitting.bodies.skinning import Places, Skin, joint_of_entries, restricted_skin
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

    As a whole every vertex is computed, as SMPLify-X does. Else only what each joint carries of each keypoint, as a
    vertex of its own, and the joints at rest: the same numbers up to rounding in a fraction of the time. The jaw line,
    which this configuration does not use, is left out.
    """

    def __init__(self, body: SkinnedBody, dtype: torch.dtype, whole: bool = True) -> None:
        like = torch.zeros(0, dtype=dtype)
        body = body.to(like)
        assert body.hands is not None
        embedding = body.embeddings[LAYOUT]
        self.means, self.components = body.hands.mean, body.hands.components[:, :COMPONENTS]
        self.parents, self.order = torch.tensor(body.skeleton.parents), embedding.points
        self.joints = torch.full_like(self.order, -1) if embedding.joints is None else embedding.joints
        fixed = Places(embedding.vertices, embedding.weights, self.joints)
        skin = body.skin if whole else restricted_skin(body.skin, body.skeleton, body.skinning, fixed)
        directions = skin.directions.unflatten(1, (-1, 3)).permute(1, 2, 0)
        if whole:
            self.template, self.skinning, self.directions = skin.template, body.skinning, directions.contiguous()
            self.vertices, self.weights = embedding.vertices, embedding.weights[..., None].to(like)
            with np.load(places.models() / "open_body.npz") as arrays:
                self.regressor = torch.as_tensor(arrays["J_regressor"]).to(like)
        else:
            count, entries = len(self.parents), len(skin.entry_weight)
            self.vertices, self.weights = entries_of_points(skin, like)
            joint_directions = body.skeleton.directions.unflatten(1, (-1, 3)).permute(1, 2, 0)
            self.directions = torch.cat([directions, joint_directions])
            self.template = torch.cat([skin.template, body.skeleton.template])
            every = torch.eye(count).to(like)
            self.skinning = torch.cat([every[joint_of_entries(skin)], every])
            self.regressor = torch.cat([torch.zeros(count, entries), torch.eye(count)], dim=1).to(like)
        # The open body has no pose correctives; SMPL-X has, and its forward multiplies them: so does the whole mesh.
        # Of a few vertices one column for each axis stands for all.
        self.correctives = like.new_zeros(9 * (len(self.parents) - 1), self.template.numel() if whole else 3)

    def angles(self, fit: Fit) -> Float[Tensor, "frames 165"]:
        """Axis-angle of all 55 joints."""
        hands = [self.means[k] + fit[name] @ self.components[k] for k, name in enumerate(("left_hand", "right_hand"))]
        names = ("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose")
        return torch.cat([*(fit[name] for name in names), *hands], dim=1)

    def keypoints(self, fit: Fit) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "joints 3"]]:
        """Of one frame."""
        points, joints = self.every_keypoint(fit)
        return points[0], joints[0]

    def every_keypoint(self, fit: Fit) -> tuple[Float[Tensor, "frames points 3"], Float[Tensor, "frames joints 3"]]:
        """In the camera's frame without its translation: the layout's points (those it lacks at 0), and the joints."""
        shape = torch.cat([fit["betas"], fit["expression"]], dim=1)
        vertices, joints = lbs(
            shape, self.angles(fit), self.template[None], self.directions, self.correctives, self.regressor,
            self.parents, self.skinning,
        )  # fmt: skip
        picked = (vertices[:, self.vertices] * self.weights).sum(dim=2)
        points = torch.where((self.joints >= 0)[:, None], joints[:, self.joints.clamp(min=0)], picked)
        return points.new_zeros(len(points), len(OPENPOSE137), 3).index_copy(1, self.order, points), joints


def entries_of_points(skin: Skin, like: Tensor) -> tuple[Tensor, Tensor]:
    """Of each point the entries (points, most), filled up with any, and their weights (points, most, 1)."""
    belongs = skin.entry_point == torch.arange(skin.points)[:, None]
    entries = belongs.long().argsort(dim=1, descending=True, stable=True)[:, : int(belongs.sum(dim=1).max())]
    weights = skin.entry_weight[entries] * belongs.gather(1, entries)
    return entries, weights[..., None].to(like)


def project(points: Tensor, transl: Tensor, seen: Seen) -> Float[Tensor, "points 2"]:
    moved = points + transl
    return FOCAL * moved[:, :2] / moved[:, 2:] + seen.centre


def total_loss(mesh: Mesh, fit: Fit, seen: Seen, weights: Weights) -> Tensor:
    """Of one frame."""
    return total_losses(mesh, fit, [seen], [weights])[0]


def total_losses(mesh: Mesh, fits: Fit, seen: Sequence[Seen], weights: Sequence[Weights]) -> Float[Tensor, " frames"]:
    """The sum over all terms of each frame, interpenetration left out. `fits` has (frames, size) of every block."""
    points, _ = mesh.every_keypoint(fits)
    residual = residuals(points, fits["transl"], seen)
    robust = RHO**2 * residual**2 / (residual**2 + RHO**2)
    factor = by_frame(weights, joint_factors).to(residual) * torch.stack([one.confidence for one in seen])
    data = scales(seen, residual) * (factor[..., None] ** 2 * robust).sum(dim=(1, 2))
    w = by_frame(weights, lambda one: torch.tensor([one.pose, one.shape, one.expression, one.hands, *one.jaw]))
    w = w.to(residual)
    decoded = [fits[name] @ mesh.components[k] for k, name in enumerate(("left_hand", "right_hand"))]
    return (
        data
        + w[:, 0] ** 2 * squares(fits["body_pose"])
        + BEND * w[:, 0] * bend(fits["body_pose"])
        + w[:, 1] ** 2 * squares(fits["betas"])
        + w[:, 2] ** 2 * squares(fits["expression"])
        + w[:, 3] ** 2 * (squares(decoded[0]) + squares(decoded[1]))
        + squares(fits["jaw_pose"] * w[:, 4:])
    )


def residuals(
    points: Float[Tensor, "frames points 3"], transl: Float[Tensor, "frames 3"], seen: Sequence[Seen]
) -> Float[Tensor, "frames points 2"]:
    """Pixels from the projected points to the seen ones."""
    moved = points + transl[:, None]
    projected = FOCAL * moved[..., :2] / moved[..., 2:] + torch.stack([one.centre for one in seen])[:, None]
    return torch.stack([one.points for one in seen]) - projected


def scales(seen: Sequence[Seen], like: Tensor) -> Float[Tensor, " frames"]:
    """What pixels squared count."""
    return like.new_tensor([(1000 / one.height) ** 2 for one in seen])


def by_frame(weights: Sequence[Weights], of: Callable[[Weights], Tensor]) -> Float[Tensor, "frames _"]:
    """A row of each stage's, once for all frames that are in it."""
    kinds = list(dict.fromkeys(weights))
    rows = torch.stack([of(kind) for kind in kinds])
    return rows if len(weights) == 1 else rows[[kinds.index(one) for one in weights]]


def squares(values: Float[Tensor, "frames size"]) -> Float[Tensor, " frames"]:
    return values.square().sum(dim=1)


def bend(pose: Float[Tensor, "frames 63"]) -> Float[Tensor, " frames"]:
    signs = pose.new_tensor([1.0, -1.0, -1.0, -1.0])
    return torch.exp(2 * signs * pose[:, [52, 55, 9, 12]]).sum(dim=1)


def joint_factors(weights: Weights) -> Float[Tensor, " points"]:
    """Without the jaw line and the pupils, as `use_face_contour: False` has it."""
    factors = torch.zeros(len(OPENPOSE137))
    factors[BODY], factors[HANDS], factors[FACE] = 1.0, weights.hand_points, weights.face_points
    factors[list(IGNORED)] = 0.0
    factors[CONTOUR] = 0.0
    return factors
