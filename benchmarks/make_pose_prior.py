"""Makes models/pose_prior.npz: a Gaussian over SMPL-X's 63 body joint angles, anatomy blended with captured motion.

    python -m benchmarks.make_pose_prior DATA/motion [models/pose_prior.npz]

The motion is too little to learn a prior from alone (two walks, a playground, an exercise, eight SMPL-X poses): its
covariance is blended with an anatomical one, as an inverse Wishart prior would. How much of each is chosen by leaving
one motion out at a time. Every pose counts together with its mirror image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.motion_retarget import JOINTS, Poses, read_all
from benchmarks.table import format_table

# Radians, left side: standard deviations about SMPL-X's axes at rest (x to the left, y up, z forward): so along a leg
# y is twist, along an arm x. From the range of motion in J. M. Norkin, D. J. White, Measurement of Joint Motion, 2016,
# an everyday pose within about a third of it.
SPREAD = {
    "hip": (0.6, 0.3, 0.35), "knee": (0.7, 0.12, 0.1), "ankle": (0.35, 0.2, 0.2), "foot": (0.2, 0.1, 0.1),
    "spine1": (0.2, 0.12, 0.15), "spine2": (0.2, 0.12, 0.15), "spine3": (0.2, 0.12, 0.15), "neck": (0.2, 0.25, 0.2),
    "head": (0.25, 0.3, 0.2), "collar": (0.1, 0.15, 0.15), "shoulder": (0.6, 0.6, 0.7), "elbow": (0.25, 0.7, 0.4),
    "wrist": (0.4, 0.25, 0.4),
}  # fmt: skip
# Arms hang some degrees out from the body, elbows and knees are a little bent. An elbow bends about an axis between
# y and z: the palms of SMPL-X's T-pose look down and forward.
MIDDLE = {"knee": (0.15, 0.0, 0.0), "shoulder": (0.0, -0.1, -1.25), "elbow": (0.0, -0.3, 0.15)}
MIRROR = np.array([1.0, -1.0, -1.0])

LONGEST = 10.0  # seconds of one motion count: it is the same movement over and over
STILL = 0.02  # radians: a coordinate that varies less was not captured
BLENDS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)


def anatomy() -> tuple[Float[np.ndarray, "63"], Float[np.ndarray, "63"]]:
    """Means and standard deviations."""
    middle, spread = [], []
    for joint in JOINTS[1:]:
        side, _, kind = joint.rpartition("_")
        flip = MIRROR if side == "right" else np.ones(3)
        middle.append(np.array(MIDDLE.get(kind, (0.0, 0.0, 0.0))) * flip)
        spread.append(np.array(SPREAD[kind]))
    return np.concatenate(middle), np.concatenate(spread)


def mirror(poses: Float[np.ndarray, "frames 63"]) -> Float[np.ndarray, "frames 63"]:
    """Left and right exchanged."""
    names = {"left": "right", "right": "left"}
    order = []
    for joint in JOINTS[1:]:
        side, _, kind = joint.rpartition("_")
        order.append(JOINTS.index(f"{names[side]}_{kind}" if side else joint) - 1)
    return (poses.reshape(-1, 21, 3)[:, order] * MIRROR).reshape(-1, 63)


def samples(motion: Poses) -> tuple[Float[np.ndarray, "frames 63"], float]:
    """Ten poses a second with their mirror images, and what one of them weighs."""
    step = max(round(motion.fps / 10), 1)
    poses = motion.body_pose[::step]
    seconds = LONGEST if motion.name == "smplx" else min(len(motion.body_pose) / motion.fps, LONGEST)
    both = np.concatenate([poses, mirror(poses)])
    return both, seconds / len(both)


def learned(motions: list[Poses]) -> tuple[Float[np.ndarray, "63"], Float[np.ndarray, "63 63"]]:
    """Weighted mean and covariance. Where a motion does not record a coordinate, anatomy stands in."""
    middle, spread = anatomy()
    total = 0.0
    first, second = np.zeros(63), np.zeros((63, 63))
    for motion in motions:
        poses, weight = samples(motion)
        blind = poses.std(axis=0) < STILL
        away = np.where(blind, 0.0, poses - middle)
        first += weight * away.sum(axis=0)
        second += weight * (away.T @ away + len(poses) * np.diag(np.where(blind, spread**2, 0.0)))
        total += weight * len(poses)
    first, second = first / total, second / total
    return middle + first, second - np.outer(first, first)


def blend(motions: list[Poses], share: float) -> tuple[Float[np.ndarray, "63"], Float[np.ndarray, "63 63"]]:
    """Mean and covariance with so much of the motions and the rest of anatomy, their means' distance included."""
    middle, spread = anatomy()
    mean, covariance = learned(motions)
    away = mean - middle
    between = share * (1 - share) * np.outer(away, away)
    return middle + share * away, share * covariance + (1 - share) * np.diag(spread**2) + between


def surprise(poses: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Mean negative log density per coordinate, and mean squared Mahalanobis distance per coordinate (1: as said)."""
    away = np.linalg.solve(np.linalg.cholesky(covariance), (poses - mean).T)
    squared = (away**2).sum(axis=0).mean()
    logdet = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return (squared + logdet) / 2 / 63, squared / 63


def held_out(motions: list[Poses]) -> list[list[object]]:
    """For every share: each motion's surprise under a prior made without it."""
    rows: list[list[object]] = []
    for share in BLENDS:
        found = []
        for k, motion in enumerate(motions):
            rest = motions[:k] + motions[k + 1 :]
            found.append(surprise(samples(motion)[0], *blend(rest, share)))
        rows.append([share, *(nll for nll, _ in found), float(np.mean(found, axis=0)[0]), max(d for _, d in found)])
    return rows


def main(words: list[str]) -> None:
    motions = read_all(Path(words[0]))
    rows = held_out(motions)
    print(format_table(["share", *(m.name for m in motions), "mean", "worst distance^2"], rows))
    share = min(rows, key=lambda row: row[-2])[0]  # type: ignore[arg-type, return-value]
    mean, covariance = blend(motions, float(share))  # type: ignore[arg-type]
    path = Path(words[1] if len(words) > 1 else "models/pose_prior.npz")
    np.savez_compressed(
        path,
        joint_names=np.array(JOINTS[1:]),
        mean=mean.astype(np.float32),
        covariance=covariance.astype(np.float32),
        share=np.float32(share),
        sources=np.array(
            [
                "CMU 01_01, 11_01: mocap.cs.cmu.edu, funded by NSF EIA-0196217, free for all uses",
                "BVH: omimo/PyMO, 20tab/bvh-python (MIT)",
                "eight SMPL-X poses: facebookresearch/MHR (Apache-2.0)",
            ]
        ),
    )
    print(f"{path}: {path.stat().st_size} bytes, {share} of the motions")


if __name__ == "__main__":
    main(sys.argv[1:])
