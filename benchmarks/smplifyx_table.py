"""People of known truth: this project with SMPLify-X's own recipe against SMPLify-X's procedure, frame by frame.

    python -m benchmarks.smplifyx_table [--frames 200] [--seed 7] [--motion shared/data/motion] [--kept reference.npz]
        [--timed 2] [--only keyfit] [--together 100]

Both get the same keypoints and camera and are compared by one objective in float64: SMPLify-X's last stage, which both
minimise (eyes that nothing holds, expression counted in coefficients). PA-MPJPE and MPJPE over the 22 body joints in
mm. OMP_NUM_THREADS says how many threads both have: people are shared out among them, the reference gets them for its
products. The reference minimises through only what keypoints need of the mesh, which gives the same numbers; `--timed`
frames run the whole mesh as SMPLify-X does, one by one, and its seconds are theirs per evaluation times the evaluations
of all. Reference results are kept in a file and continued from there: it is slow, a tenth as slow with `--together`
frames side by side, whose counts and ends are the same up to rounding. Where it ends in NaN, as SMPLify-X does when a
point of its camera stage is missing (0, 0), the frame is counted as failed and left out of every row.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and threads that wait should sleep. Said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import roma
import torch

from benchmarks.body_metrics import measure
from benchmarks.body_truth import FOCAL, SIZE, People, draw_people
from benchmarks.smplifyx_objective import COMPONENTS, SIZES, STAGES, Mesh, Seen, total_loss
from benchmarks.smplifyx_reference import Result, fit_frame
from benchmarks.smplifyx_together import fit_together
from benchmarks.table import format_table
from fitting import bodies, hypotheses
from fitting.bodies.body import SkinnedBody
from fitting.camera import intrinsics
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.smplifyx_yaml import translate
from fitting.solve import solve
from fitting.types import Body, Observations, Solution

SEED, JOINTS = 7, 22
FREE = 10.0  # radians: next to nothing
CHUNK = 2048  # people side by side, in 4 starts each
RECIPE = {"use_vposer": False, "body_prior_type": "l2", "joints_to_ign": [1, 9, 12], "num_pca_comps": COMPONENTS}
HEADER = ("fit", "seconds a frame", "objective", "<= reference", "MPJPE", "p90", "PA-MPJPE", "p90 ", "frame p90")
Rows = Mapping[str, np.ndarray]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED, help="of the people; each has a file of reference results")
    parser.add_argument("--motion", type=Path, help="folder of captured motion; without it all poses are the prior's")
    parser.add_argument("--kept", type=Path, default=Path("out/smplifyx_reference.npz"))
    parser.add_argument("--timed", type=int, default=2)
    parser.add_argument("--together", type=int, default=1, help="frames of the reference side by side")
    parser.add_argument("--only", choices=("both", "reference", "keyfit"), default="both")
    wanted = parser.parse_args(arguments)
    body = bodies.load("open_body", betas=10, expressions=10)
    assert isinstance(body, SkinnedBody)
    people = draw_people(body, max(wanted.frames, 200), np.random.default_rng(wanted.seed), wanted.motion)
    reference = None if wanted.only == "keyfit" else run_reference(body, people, wanted)
    rows = []
    if wanted.only != "reference":
        rows.append(run_keyfit(people, wanted.frames))
    judge = Mesh(body, torch.float64, whole=False)
    table = []
    known = None if reference is None else objectives(judge, people, reference)
    if known is not None:
        print(f"{(~np.isfinite(known)).sum()} of {len(known)} frames failed in SMPLify-X's procedure")
    if reference is not None and known is not None:
        per_evaluation = time_whole_mesh(body, people, wanted.timed)
        seconds = float(reference["evaluations"].mean()) * per_evaluation
        table.append(row("SMPLify-X's procedure", seconds, judge, people, reference, known))
    for found, seconds in rows:
        table.append(row("Keyfit, the same recipe", seconds, judge, people, found, known))
    table.append(truth_row(judge, people, wanted.frames))
    print(format_table(HEADER, table))


def row(name: str, seconds: float, judge: Mesh, people: People, fits: Rows, known: np.ndarray | None) -> list[object]:
    count = len(fits["betas"])
    values = objectives(judge, people, fits)
    kept = np.ones(count, dtype=bool) if known is None else np.isfinite(known[:count])
    lower = float("nan") if known is None else 100 * float((values <= known[:count] * (1 + 1e-6))[kept].mean())
    found = measure(joints_of(judge, fits)[kept], people.joints[:count, :JOINTS][kept])
    return [
        name, seconds, float(values[kept].mean()), f"{lower:.1f} %", found.mpjpe, found.mpjpe_p90, found.pa_mpjpe,
        found.pa_mpjpe_p90, found.pa_frame_p90,
    ]  # fmt: skip


def truth_row(judge: Mesh, people: People, count: int) -> list[object]:
    """What the truth itself scores, its fingers as near as the components come."""
    rows = {name: values[:count] for name, values in people.truth.rows().items()}
    for k, side in enumerate(("left", "right")):
        away = torch.as_tensor(rows[f"{side}_hand_pose"]).double() - judge.means[k]
        rows[f"{side}_hand_pca"] = (away @ judge.components[k].T).numpy()
    values = objectives(judge, people, to_reference(judge, rows))
    return ["the truth", 0.0, float(values.mean()), "", 0.0, 0.0, 0.0, 0.0, 0.0]


# ------------------------------------------------------------------ the two fits


def run_keyfit(people: People, count: int) -> tuple[Rows, float]:
    """SMPLify-X's configuration, translated, on the open body."""
    config, body = recipe()
    began = time.perf_counter()
    solution = fit(body, people, count, config)
    seconds = (time.perf_counter() - began) / count
    judge = Mesh(body.inner, torch.float64, whole=False)
    return to_reference(judge, solution.parameters.rows()), seconds


def recipe() -> tuple[FitConfig, bodies.DecodedBody]:
    """With two differences that make the objective SMPLify-X's own: eyes, which carry the open body's eye keypoints,
    turn freely, and expressions are not counted in the model's standard deviations."""
    tree = translate(RECIPE).tree
    tree["body"] = {**tree["body"], "model": "open_body"}
    tree["terms"]["eyes"] = {"sigma": FREE}
    for stage in tree["stages"]:
        if "expression" in stage["free"]:  # from the last on
            stage["free"] = [*stage["free"], "leye_pose", "reye_pose"]
    config = FitConfig.model_validate({**tree, "error_bars": False, "chunk": CHUNK})
    body = bodies.load(**config.body.model_dump())
    assert isinstance(body, bodies.DecodedBody)  # its hands are components
    unit = torch.ones_like(body.inner.expression_sd)
    return config, replace(body, inner=replace(body.inner, expression_sd=unit))


def fit(body: Body, people: People, count: int, config: FitConfig) -> Solution:
    observations = first(people, count)
    K = np.tile(intrinsics(FOCAL, SIZE), (count, 1, 1))
    case = bind(body, observations, K, torch.zeros(0))
    found = hypotheses.search(case, config, lambda *_: None)
    return solve(found.case, found.start, config, begun=found.stages)


def first(people: People, count: int) -> Observations:
    seen = people.observations
    return replace(
        seen, keypoints=seen.keypoints[:count], confidence=seen.confidence[:count], names=seen.names[:count],
        image_sizes=seen.image_sizes[:count], truth=None,
    )  # fmt: skip


def run_reference(body: SkinnedBody, people: People, wanted: argparse.Namespace) -> Rows:
    """Frame after frame, or many side by side; what the file has already is taken from there."""
    count, kept = wanted.frames, wanted.kept
    mesh = Mesh(body, torch.float32, whole=False)
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*SIZES, "transl", "evaluations")}
    who = np.array(np.nansum(people.observations.keypoints))
    if kept.is_file():
        with np.load(kept) as arrays:
            if "people" in arrays and not np.isclose(
                arrays["people"], who, rtol=1e-7
            ):  # drawn alike, rounded otherwise
                raise SystemExit(f"{kept}: results of other people: another --seed, or with and without --motion")
            found = {name: list(arrays[name]) for name in found}
    kept.parent.mkdir(parents=True, exist_ok=True)
    first, waiting = len(found["betas"]), dict[int, Result]()
    seen = [seen_in(people, k, torch.float32) for k in range(first, count)]
    for k, result in fit_together(mesh, seen, wanted.together):
        waiting[first + k] = result
        while (result := waiting.pop(len(found["betas"]), None)) is not None:  # the file has all up to some frame
            for name in (*SIZES, "transl"):
                found[name].append(result.fit[name][0].double().numpy())
            found["evaluations"].append(np.array(result.evaluations))
            np.savez(kept, people=who, **{name: np.array(values) for name, values in found.items()})
    return {name: np.array(values[:count]) for name, values in found.items()}


def time_whole_mesh(body: SkinnedBody, people: People, count: int) -> float:
    """Seconds of one evaluation through all vertices; NaN where none is asked for."""
    if count == 0:
        return float("nan")
    mesh = Mesh(body, torch.float32)
    results = [fit_frame(mesh, seen_in(people, k, torch.float32)) for k in range(count)]
    return sum(r.seconds for r in results) / sum(r.evaluations for r in results)


def seen_in(people: People, k: int, dtype: torch.dtype) -> Seen:
    seen, K = people.observations, intrinsics(FOCAL, SIZE)
    return Seen(
        torch.as_tensor(seen.keypoints[k], dtype=dtype),
        torch.as_tensor(seen.confidence[k], dtype=dtype),
        float(SIZE[1]),
        torch.as_tensor(K[:2, 2], dtype=dtype),
    )


# ------------------------------------------------------------------ one measure for both


def to_reference(mesh: Mesh, rows: Rows) -> Rows:
    """Rows of this project (world y up, `transl` on top of the rest pelvis) as SMPLify-X counts them."""
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    world = roma.rotvec_to_rotmat(torch.as_tensor(rows["global_orient"]).double())
    coefficients = torch.as_tensor(np.concatenate([rows["betas"], rows["expression"]], axis=1)).double()
    shaped = mesh.template + torch.einsum("vdc,fc->fvd", mesh.directions, coefficients)
    pelvis = torch.einsum("v,fvd->fd", mesh.regressor[0], shaped)
    transl = (pelvis + torch.as_tensor(rows["transl"]).double()) @ turn - pelvis
    same = ("betas", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "expression")
    return {
        **{name: np.asarray(rows[name], dtype=np.float64) for name in same},
        "left_hand": np.asarray(rows["left_hand_pca"], dtype=np.float64),
        "right_hand": np.asarray(rows["right_hand_pca"], dtype=np.float64),
        "global_orient": roma.rotmat_to_rotvec(turn @ world).numpy(),
        "transl": transl.numpy(),
    }


def frame_of(fits: Rows, k: int) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(fits[name][k : k + 1]) for name in (*SIZES, "transl")}


def objectives(judge: Mesh, people: People, fits: Rows) -> np.ndarray:
    found = [
        total_loss(judge, frame_of(fits, k), seen_in(people, k, torch.float64), STAGES[-1])
        for k in range(len(fits["betas"]))
    ]
    return torch.stack(found).numpy()


def joints_of(judge: Mesh, fits: Rows) -> np.ndarray:
    """Body joints in the camera's frame turned to the world's axes, without the translation."""
    joints = [judge.keypoints(frame_of(fits, k))[1][:JOINTS] for k in range(len(fits["betas"]))]
    return torch.stack(joints).numpy() * [1.0, -1.0, -1.0]


if __name__ == "__main__":
    main()
