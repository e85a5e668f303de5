"""Captured motion on the open body, seen by four cameras, each fitted alone from 2D keypoints: against the truth.

    python -m benchmarks.body_clips MOTION_FOLDER [--frames 60] [--held-out] [--recipe fit_smplx_video.yaml]
        [--KEY VALUE ...]

MOTION_FOLDER has cmu/01.asf, 01_01.amc, 11.asf, 11_01.amc (CMU motion capture). Per clip and camera: BODY_25 keypoints
of a person of random shape, each off by a constant of 1 % of the person's height (a detector's habit) and by 1 % anew
in every frame, 10 % of the points missing. Errors in mm over the 22 body joints; `k` is the scale that lays the fit on
the truth (above 1: the fit is too small); `flips`: limbs whose depth points the other way by more than 6 cm; `lean`:
mean angle between fitted and true trunk, degrees; `accel`: root mean square acceleration, fitted over true.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import roma
import torch
from jaxtyping import Float

from benchmarks.body_metrics import measure
from benchmarks.make_pose_prior import blend
from benchmarks.motion_files import read_acclaim, read_amc
from benchmarks.motion_retarget import CMU, Poses, read_all, retarget
from benchmarks.table import format_table
from fitting import bodies, hypotheses, places
from fitting.bodies.body import SkinnedBody, moved
from fitting.bodies.pose_priors import make_learned
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.config import FitConfig
from fitting.evidence import bind, embedded_points
from fitting.layouts import BODY25
from fitting.solve import solve
from fitting.types import Body, Observations, Parameters, Solution

RECIPES = Path(__file__).resolve().parents[1] / "cfg_files"
# Motion, first frame of 120 per second: a walk; a playground's jumps.
CLIPS = (("11_01", 0), ("01_01", 1500))
FPS, MOTION_FPS = 30, 120
SIZE, FOCAL = (1280, 1280), 1500.0
DISTANCE, CAMERA_HEIGHT = 4.0, 1.6  # metres
BIAS, NOISE, MISSING = 0.01, 0.01, 0.1
JOINTS = 22
LIMBS = ((16, 18), (17, 19), (18, 20), (19, 21), (1, 4), (2, 5), (4, 7), (5, 8))  # arms, forearms, thighs, shanks
HEADER = ("clip", "camera", "fit", "MPJPE", "p90", "scaled", "PA", "PA p90", "frame p90", "k", "flips %", "lean",
          "accel", "px %", "s")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What one camera sees, and what is true."""

    observations: Observations
    K: Float[np.ndarray, "frames 3 3"]
    joints: Float[np.ndarray, "frames joints 3"]  # metres, in the camera's world


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("motion", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--recipe", default="fit_smplx_video.yaml")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--rough", action="store_true", help="also without smoothness")
    parser.add_argument(
        "--held-out", action="store_true", help="with pose priors that have not seen the clip they are tried on"
    )
    options, rest = parser.parse_known_args(arguments)
    overrides = list(zip((word.removeprefix("--") for word in rest[::2]), rest[1::2], strict=True))
    smooth = FitConfig.load(RECIPES / options.recipe, [("error_bars", "false"), *overrides])
    off = {"acceleration": None, "joint_acceleration": None}
    recipes = {"smooth": smooth}
    if options.rough:
        recipes["not smooth"] = smooth.model_copy(update={"terms": smooth.terms.model_copy(update=off)})
    rows = []
    for name, first in CLIPS:
        body = bodies.load(**smooth.body.model_dump())
        if options.held_out:
            body = without(body, options.motion, name)
        for camera in range(options.cameras):
            # Another person in every clip, of a shape drawn from the model's prior.
            seen = look(body, options.motion, (name, first), camera, options.frames)
            for kind, recipe in recipes.items():
                solution = fit(body, seen, recipe)
                rows.append([name, camera, kind, *judge(solution, seen)])
                print(rows[-1], flush=True)
    for kind in recipes:
        every = [row[3:] for row in rows if row[2] == kind]
        rows.append(["mean", "", kind, *(float(np.mean(column)) for column in zip(*every, strict=True))])
    print(format_table(HEADER, rows))


def without(body: Body, folder: Path, clip: str) -> Body:
    """The body with a pose prior made as the project's own, from all motions but one."""
    others = [motion for motion in read_all(folder) if clip not in motion.name]
    mean, covariance = blend(others, float(np.load(places.models() / "pose_prior.npz")["share"]))
    size = next(block.tangent_size for block in body.blocks if block.name == "body_pose")
    prior = make_learned(Path(f"without {clip}"), mean, covariance, body.joint_names[1:22], size)
    assert isinstance(body, SkinnedBody)
    return replace(body, pose_priors={**body.pose_priors, **moved({"learned": prior}, body.skin.template)})


def read_captured(folder: Path, name: str) -> tuple[Poses, Float[np.ndarray, "frames 3"]]:
    """A motion's poses, and where its root is, in the file's unit."""
    cmu = folder / "cmu"
    poses = retarget(name, read_acclaim(cmu / f"{name[:2]}.asf", cmu / f"{name}.amc"), CMU)
    return poses, np.array([frame["root"][:3] for frame in read_amc((cmu / f"{name}.amc").read_text())])


def look(body: Body, folder: Path, clip: tuple[str, int], camera: int, frames: int) -> Seen:
    """One camera's view of a clip; cameras stand round the person, a little above and looking down."""
    name, first = clip
    rng = np.random.default_rng([camera, *name.encode()])
    steps = slice(first, first + frames * MOTION_FPS // FPS, MOTION_FPS // FPS)
    poses, roots = read_captured(folder, name)
    truth = in_camera(body, poses, roots, steps, np.deg2rad(20 + 90 * camera), rng)
    K = np.tile(intrinsics(FOCAL, SIZE), (frames, 1, 1))
    with torch.no_grad():
        embedding = body.embedding_of(BODY25)
        posed = body.restrict(embedding).pose(truth)
        exact = camera_to_pixels(world_to_camera(posed.points[0]), torch.as_tensor(K).to(posed.points)).double().numpy()
        joints = posed.joints[0, :, :JOINTS].double().numpy()
    height = body.yard_stick_of(BODY25) * FOCAL / -joints[:, :, 2].mean(axis=1)
    keypoints, confidence = np.zeros((frames, len(BODY25), 2)), np.zeros((frames, len(BODY25)))
    points = embedded_points(embedding)
    off = BIAS * rng.standard_normal((1, len(points), 2)) + NOISE * rng.standard_normal((frames, len(points), 2))
    keypoints[:, points] = exact + height[:, None, None] * off
    confidence[:, points] = rng.uniform(size=(frames, len(points))) > MISSING
    observations = Observations(
        person="000", layout=BODY25, keypoints=keypoints, confidence=confidence,
        names=tuple(f"{k:04d}" for k in range(frames)), image_sizes=np.tile(SIZE, (frames, 1)), is_clip=True, fps=FPS,
    )  # fmt: skip
    return Seen(observations, K, joints)


def in_camera(
    body: Body, poses: Poses, roots: np.ndarray, steps: slice, yaw: float, rng: np.random.Generator
) -> Parameters:
    """The true motion in the world of a camera that stands `yaw` to the side and looks at the middle of the clip."""
    frames = len(roots[steps])
    neutral = body.neutral(1, frames)
    betas = torch.as_tensor(rng.standard_normal(neutral["betas"].shape)).to(neutral["betas"])
    orient = roma.rotvec_to_rotmat(torch.as_tensor(poses.global_orient[steps]))
    pose = roma.rotvec_to_rotmat(torch.as_tensor(poses.body_pose[steps]).unflatten(1, (-1, 3)))
    shaped = body.pose(body.neutral(1, 1).replace({"betas": betas})).joints[0, 0]
    hip = float(shaped[0, 1] - shaped[7:9, 1].min()) + 0.08  # from the sole
    places = torch.as_tensor(roots[steps]) * hip / np.median(roots[:, 1])
    middle = (places.max(dim=0).values + places.min(dim=0).values) / 2
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, -yaw, 0.0]).double())
    pitch = roma.rotvec_to_rotmat(torch.tensor([np.arctan2(CAMERA_HEIGHT - float(middle[1]), DISTANCE), 0.0, 0.0]))
    eye = middle + turn.T @ torch.tensor([0.0, CAMERA_HEIGHT - float(middle[1]), DISTANCE]).double()
    camera = pitch.double() @ turn
    pelvis = (places - eye) @ camera.T
    like = neutral["transl"]
    return neutral.replace(
        {
            "betas": betas,
            "global_orient": (camera @ orient)[None, :, None].to(like),
            "body_pose": pose[None].to(like),
            "transl": (pelvis - shaped[0].double())[None].to(like),
        }
    )


def fit(body: Body, seen: Seen, recipe: FitConfig) -> Solution:
    case = bind(body, seen.observations, seen.K, torch.zeros(0))
    found = hypotheses.search(case, recipe, lambda *_: None)
    return solve(found.case, found.start, recipe)


def judge(solution: Solution, seen: Seen) -> Iterator[float]:
    with torch.no_grad():
        fitted = solution.body.bones.pose(solution.parameters).points[0, :, :JOINTS].double().numpy()
    truth = seen.joints
    accuracy = measure(fitted, truth)
    a, b = fitted - fitted[:, :1], truth - truth[:, :1]
    k = float((a * b).sum() / (a * a).sum())
    scaled = 1000 * np.linalg.norm(k * a - b, axis=-1).mean()
    yield from (accuracy.mpjpe, accuracy.mpjpe_p90, float(scaled))
    yield from (accuracy.pa_mpjpe, accuracy.pa_mpjpe_p90, accuracy.pa_frame_p90, scale(fitted, truth))
    yield from (100 * flips(fitted, truth), lean(fitted, truth), acceleration(fitted) / acceleration(truth))
    height = solution.body.yard_stick_of(BODY25) * FOCAL / -truth[:, :, 2].mean(axis=1)
    yield float(np.nanmean(100 * solution.error_px / height))
    yield solution.seconds


def scale(fitted: np.ndarray, truth: np.ndarray) -> float:
    """Size of the truth over that of the fit, as distances between joints say."""
    reach = [np.linalg.norm(joints[:, 1:] - joints[:, :1], axis=-1).mean() for joints in (truth, fitted)]
    return float(reach[0] / reach[1])


def flips(fitted: np.ndarray, truth: np.ndarray) -> float:
    """Share of limbs that point towards the camera instead of away from it, or the other way round."""
    wrong = []
    for a, b in LIMBS:
        fit, true = fitted[:, b, 2] - fitted[:, a, 2], truth[:, b, 2] - truth[:, a, 2]
        wrong.append((fit * true < 0) & (np.abs(fit) > 0.06) & (np.abs(true) > 0.06))
    return float(np.mean(wrong))


def lean(fitted: np.ndarray, truth: np.ndarray) -> float:
    """Mean angle in degrees between the lines from pelvis to neck."""
    a, b = (v[:, 12] - v[:, 0] for v in (fitted, truth))
    cosine = (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return float(np.rad2deg(np.arccos(cosine.clip(-1, 1))).mean())


def acceleration(joints: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(np.diff(joints, 2, axis=0) ** 2, axis=-1))))


if __name__ == "__main__":
    main()
