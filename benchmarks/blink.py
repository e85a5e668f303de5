"""Does smoothing keep blinks? sample:talking_head with 1 px noise, fitted with the recipe's smoothing and without.

    python -m benchmarks.blink [--frames 250]

Jitter is the root mean square of second differences of keypoints, mm per frame^2 within the head: of the lids in
frames near no blink, of the face in the still ones among these, where the truth hardly moves. `added` is that of the
fit's difference from the truth, in all frames. Depth of a blink is by how much the opening of the lids, in
millimetres, falls from its median to the blink's least; means over all blinks of both eyes.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.table import format_table
from fitting import bodies, samples, start
from fitting.config import FitConfig
from fitting.evidence import bind, embedded_points
from fitting.solve import solve
from fitting.truth import from_rows
from fitting.types import Body, Observations

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
CLOSED = 0.3  # strength of the true action from which on it is a blink
AROUND = 4  # frames before and after a blink that are not judged for jitter
STILL_MM = 0.3  # second difference of the true face, root mean square over its points, below which it is still
HEADER = ("fit", "lids", "less", "face, still", "less", "added", "less", "opening", "blink depth", "less", "px")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--noise", type=float, default=1.0, help="pixels")
    options = parser.parse_args(arguments)
    frames = options.frames
    recipe = FitConfig.load(RECIPE, [("error_bars", "false")])
    body = bodies.load(**recipe.body.model_dump())
    observations = samples.talking_head(body, samples.TalkingHead(frames=frames, noise_px=options.noise))
    assert observations.truth is not None
    blink = np.asarray(observations.truth.values["expression"])[:, body.expression_names.index("eyeBlinkLeft")]
    blinks = Blinks.of(blink)
    true_points = points_in_head(body, observations, dict(observations.truth.values))
    judge = Judge(body, observations, true_points, blinks)
    measured = [judge.measure("truth", true_points, 0.0)]
    for name, update in (("unsmoothed", {"acceleration": None}), (recipe_name(recipe), {})):
        config = recipe.model_copy(update={"terms": recipe.terms.model_copy(update=update)})
        case = bind(body, observations, start.camera_matrices(observations, config.camera), torch.zeros(0))
        solution = solve(case, start.guess(case), config)
        error = float(solution.error_px.mean())
        points = points_in_head(body, observations, solution.parameters.rows())
        measured.append(judge.measure(name, points, error))
    clip = f"{samples.NAME}, {frames} frames, {len(blinks.spans)} blinks, {options.noise:g} px noise"
    print(f"{clip}; mm, `less` than unsmoothed")
    print(format_table(HEADER, [m.row(measured[1]) for m in measured]))


def recipe_name(recipe: FitConfig) -> str:
    term = recipe.terms.acceleration
    return "smoothed" if term is None else f"smoothed, {term.kernel} {term.kernel_width:g}"


@dataclass(frozen=True)
class Blinks:
    """Spans of frames with closed lids, and which frames are far from all of them."""

    spans: list[slice]
    calm: np.ndarray

    @staticmethod
    def of(strength: Float[np.ndarray, " frames"]) -> Blinks:
        closed = np.concatenate([[False], strength > CLOSED, [False]])
        edges = np.flatnonzero(np.diff(closed.astype(int)))
        spans = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        calm = np.ones(len(strength), dtype=bool)
        for span in spans:
            calm[max(span.start - AROUND, 0) : span.stop + AROUND] = False
        return Blinks(spans, calm)


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    name: str
    lids: float
    face: float
    added: float
    opening: float
    depth: float
    error_px: float

    def row(self, unsmoothed: Measured) -> tuple[object, ...]:
        def less(what: str) -> str:
            other = getattr(unsmoothed, what)
            return f"{100 * (1 - getattr(self, what) / other):.1f} %"

        return (
            self.name, self.lids, less("lids"), self.face, less("face"), self.added, less("added"),
            self.opening, self.depth, less("depth"), self.error_px,
        )  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """What a fit is held against."""

    body: Body
    observations: Observations
    truth: Float[np.ndarray, "frames points 3"]  # in the head
    blinks: Blinks

    def measure(self, name: str, points: Float[np.ndarray, "frames points 3"], error_px: float) -> Measured:
        layout = self.observations.layout
        place = {int(p): k for k, p in enumerate(embedded_points(self.body.embeddings[layout.name]))}
        lids = [place[i] for i in layout.groups["lids"] if i in place]
        calm = self.blinks.calm[1:-1]
        still = calm & (jerks(self.truth) < STILL_MM)
        upper, lower = np.transpose([(place[a], place[b]) for a, b in layout.distances["eyes"]])
        opening = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(axis=1)
        usual = float(np.median(opening[self.blinks.calm]))
        return Measured(
            name=name,
            lids=mean_square_root(jerks(points[:, lids])[calm]),
            face=mean_square_root(jerks(points)[still]),
            added=mean_square_root(jerks(points - self.truth)),
            opening=usual,
            depth=float(np.mean([usual - opening[span].min() for span in self.blinks.spans])),
            error_px=error_px,
        )


def jerks(points: Float[np.ndarray, "frames points 3"]) -> np.ndarray:
    """Of every frame but the first and the last: root mean square of its points' second differences."""
    return np.sqrt(np.mean(np.sum(np.diff(points, 2, axis=0) ** 2, axis=-1), axis=1))


def mean_square_root(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def points_in_head(body: Body, observations: Observations, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Keypoints in millimetres in the head's axes: (frames, points, 3)."""
    parameters = from_rows(body, rows)
    with torch.no_grad():
        posed = body.restrict(body.embeddings[observations.layout.name]).pose(parameters)
        turned = (posed.points - posed.joints[:, :, :1]) @ posed.rotations[:, :, body.head_joint]
    return 1000 * turned[:, 0].double().numpy()


if __name__ == "__main__":
    main()
