"""Do nine of ten 90 % intervals hold the truth? Clips drawn from the recipe's own beliefs, block by block.

    python -m benchmarks.error_bars [--clips 50] [--frames 20] [SETTING ...]

A cell is the share of |error| < 1.645 sd in percent with its standard error from clip to clip, in brackets the root
mean square of error / sd: 90 (1.0) is right, less than 90 is too sure. `recipe` is the shipped one, with white noise
and with a bias of 1 % of the distance of the eyes that stays for a clip; without offsets a fit does not know of such a
thing. White noise alone is less than the recipe believes, whose offsets are 1.5 %: the bars are then too wide, as they
should be. By name also: `exact`, the recipe less all that is not a normal distribution, so that the truth is drawn from
what the fit believes; `chain`, `openings` and `bounds` add to it one thing each: smoothness, the
distances of lids and lips, limits.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import roma
import torch

from benchmarks.draws import Noise, draw_clip, look
from benchmarks.table import format_table
from fitting import bodies, samples, start
from fitting.config import FitConfig
from fitting.evidence import bind, embedded_points
from fitting.solve import solve
from fitting.types import Body, Parameters, Solution

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
SEED = 11
WITHIN = 1.645  # standard deviations that hold 90 % of a normal distribution
BLOCKS = ("betas", "expression", "jaw_pose", "leye_pose", "reye_pose", "global_orient", "transl")
OFFSETS_OFF = {"offsets": None}
LIMITS_OFF = dict.fromkeys(("expression_bounds", "jaw_limits", "eye_limits"))
EXACT = {"openings": None, "acceleration": None, **LIMITS_OFF}


@dataclass(frozen=True)
class Setting:
    """What is changed in the recipe, how wrong the landmarks are, and whether the fit knows offsets."""

    changes: dict[str, None]
    bias: float = 0.0  # share of the yard-stick, in every landmark and coordinate of a clip
    offsets: bool = True
    kernel: str | None = "squared"  # None: the recipe's


SETTINGS = {
    "exact, biased": Setting(EXACT, bias=0.015),
    "exact, white, no offsets": Setting(EXACT, offsets=False),
    "exact, white": Setting(EXACT),
    "exact, 1 %": Setting(EXACT, bias=0.01),
    "exact, 1 %, no offsets": Setting(EXACT, bias=0.01, offsets=False),
    "chain": Setting({"openings": None, **LIMITS_OFF}, bias=0.01),
    "openings": Setting({**LIMITS_OFF, "acceleration": None}, bias=0.01),
    "bounds": Setting({"openings": None, "acceleration": None}, bias=0.01),
    "recipe, white": Setting({}, kernel=None),
    "recipe, 1 %": Setting({}, bias=0.01, kernel=None),
    "recipe, 1 %, no offsets": Setting({}, bias=0.01, offsets=False, kernel=None),
}


USUAL = tuple(name for name in SETTINGS if name.startswith("recipe"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--frames", type=int, default=20, help="of each clip")
    options = parser.parse_args(arguments)
    names = options.settings or USUAL
    recipe = FitConfig.load(RECIPE)
    body = bodies.load(**recipe.body.model_dump())
    columns = [coverage(body, recipe, SETTINGS[name], options.clips, options.frames) for name in names]
    print(f"{options.clips} clips of {options.frames} frames: % within 1.645 sd +- standard error (rms of error / sd)")
    rows = [
        [name, *(column[block] for block in (*BLOCKS, "pixels"))] for name, column in zip(names, columns, strict=True)
    ]
    print(format_table(("setting", *BLOCKS, "pixels"), rows))


def coverage(body: Body, recipe: FitConfig, setting: Setting, clips: int, frames: int) -> dict[str, str]:
    """One line of the table."""
    drawn, fitted = variants(recipe, setting)
    rng = np.random.default_rng(SEED)
    scores: dict[str, list[np.ndarray]] = {}
    for _ in range(clips):
        truth = draw_clip(body, drawn.terms, frames, rng)
        observations = look(body, truth, drawn.terms, Noise(None, setting.bias), rng)
        like = torch.zeros(0)
        case = bind(body, observations, start.camera_matrices(observations, fitted.camera), like)
        for name, score in standard_scores(solve(case, start.guess(case), fitted), truth).items():
            scores.setdefault(name, []).append(score.ravel())
    return {name: summary(parts) for name, parts in scores.items()}


def variants(recipe: FitConfig, setting: Setting) -> tuple[FitConfig, FitConfig]:
    """The recipe that the truth is drawn from, and the one it is fitted with. Frames of an unsmoothed clip jump: no
    cuts are looked for."""
    terms = recipe.terms.model_copy(update=setting.changes)
    assert terms.keypoints is not None
    if terms.acceleration is not None:  # the truth moves as `blocks` say, whatever its landmarks' noise
        terms = terms.model_copy(update={"acceleration": terms.acceleration.model_copy(update={"strength": 1.0})})
    if setting.kernel is not None:
        terms = terms.model_copy(
            update={
                name: term.model_copy(update={"kernel": setting.kernel})
                for name in ("keypoints", "acceleration")
                if (term := getattr(terms, name)) is not None
            }
        )
    read = recipe.read.model_copy(update={"cuts": ()})
    drawn = recipe.model_copy(update={"terms": terms, "read": read, "error_bars": True})
    if setting.offsets:
        return drawn, drawn
    stages = tuple(s.model_copy(update={"free": tuple(f for f in s.free if f != "offsets")}) for s in drawn.stages)
    return drawn, drawn.model_copy(update={"terms": terms.model_copy(update=OFFSETS_OFF), "stages": stages})


def standard_scores(solution: Solution, truth: Parameters) -> dict[str, np.ndarray]:
    """Error over standard deviation, of every parameter and of every projected landmark."""
    scores = {}
    for name in BLOCKS:
        found, true = solution.parameters[name].double(), truth[name].double()
        if found.ndim == 5:
            error = roma.rotmat_to_rotvec(found @ true.mT).flatten(2)
        else:
            error = found - true
        sd = solution.sd[name][: error.shape[1]]  # a shared block's rows are all the same
        scores[name] = error[0].numpy() / sd
    assert solution.projected_sd is not None
    embedding = solution.body.embeddings[solution.observations.layout.name]
    points = embedded_points(embedding)
    like = solution.parameters["transl"]
    true_px = samples.project(solution.body.restrict(embedding), truth.to(like), solution.K)
    scores["pixels"] = (solution.projected[:, points] - true_px) / solution.projected_sd[:, points, None]
    return scores


def summary(scores: list[np.ndarray]) -> str:
    """Of some clips, an array each. Values of a clip hang together, clips do not: the share's standard error is that of
    a ratio of sums over clips (Cochran, Sampling Techniques, 1977, eq. 6.9)."""
    inside = np.array([np.sum(np.abs(score) < WITHIN) for score in scores])
    size = np.array([score.size for score in scores])
    share = inside.sum() / size.sum()
    spread = np.sum((inside - share * size) ** 2) * len(scores) / max(len(scores) - 1, 1)
    rms = np.sqrt(np.mean(np.concatenate([score.ravel() for score in scores]) ** 2))
    return f"{100 * share:.1f} +-{100 * np.sqrt(spread) / size.sum():.1f} ({rms:.2f})"


if __name__ == "__main__":
    main()
