"""Where bodies' poses are: Gaussians over joint angles, a decoder's latent, rest, upright, hands."""

from __future__ import annotations

from typing import ClassVar

import roma
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from fitting.terms.base import Residuals, Scene, Structure, Term
from fitting.turns import cross_matrix, left_jacobian
from fitting.types import PosePrior

BODY = "body_pose"
POSTURE = 0.5  # seconds after which a posture is another: by the correlations of captured motion, 0.4 to 0.7
SEEN = 0.3  # confidence of a point that is more than a guess
COMPONENTS = ("left_hand_pca", "right_hand_pca")


class PoseDensity(Term):
    """A body's joint angles come from a Gaussian, or from the nearest of several; sigma is a factor of their spreads.

    Of component k with mean m, covariance S and weight w the residual is (S^-1/2 (angles - m), sqrt(2 c)) with
    c = -log w + 1/2 log det S, less the least c of all components: half its square is the negative log of the nearest
    component's density (SMPLify's max-mixture, Bogo et al. 2016, eq. 6, after Olson & Agarwal 2013) up to a constant.
    """

    prior: ClassVar[str] = ""
    lasts: ClassVar[float] = POSTURE
    reads: ClassVar[tuple[str, ...]] = (BODY,)
    sigma: float = 1.0

    def residuals(self, scene: Scene) -> Residuals | None:
        if BODY not in scene.coordinates or self.prior not in scene.body.pose_priors:
            return None
        prior = scene.body.pose_priors[self.prior]
        return Residuals(whitened(prior, scene.coordinates[BODY], self.component(prior, scene))[..., None, :])

    def jacobian(self, scene: Scene) -> dict[str, Tensor]:
        """The component's whitening; its offset is constant."""
        prior = scene.body.pose_priors[self.prior]
        return {BODY: torch.nn.functional.pad(prior.whiten[self.component(prior, scene)], (0, 0, 0, 1))}

    def component(self, prior: PosePrior, scene: Scene) -> Int[Tensor, "problems frames"]:
        """Which of the Gaussians counts."""
        return nearest_component(prior, scene.coordinates[BODY])


class PoseLearned(PoseDensity):
    """Joint angles are as people's are: a Gaussian from anatomy and openly licensed motion, models/pose_prior.npz. Legs
    that nobody sees do not follow the trunk: they would crouch as soon as it leans."""

    prior: ClassVar[str] = "learned"

    def component(self, prior: PosePrior, scene: Scene) -> Int[Tensor, "problems frames"]:
        """The first where legs are seen, else the last, whose legs are free of all else."""
        evidence = scene.evidence
        legs = evidence.points.new_tensor(evidence.layout.groups.get("legs", ()))
        sees = (evidence.confidence[..., torch.isin(evidence.points, legs)] >= SEEN).any(dim=-1)
        return torch.where(sees, 0, len(prior.means) - 1)


class PoseGmm(PoseDensity):
    """Joint angles come from SMPLify's mixture of eight Gaussians (the body's `gmm` file). SMPLify-X's weight w, which
    counts w^2 (1/2 |.|^2 + c), is sigma = sqrt(2) / w."""

    prior: ClassVar[str] = "gmm"


def whitened(prior: PosePrior, angles: Tensor, component: Tensor) -> Tensor:
    """Whitened distance from one component of each (*batch), and the root of its offset: (*batch, size + 1)."""
    away = angles - prior.means[component]
    constant = (2 * prior.offsets[component]).sqrt()
    return torch.cat([(prior.whiten[component] @ away[..., None])[..., 0], constant[..., None]], dim=-1)


def nearest(prior: PosePrior, angles: Tensor) -> Tensor:
    """`whitened` by the component under which the angles are likeliest."""
    return whitened(prior, angles, nearest_component(prior, angles))


def nearest_component(prior: PosePrior, angles: Tensor) -> Tensor:
    """Index of the component under which the angles are likeliest (*batch)."""
    away = angles.detach()[..., None, :] - prior.means
    distance = torch.einsum("...ki,kji->...kj", away, prior.whiten).square().sum(dim=-1)
    return (0.5 * distance + prior.offsets).argmin(dim=-1)


class PoseRest(Term):
    """Every joint of the body is as in the T-pose; sigma in radians. SMPLify-X's `l2`."""

    lasts: ClassVar[float] = POSTURE
    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = (BODY,)
    sigma: float = 0.5

    def residuals(self, scene: Scene) -> Residuals | None:
        if BODY not in scene.coordinates:
            return None
        return Residuals(scene.coordinates[BODY][..., None])


class PoseLatent(Term):
    """VPoser's code is drawn from a standard normal; sigma in standard deviations."""

    lasts: ClassVar[float] = POSTURE
    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("pose_embedding",)
    sigma: float = 1.0

    def residuals(self, scene: Scene) -> Residuals | None:
        if "pose_embedding" not in scene.coordinates:
            return None
        return Residuals(scene.coordinates["pose_embedding"][..., None])


class Upright(Term):
    """The y axes of pelvis and chest point up: the chord to it, which is the angle where that is small and has a slope
    everywhere up to standing on the head. Sigma in radians; leave it out where people lie or hang. One view hardly sees
    a trunk that leans towards it, and a face that is a little too large makes it lean."""

    lasts: ClassVar[float] = POSTURE
    reads: ClassVar[tuple[str, ...]] = ("global_orient", BODY)
    sigma: float = 0.25
    up: tuple[float, float, float] = Field(default=(0.0, 1.0, 0.0), description="of the world, where the camera tilts")

    def residuals(self, scene: Scene) -> Residuals | None:
        if BODY not in scene.coordinates:  # a head alone may nod
            return None
        turns = self.turns(scene)
        up = turns.new_tensor(self.up)
        return Residuals(turns[:, :, [0, -1], :, 1] - up / up.norm())

    def jacobian(self, scene: Scene) -> dict[str, Tensor]:
        """A turn of joint k by d, in its parent's axes, moves y by (R_parent d) x y; coordinates turn it by J_left."""
        turns, columns = self.turns(scene), self.columns(scene)
        angles = {name: scene.coordinates[name] for name in self.reads}
        size = angles[BODY].shape[-1]
        whole = turns.new_zeros(*turns.shape[:2], 6, 3 + size)
        vectors = torch.cat([angles["global_orient"], angles[BODY]], dim=-1).unflatten(-1, (-1, 3))
        for k, joint in enumerate((0, *(1 + column for column in columns))):
            steps = left_jacobian(vectors[:, :, joint])
            if k > 0:
                steps = turns[:, :, k - 1] @ steps
            for row, end in ((slice(0, 3), 0), (slice(3, 6), len(columns))):
                if k <= end:
                    whole[:, :, row, 3 * joint : 3 * joint + 3] = -cross_matrix(turns[:, :, end, :, 1]) @ steps
        return {"global_orient": whole[..., :3], BODY: whole[..., 3:]}

    def columns(self, scene: Scene) -> list[int]:
        """Joints of the spine from the pelvis up to the chest, as `body_pose` counts them."""
        return [scene.body.joint_names.index(name) - 1 for name in ("spine1", "spine2", "spine3")]

    def turns(self, scene: Scene) -> Tensor:
        """World rotations of the pelvis and, upwards, the joints of the spine: (problems, frames, 4, 3, 3)."""
        local = roma.rotvec_to_rotmat(scene.coordinates[BODY].unflatten(-1, (-1, 3)))
        found = [roma.rotvec_to_rotmat(scene.coordinates["global_orient"])]
        for column in self.columns(scene):
            found.append(found[-1] @ local[:, :, column])
        return torch.stack(found, dim=2)


class Hands(Term):
    """Fingers are as in the mean hand; sigma in radians. For hands that move joint by joint."""

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = ("left_hand_pose", "right_hand_pose")
    sigma: float = 0.35

    def residuals(self, scene: Scene) -> Residuals | None:
        moved = scene.coordinates
        if any(name not in moved for name in self.reads) or any(name in moved for name in COMPONENTS):
            return None
        return Residuals(torch.cat([self.away(scene, name) for name in self.reads], dim=-1)[..., None])

    def away(self, scene: Scene, name: str) -> Tensor:
        angles, priors = scene.coordinates[name], scene.body.pose_priors
        return angles - priors[name].means[0] if name in priors else angles


class HandComponents(Term):
    """Fingers are as in the mean hand; sigma in radians. For hands that move by components, which are orthogonal: the
    sum of the coefficients' squares, each times its component's length, is that of the angles, which SMPLify-X counts.
    """

    structure: ClassVar[Structure] = "elementwise"
    reads: ClassVar[tuple[str, ...]] = COMPONENTS
    sigma: float = 0.7

    def residuals(self, scene: Scene) -> Residuals | None:
        if any(name not in scene.coordinates for name in self.reads):
            return None
        turned = [scene.coordinates[name] * scene.body.lengths(name) for name in self.reads]
        return Residuals(torch.cat(turned, dim=-1)[..., None])
