"""Pose priors from files: the project's own, and SMPLify's mixture of Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting import places
from fitting.bodies.body import SkinnedBody, moved
from fitting.bodies.hands import SIDES, pose_block
from fitting.types import ModelError, PosePrior
from fitting.unpickle import load_npz, load_pickle

MIXTURE = "gmm_08.pkl of SMPLify (smplify.is.tue.mpg.de) holds means, covars and weights"
LEGS = ("hip", "knee", "ankle", "foot")
FREE_SD = 0.15  # radians, of coordinates that a prior does not know: SMPL's hands beyond SMPL-X's 21 joints


def with_pose_priors(body: SkinnedBody, gmm: Path | None) -> SkinnedBody:
    """The body with what is believed of its poses: the project's own prior, a mixture's file, the mean hands.

    Raises ModelError for a file that is none.
    """
    size = next(block.tangent_size for block in body.blocks if block.name == "body_pose")
    priors = {"learned": read_learned(places.models() / "pose_prior.npz", size)}
    if gmm is not None:
        priors["gmm"] = read_gmm(gmm, size)
    if body.hands is not None:
        priors |= {pose_block(side): mean_hand(mean) for side, mean in zip(SIDES, body.hands.mean, strict=True)}
    return replace(body, pose_priors=moved(priors, body.skin.template))


def read_learned(path: Path, size: int) -> PosePrior:
    """models/pose_prior.npz on the first `size` body joint angles: the Gaussian, and one whose legs are free of all
    else. Raises ModelError."""
    arrays = load_npz(path)
    missing = {"mean", "covariance", "joint_names"} - set(arrays)
    if missing:
        raise ModelError(f"{path}: no {missing.pop()!r}: a pose prior has 'mean', 'covariance' and 'joint_names'")
    return make_learned(path, arrays["mean"], arrays["covariance"], arrays["joint_names"].tolist(), size)


def make_learned(
    path: Path,
    mean: Float[np.ndarray, " known"],
    covariance: Float[np.ndarray, "known known"],
    joint_names: Sequence[str],
    size: int,
) -> PosePrior:
    """See `read_learned`. What is captured ties legs to trunk and arms; that says little of a pose (0.3 nats of one
    that was held out)."""
    is_leg = np.repeat([any(part in name for part in LEGS) for name in joint_names], 3)
    free = np.where(is_leg[:, None] == is_leg, covariance, 0)
    prior = make_prior(path, np.stack([mean] * 2), np.stack([covariance, free]), np.full(2, 0.5), size)
    return replace(prior, offsets=torch.zeros_like(prior.offsets))  # the evidence says which of them counts


def read_gmm(path: Path, size: int) -> PosePrior:
    """SMPLify's gmm_08.pkl on the first `size` body joint angles: 69 of SMPL, 63 of SMPL-X by marginalising.

    Either {'means', 'covars', 'weights'} or the scikit-learn object that older copies hold. Raises ModelError.
    """
    found = load_pickle(path)
    if not isinstance(found, dict):
        raise ModelError(f"{path}: found {type(found).__name__}, not a mixture of Gaussians: {MIXTURE}")
    means, covars, weights = (pick(path, found, name) for name in ("means", "covars", "weights"))
    return make_prior(path, means, covars, weights, size)


def pick(path: Path, found: dict[str, Any], name: str) -> np.ndarray:
    spellings = (name, f"{name}_", f"_{name}", f"{name.replace('covars', 'covariances')}_")
    known = [spelling for spelling in spellings if spelling in found]
    if not known:
        raise ModelError(f"{path}: no {name!r} in it, but {', '.join(map(str, found)) or 'nothing'}: {MIXTURE}")
    return np.asarray(found[known[0]], dtype=np.float64)


def make_prior(
    path: Path,
    means: np.ndarray,
    covariances: np.ndarray,
    weights: np.ndarray,
    size: int,
) -> PosePrior:
    """The mixture, means (k, n), covariances (k, n, n), weights (k,), on the first `size` coordinates; what lies beyond
    those it knows is independent of them and near 0.

    Raises ModelError where the arrays do not fit each other or a covariance is none.
    """
    count, known = means.shape if means.ndim == 2 else (0, 0)
    if covariances.shape != (count, known, known) or weights.shape != (count,) or count == 0:
        shapes = f"means {means.shape}, covars {covariances.shape}, weights {weights.shape}"
        raise ModelError(f"{path}: {shapes}: expected (8, 69), (8, 69, 69) and (8,), or as many as agree")
    both = min(size, known)
    mean = np.zeros((count, size))
    covariance = np.tile(FREE_SD**2 * np.eye(size), (count, 1, 1))
    mean[:, :both] = means[:, :both]
    covariance[:, :both, :both] = covariances[:, :both, :both]
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ModelError(f"{path}: a covariance is not positive definite: the file is damaged") from error
    half_log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    offsets = half_log_det - np.log(np.maximum(weights, 1e-300))
    return PosePrior(
        means=torch.as_tensor(mean),
        whiten=torch.as_tensor(np.linalg.inv(factor)),
        offsets=torch.as_tensor(offsets - offsets.min()),
    )


def mean_hand(angles: Float[Tensor, "45"]) -> PosePrior:
    """Where the fingers of full hands are at rest: a Gaussian of unit spread."""
    return PosePrior(angles[None], torch.eye(len(angles)).to(angles)[None], torch.zeros(1).to(angles))
