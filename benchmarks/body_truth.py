"""People whose truth is known: plausible poses of the open body seen by plausible cameras, and what OpenPose would say.

A third of the poses are draws from models/pose_prior.npz within the joints' limits, the others captured ones (eight
SMPL-X poses with a jitter, frames of the motions) where those files are at hand. The camera is SMPLify-X's: 5000 px, a
picture of 1000 x 1000, a person 600 to 850 px tall, seen from anywhere round and from up to 20 degrees above or below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from benchmarks.motion_retarget import JOINTS, read_all
from fitting import places
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.evidence import embedded_points
from fitting.layouts import OPENPOSE137
from fitting.terms.body_limits import joint_limits
from fitting.types import Body, Codes, Observations, Parameters

SIZE, FOCAL = (1000, 1000), 5000.0  # pixels
STATURE = (600.0, 850.0)  # pixels
NOISE_PX, DROPPED, WRONG = 2.0, 0.05, 0.05
WRONG_BY = 0.3  # of the stature: a grossly wrong point lies anywhere within
PUPILS = ("left_pupil", "right_pupil")  # SMPLify-X's 135 points have none


@dataclass(frozen=True)
class People:
    """What was drawn: one frame each, all of the same row."""

    truth: Parameters  # (1, people); everything on full joints
    observations: Observations
    joints: Float[np.ndarray, "people joints 3"]  # world, metres
    source: tuple[str, ...]


def draw_people(body: Body, count: int, rng: np.random.Generator, motion: Path | None = None) -> People:
    """`motion` is the folder of captured motion; without it all poses come from the prior."""
    poses, source = draw_poses(count, rng, motion)
    rows = {
        "betas": rng.normal(0, 0.8, (count, size_of(body, "betas"))),
        "expression": rng.normal(0, 0.4, (count, size_of(body, "expression"))),
        "body_pose": poses,
        "jaw_pose": np.abs(rng.normal(0, 1, (count, 3))) * [0.12, 0.01, 0.01],
        "leye_pose": np.zeros((count, 3)),
        "reye_pose": np.zeros((count, 3)),
        **draw_hands(body, count, rng),
        "global_orient": draw_views(count, rng),
        "transl": np.zeros((count, 3)),
    }
    placed = place(body, rows, rng)
    values = as_parameters(body, placed, count)
    posed = body.pose(values)
    names = tuple(f"{k:04d}" for k in range(count))
    K = np.tile(intrinsics(FOCAL, SIZE), (count, 1, 1))
    keypoints, confidence = look(body, values, K, rng)
    observations = Observations(
        person="000",
        layout=OPENPOSE137,
        keypoints=keypoints,
        confidence=confidence,
        names=names,
        image_sizes=np.tile(SIZE, (count, 1)),
        is_clip=False,
        truth=Codes(values.rows(), body.name, np.ones(count, dtype=bool), K),
    )
    return People(values, observations, posed.joints[0].double().numpy(), tuple(source))


def size_of(body: Body, block: str) -> int:
    return next(found.tangent_size for found in body.blocks if found.name == block)


def draw_poses(
    count: int, rng: np.random.Generator, motion: Path | None
) -> tuple[Float[np.ndarray, "people 63"], list[str]]:
    prior = draw_prior(count, rng)
    if motion is None:
        return prior, ["prior"] * count
    motions = read_all(motion)
    poses, source = [], []
    for k in range(count):
        if k % 3 == 0:
            poses.append(prior[k])
            source.append("prior")
            continue
        chosen = motions[-1] if k % 3 == 1 else motions[rng.integers(len(motions) - 1)]
        jitter = 0.1 if chosen.name == "smplx" else 0.0
        frame = chosen.body_pose[rng.integers(len(chosen.body_pose))]
        poses.append(frame + rng.normal(0, jitter, 63) if jitter else frame)
        source.append(chosen.name)
    return np.array(poses), source


def draw_prior(count: int, rng: np.random.Generator) -> Float[np.ndarray, "people 63"]:
    """Draws of the shipped Gaussian, moved into the joints' limits."""
    with np.load(places.models() / "pose_prior.npz") as arrays:
        mean, factor = arrays["mean"].astype(float), np.linalg.cholesky(arrays["covariance"].astype(float))
    low, high = joint_limits(JOINTS[1:]).flatten(0, 1).numpy().T
    return np.clip(mean + rng.normal(size=(count, 63)) @ factor.T, low, high)


def draw_hands(body: Body, count: int, rng: np.random.Generator) -> Mapping[str, Float[np.ndarray, "people 45"]]:
    """Round the mean hand, fingers bending more than they spread."""
    spread = np.tile([0.08, 0.08, 0.25], 15)
    found = {}
    for side in ("left", "right"):
        mean = body.pose_priors[f"{side}_hand_pose"].means[0].double().numpy()
        found[f"{side}_hand_pose"] = mean + rng.normal(size=(count, 45)) * spread
    return found


def draw_views(count: int, rng: np.random.Generator) -> Float[np.ndarray, "people 3"]:
    """Any side, 20 degrees of pitch, 5 of roll."""
    turns = [rng.uniform(-180, 180, count), rng.uniform(-20, 20, count), rng.normal(0, 5, count)]
    return Rotation.from_euler("yxz", np.stack(turns, axis=1), degrees=True).as_rotvec()


def place(body: Body, rows: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """In the picture's middle but for some pixels, at the depth that makes the person as tall as drawn."""
    count = len(rows["betas"])
    upright = {**rows, **{name: np.zeros_like(rows[name]) for name in ("body_pose", "global_orient")}}
    standing = body.restrict(body.embeddings["openpose137"]).pose(as_parameters(body, upright, count)).points[0]
    tall = (
        1.08 * (standing[..., 1].amax(dim=1) - standing[..., 1].amin(dim=1)).double().numpy()
    )  # the crown has no point
    depth = FOCAL * tall / rng.uniform(*STATURE, count)
    posed = body.restrict(body.embeddings["openpose137"]).pose(as_parameters(body, rows, count)).points[0]
    middle = 0.5 * (posed.amax(dim=1) + posed.amin(dim=1)).double().numpy()
    offset = rng.normal(0, 30, (count, 2)) * (depth / FOCAL)[:, None]
    transl = np.concatenate([offset, -depth[:, None]], axis=1) - middle
    return {**rows, "transl": transl}


def as_parameters(body: Body, rows: Mapping[str, np.ndarray], count: int) -> Parameters:
    """Rows as in files to one problem of so many frames, each with its own shape."""
    blocks = {block.name: block.from_rows(rows[block.name]) for block in body.blocks}
    like = body.neutral(1, 1)["transl"]
    return Parameters({name: value[None] for name, value in blocks.items()}).to(like)


def look(
    body: Body, truth: Parameters, K: np.ndarray, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "people points 2"], Float[np.ndarray, "people points"]]:
    """Keypoints with noise, some dropped, some anywhere near; confidence does not tell which are wrong."""
    embedding = body.embeddings["openpose137"]
    posed = body.restrict(embedding).pose(truth)
    pixels = camera_to_pixels(world_to_camera(posed.points[0]), torch.as_tensor(K).to(posed.points)).double().numpy()
    count, indices = len(pixels), embedded_points(embedding)
    tall = np.ptp(pixels[..., 1], axis=1)[:, None, None]
    pixels = pixels + rng.normal(0, NOISE_PX, pixels.shape)
    fate = rng.uniform(size=pixels.shape[:2])
    pixels = np.where((fate < WRONG)[..., None], pixels + rng.uniform(-1, 1, pixels.shape) * WRONG_BY * tall, pixels)
    keypoints = np.zeros((count, len(OPENPOSE137), 2))
    confidence = np.zeros(keypoints.shape[:2])
    keypoints[:, indices], confidence[:, indices] = pixels, 1.0
    confidence[:, indices] = np.where((fate > WRONG) & (fate < WRONG + DROPPED), 0.0, confidence[:, indices])
    confidence[:, [OPENPOSE137.point_names.index(name) for name in PUPILS]] = 0.0
    keypoints[confidence == 0] = 0.0  # as OpenPose writes what it has not found
    return keypoints, confidence
