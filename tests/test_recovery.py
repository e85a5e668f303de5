"""Parameters drawn from the priors come back from noise-free keypoints of the open head, with every solver."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import roma
import torch
from made_clips import FLOAT64, case_of, degrees_apart, placed, seen

from fitting import bodies
from fitting.config import FitConfig, StageConfig
from fitting.evidence import bind
from fitting.samples import TalkingHead, talking_head
from fitting.solve import solve
from fitting.solvers import SOLVERS
from fitting.start import camera_matrices, guess
from fitting.types import ConfigError, Parameters, Solution, Stop

RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
HEADS, IDENTITIES = 3, 10


class Effort(NamedTuple):
    """How many iterations a solver gets, and how near to the truth it has to come with them."""

    iterations: tuple[int, int] = (10, 25)  # of placing, of everything
    pixels: float = 0.02
    degrees: float = 0.2  # of head, jaw and eyes
    action: float = 0.02
    identity: float = 0.1  # of the identity's own size


# Gradients alone are slow where jaw, expression and identity explain the same points.
EFFORTS = {"adam": Effort((40, 200), 0.4, 9.0, 0.3, 0.8), "lbfgs": Effort((15, 170), 0.4, 9.0, 0.3, 0.8)}


@pytest.fixture(scope="module")
def head():
    return bodies.load("open_head", betas=IDENTITIES).to(FLOAT64)


@pytest.fixture(scope="module")
def truth(head) -> list[Parameters]:
    """Heads that turn, talk and look about, one problem each."""
    rng = np.random.default_rng(3)
    heads = []
    for _ in range(HEADS):
        parameters = placed(head, rng.uniform(-20, 20, (1, 3)))
        expression = torch.zeros(1, 1, len(head.expression_names)).double()
        for name, strength in (("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6), ("browInnerUp", 0.5)):
            expression[..., head.expression_names.index(name)] = strength * rng.uniform(0.5, 1.2)
        blink = rng.uniform(0.0, 0.3)
        for side in ("Left", "Right"):
            expression[..., head.expression_names.index(f"eyeBlink{side}")] = blink
        jaw = roma.rotvec_to_rotmat(torch.tensor([rng.uniform(0.05, 0.3), 0.0, 0.0]).double())
        gaze = roma.rotvec_to_rotmat(torch.tensor([*rng.uniform(-0.2, 0.2, 2), 0.0]).double())
        heads.append(
            parameters.replace(
                {
                    "betas": torch.as_tensor(rng.normal(0, 0.8, (1, 1, IDENTITIES))),
                    "expression": expression,
                    "jaw_pose": jaw.expand(1, 1, 1, 3, 3),
                    "leye_pose": gaze.expand(1, 1, 1, 3, 3),
                    "reye_pose": gaze.expand(1, 1, 1, 3, 3),
                }
            )
        )
    return heads


def photos(heads: list[Parameters]) -> Parameters:
    """Unrelated photos, one a head: every block has a row for each, identity too."""
    return Parameters({n: torch.cat([h[n] for h in heads], dim=1) for n in heads[0]})


def effort(solver: str) -> Effort:
    return EFFORTS.get(solver, Effort())


def config(solver: str, chunk: int = 256, iterations: tuple[int, int] | None = None) -> FitConfig:
    """The recipe's terms, but keypoints are believed to a thousandth of the eyes' distance: priors hardly pull."""
    recipe = FitConfig.load(RECIPE, [("terms.keypoints.sigma", "0.001"), ("terms.openings.sigma", "0.001")])
    place, everything = iterations or effort(solver).iterations
    frame = ("rotation", "translation")
    stages = (
        StageConfig(name="place", free=frame, solver=solver, iterations=place, tolerance=1e-7),
        StageConfig(
            name="all",
            free=(*frame, "expression", "jaw", "eyes", "shape"),
            solver=solver,
            iterations=everything,
            tolerance=1e-7,
        ),
    )
    return recipe.model_copy(update={"stages": stages, "chunk": chunk, "precision": "float64"})


def fit(head, parameters: Parameters, settings: FitConfig) -> Solution:
    case = case_of(head, seen(head, parameters))
    return solve(case, guess(case), settings)


@pytest.fixture(scope="module", params=SOLVERS)
def recovered(request, head, truth) -> tuple[Solution, Effort]:
    return fit(head, photos(truth), config(request.param)), effort(request.param)


def test_points_are_where_they_were_seen(recovered):
    solution, limit = recovered
    assert solution.valid.all()
    assert (solution.error_px < limit.pixels).all(), solution.error_px
    # The outer eye corners are some 60 to 90 pixels apart.
    assert (solution.error_percent > solution.error_px).all()
    assert (solution.error_percent < 2 * solution.error_px).all()


def test_nobody_is_worse_than_at_the_start(recovered):
    solution, _ = recovered
    assert all(stop != Stop.KEPT_START for stop in solution.stop)
    before, after = sum(solution.cost_start.values()), sum(solution.cost_end.values())
    assert (after < before).all()
    assert (solution.error_px < solution.start_error_px).all()


@pytest.mark.parametrize("name", ["global_orient", "jaw_pose", "leye_pose", "reye_pose"])
def test_pose_jaw_and_gaze_are_recovered(recovered, truth, name):
    solution, limit = recovered
    apart = degrees_apart(solution.parameters[name], torch.cat([head[name] for head in truth]))
    assert (apart < limit.degrees).all(), apart.flatten().tolist()


@pytest.mark.parametrize("name", ["mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft"])
def test_the_strength_of_an_action_is_recovered(recovered, head, truth, name):
    solution, limit = recovered
    index = head.expression_names.index(name)
    expected = torch.cat([h["expression"] for h in truth])[..., index]
    torch.testing.assert_close(solution.parameters["expression"][..., index], expected, atol=limit.action, rtol=0)


def test_identity_is_recovered_as_far_as_the_face_shows_it(recovered, truth):
    solution, limit = recovered
    expected = torch.cat([head["betas"] for head in truth])
    missed = (solution.parameters["betas"] - expected).norm()
    assert missed < limit.identity * expected.norm()


@pytest.fixture(scope="module")
def together(head, truth) -> Solution:
    return fit(head, photos(truth), config("lm", iterations=(5, 8)))


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_make_no_difference(head, truth, together, chunk):
    """Same steps for each problem, whoever stands beside it; only rounding may differ."""
    apart = fit(head, photos(truth), config("lm", chunk, iterations=(5, 8)))
    np.testing.assert_allclose(apart.projected, together.projected, atol=1e-4)
    for name, value in together.parameters.items():
        torch.testing.assert_close(apart.parameters[name], value, atol=1e-5, rtol=0)
    assert (apart.iterations == together.iterations).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_make_no_difference(head, truth, together, threads, monkeypatch):
    """Chunks are shared out among torch's threads, which are given back; progress counts all of them."""
    monkeypatch.setattr("fitting.solve.SMALLEST_CHUNK", 1)
    before, told = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        case = case_of(head, seen(head, photos(truth)))
        settings = config("lm", 1, iterations=(5, 8))
        shared = solve(case, guess(case), settings, lambda _, done, count: told.append((done, count)))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(shared.projected, together.projected, atol=1e-4)
    assert (shared.iterations == together.iterations).all() and shared.stop == together.stop
    assert max(done for done, _ in told) == len(truth) and {count for _, count in told} == {len(truth)}


def test_one_photo_alone_gives_what_it_gives_among_others(head, truth, together):
    alone = fit(head, truth[1], config("lm", iterations=(5, 8)))
    np.testing.assert_allclose(alone.projected[0], together.projected[1], atol=1e-4)
    torch.testing.assert_close(alone.parameters["betas"][0], together.parameters["betas"][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_frame_that_nobody_saw_does_not_stop_the_others(head, truth, solver):
    """Nothing says where the head is in that frame: no term reaches it, and its unknowns have no curvature."""
    clip = photos([truth[0]] * 3).replace({"betas": truth[0]["betas"]})
    observations = seen(head, clip, is_clip=True)
    observations.confidence[1] = 0
    terms = {"keypoints": {}, "expression": {}}
    stage = {"name": "all", "free": ["rotation", "translation", "expression"], "solver": solver, "iterations": 40}
    case = case_of(head, observations)
    solution = solve(case, guess(case), FitConfig.model_validate({"terms": terms, "stages": [stage]}))
    assert solution.source == ("fitted", "interpolated", "fitted")
    assert (solution.error_px < 0.9 * solution.start_error_px)[[0, 2]].all()
    torch.testing.assert_close(
        solution.parameters["transl"][0, 1], solution.parameters["transl"][0, 0], atol=1e-3, rtol=0
    )


def test_a_block_that_the_body_lacks_is_refused_by_name(head, truth):
    settings = config("lm")
    odd = settings.stages[0].model_copy(update={"free": ("rotation", "tail")})
    with pytest.raises(ConfigError, match="tail"):
        fit(head, truth[0], settings.model_copy(update={"stages": (odd,)}))


@pytest.mark.parametrize(
    "key", ["terms.acceleration.blocks.jaw", "terms.anchor.blocks.beta", "terms.keypoints.groups.lip"]
)
def test_a_term_that_names_nothing_is_refused(head, truth, key):
    """`jaw` is a word for stages; as a block of a term it would silently leave the jaw free."""
    with pytest.raises(ConfigError, match=key.split(".")[-1]):
        fit(head, truth[0], FitConfig.load(RECIPE, [(key, "0.1")]))


def test_a_cut_is_found_and_not_smoothed_over(open_head):
    """Two clips of one head end to end: the second begins elsewhere, looking elsewhere."""
    one, two = (talking_head(open_head, TalkingHead(frames=20, seed=seed)) for seed in (3, 3))
    keypoints = np.concatenate([one.keypoints, two.keypoints + [90.0, -40.0]])
    both = replace(
        one,
        keypoints=keypoints,
        confidence=np.concatenate([one.confidence, two.confidence]),
        names=tuple(f"{k:06d}" for k in range(40)),
        image_sizes=np.tile(one.image_sizes[:1], (40, 1)),
        timestamps=None,
        pictures=None,
        start=None,
        truth=None,
    )
    config = FitConfig.load(Path(__file__).parents[1] / "cfg_files" / "fit_flame.yaml", [("error_bars", "false")])
    like = torch.zeros(0)
    case = bind(open_head, both, camera_matrices(both, config.camera), like)
    solution = solve(case, guess(case), config)
    assert solution.cuts == (20,)
    assert solution.error_px[18:22].max() < 1.5 * np.median(solution.error_px)
