"""Do nine of ten 90 % intervals hold the truth about bodies? Photos and short clips of people, block by block.

    python -m benchmarks.body_error_bars [--motion FOLDER] [--people 200] [--clips 16] [--frames 20] [SETTING ...]

A cell is the share of |error| < 1.645 sd in percent with its standard error from person to person, in brackets the
root mean square of error / sd: 90 (1.0) is right, less than 90 is too sure. `pixels` are the keypoints in the picture,
`places` the same in space. People are drawn from what the shipped recipe believes (`benchmarks/body_draws.py`), or are
posed and move as was captured (the folder of `benchmarks/body_clips.py`) and of a shape that the model calls usual.
Keypoints have the recipe's own noise; `1 %` also has an error of 1 % of the person's height in every keypoint that
stays for a clip. The camera is known.

Two starts: the truth, which says whether the error bars fit the peak that they were made for; and nothing, as a user
has it. `found` are those of the latter whose joints are all within 5 cm of where the former ended.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import roma
import torch

from benchmarks import body_clips, body_truth
from benchmarks.body_draws import DISTANCE, FOCAL, FPS, SIZE, draw_people, draw_unposed, look
from benchmarks.error_bars import summary
from benchmarks.motion_retarget import read_all
from benchmarks.table import format_table
from fitting import bodies, hypotheses
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.config import FitConfig
from fitting.evidence import bind, embedded_points
from fitting.layouts import OPENPOSE137
from fitting.solve import solve
from fitting.types import Body, Observations, Parameters, Solution

RECIPES = Path(__file__).resolve().parents[1] / "cfg_files"
PHOTO, CLIP = "fit_smplx.yaml", "fit_smplx_video.yaml"
SEED = 12
NEAR = 0.05  # metres
BLOCKS = (
    "betas", "expression", "global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "transl",
)  # fmt: skip
COLUMNS = (*BLOCKS, "pixels", "places")


@dataclass(frozen=True)
class Setting:
    recipe: str
    captured: bool = False
    bias: float = 0.0  # share of the person's height
    kernel: str | None = None  # None: the recipe's


SETTINGS = {
    "photos, squared kernel": Setting(PHOTO, kernel="squared"),
    "photos": Setting(PHOTO),
    "photos, 1 %": Setting(PHOTO, bias=0.01),
    "photos, captured": Setting(PHOTO, captured=True),
    "photos, captured, 1 %": Setting(PHOTO, captured=True, bias=0.01),
    "clips, squared kernel": Setting(CLIP, kernel="squared"),
    "clips": Setting(CLIP),
    "clips, 1 %": Setting(CLIP, bias=0.01),
    "clips, captured": Setting(CLIP, captured=True),
    "clips, captured, 1 %": Setting(CLIP, captured=True, bias=0.01),
}

Scores = list[dict[str, np.ndarray]]  # one entry per photo or clip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--motion", type=Path, help="cmu/01.asf, 01_01.amc, 11.asf, 11_01.amc and the BVH files")
    parser.add_argument("--people", type=int, default=200, help="photos of a setting")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=20, help="of each clip")
    options = parser.parse_args(arguments)
    names = options.settings or [n for n, s in SETTINGS.items() if options.motion is not None or not s.captured]
    rows = []
    for name in names:
        for kind, scores in judge(SETTINGS[name], options):
            if not scores:
                continue
            rows.append([name, kind, len(scores), *(summary([one[column] for one in scores]) for column in COLUMNS)])
            print(rows[-1], flush=True)
    print("% within 1.645 sd +- standard error (rms of error / sd)")
    print(format_table(("setting", "start", "number", *COLUMNS), rows))


def judge(setting: Setting, options: argparse.Namespace) -> Iterator[tuple[str, Scores]]:
    recipe = recipe_of(setting)
    rng = np.random.default_rng(SEED)
    body = bodies.load(**recipe.body.model_dump())
    is_clip = setting.recipe == CLIP
    count, frames = (options.clips, options.frames) if is_clip else (options.people, 1)
    if setting.captured:
        truth = captured(body, recipe, options.motion, count, frames, rng)
    else:
        truth = draw_people(body, recipe.terms, OPENPOSE137, count, frames, rng)
    near, far, found = [], [], []
    for k, observations in enumerate(look(body, truth, recipe.terms, OPENPOSE137, setting.bias, rng)):
        true = truth if not is_clip else Parameters({n: v[k : k + 1] for n, v in truth.items()})
        at_truth, at_nothing = fits(body, observations, true, recipe)
        scores = standard_scores(at_nothing, true)
        near += standard_scores(at_truth, true)
        far += scores
        found += [score for score, same in zip(scores, same_place(at_truth, at_nothing), strict=True) if same]
    yield "truth", near
    yield "nothing", far
    yield "found", found


def recipe_of(setting: Setting) -> FitConfig:
    """With what the benchmark knows: the lens, and how much motion is smoothed."""
    recipe = FitConfig.load(RECIPES / setting.recipe, [("search.focal_factors", "[1.0]"), ("error_bars", "true")])
    terms, read = recipe.terms, recipe.read.model_copy(update={"cuts": ()})
    if terms.acceleration is not None:
        terms = terms.model_copy(update={"acceleration": terms.acceleration.model_copy(update={"strength": 1.0})})
    if setting.kernel is not None:
        changes = {"kernel": setting.kernel}
        terms = terms.model_copy(
            update={
                name: term.model_copy(update=changes)
                for name in ("keypoints", "acceleration")
                if (term := getattr(terms, name)) is not None
            }
        )
    return recipe.model_copy(update={"terms": terms, "read": read})


def captured(
    body: Body, recipe: FitConfig, folder: Path, count: int, frames: int, rng: np.random.Generator
) -> Parameters:
    """People as they are drawn, but of any usual shape, posed and moving as was captured."""
    terms = recipe.terms
    assert terms.shape is not None
    usual = terms.model_copy(update={"shape": terms.shape.model_copy(update={"sigma": 1.0})})
    people = draw_unposed(body, usual, count, frames, rng)
    if frames == 1:
        motions = read_all(folder)
        chosen = [motions[rng.integers(len(motions))] for _ in range(count)]
        pose = np.stack([motion.body_pose[rng.integers(len(motion.body_pose))] for motion in chosen])
        turned = {"body_pose": pose, "global_orient": body_truth.draw_views(count, rng)}
        like = people["transl"]
        placed = {
            n: roma.rotvec_to_rotmat(torch.as_tensor(v).to(like).unflatten(1, (1, -1, 3))) for n, v in turned.items()
        }
        return people.replace({**placed, "transl": like + like.new_tensor([0.0, -0.3, -DISTANCE])})
    moved = [move(body, folder, frames, rng) for _ in range(count)]
    names = ("betas", "global_orient", "body_pose", "transl")
    return people.replace({n: torch.cat([one[n] for one in moved]).to(people["transl"]) for n in names})


def move(body: Body, folder: Path, frames: int, rng: np.random.Generator) -> Parameters:
    """Some frames of a captured motion, anywhere in it and seen from anywhere round."""
    name = ("01_01", "11_01")[rng.integers(2)]
    poses, roots = body_clips.read_captured(folder, name)
    step = round(body_clips.MOTION_FPS / FPS)
    first = int(rng.integers(len(roots) - frames * step))
    return body_clips.in_camera(
        body, poses, roots, slice(first, first + frames * step, step), float(rng.uniform(-np.pi, np.pi)), rng
    )


def fits(body: Body, observations: Observations, truth: Parameters, recipe: FitConfig) -> tuple[Solution, Solution]:
    """From the truth by the last stage alone, and from nothing by all."""
    K = np.tile(intrinsics(FOCAL, SIZE), (len(observations), 1, 1))
    case = bind(body, observations, K, torch.zeros(0))
    start = Parameters({n: v if observations.is_clip else v.transpose(0, 1) for n, v in truth.items()}).to(case.K)
    last = recipe.model_copy(update={"stages": recipe.stages[-1:]})
    at_truth = solve(case, start, last)
    found = hypotheses.search(case, recipe, lambda *_: None)
    return at_truth, solve(found.case, found.start, recipe)


def standard_scores(solution: Solution, truth: Parameters) -> Scores:
    """Error over standard deviation, of every photo or of the clip: parameters, keypoints in pixels and in space."""
    problems, frames = truth["transl"].shape[:2]
    whole: dict[str, np.ndarray] = {}
    for name in BLOCKS:
        found, true = solution.parameters[name].double(), truth[name].double()
        turned = found.ndim == 5
        error = roma.rotmat_to_rotvec(found @ true.mT).flatten(2) if turned else found - true
        sd = solution.sd[name].reshape(problems, frames, -1)[:, : error.shape[1]]
        whole[name] = error.numpy() / sd
    embedding = solution.body.embedding_of(solution.observations.layout)
    assert embedding is not None and solution.projected_sd is not None
    like = torch.zeros(0, dtype=torch.float64)
    body = solution.body.restrict(embedding).to(like)
    true, found = (body.pose(one.to(like)).points for one in (truth, solution.parameters))
    K = torch.as_tensor(solution.K).unflatten(0, (problems, frames))
    true_px, found_px = (camera_to_pixels(world_to_camera(points), K) for points in (true, found))
    sd = solution.projected_sd[:, embedded_points(embedding)].reshape(problems, frames, -1, 1)
    pixels = (found_px - true_px).numpy() / sd
    whole["pixels"] = pixels[:, :, np.isfinite(sd).all(axis=(0, 1, 3))]  # without those that the detector does not have
    metres = np.stack([solution.landmark_covariance(k).metres for k in range(len(solution))])
    sd = np.sqrt(metres.diagonal(axis1=-2, axis2=-1)).reshape(problems, frames, -1, 3)
    whole["places"] = (found - true).numpy() / sd
    return [{name: score[k].ravel() for name, score in whole.items()} for k in range(problems)]


def same_place(one: Solution, other: Solution) -> list[bool]:
    """Of every photo, or of the clip: no joint is elsewhere."""
    a, b = (s.body.bones.pose(s.parameters).points for s in (one, other))
    away = (a - b).norm(dim=-1).amax(dim=(1, 2))
    return (away < NEAR).tolist()


if __name__ == "__main__":
    main()
