"""Error bars against the inverse of the whole matrix, made the slow way, and against what repeated fits scatter by."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting.curvature import LeastSquares, item_weights
from fitting.layouts import MEDIAPIPE478
from fitting.problem import Problem
from fitting.solve import nuisance_blocks
from fitting.solvers import SOLVERS, SolverOptions
from fitting.terms import Evidence, Terms
from fitting.types import Parameters
from fitting.uncertainty import DOUBT, centre, error_bars

OWN = ("global_orient", "transl", "expression", "jaw_pose")
SHARED = ("betas", "keypoint_offsets")
SIGMA, SUBJECT_PX, STICK = 0.01, 60.0, 0.09  # of the subject; pixels; metres
TERMS = {
    "keypoints": {"sigma": SIGMA},
    "offsets": {"sigma": 0.01},
    "shape": {},
    "expression": {"sigma": 0.5},
    "jaw": {"sigma": 0.1, "factors": (1.0, 1.0, 1.0)},
}
SMOOTH = {"acceleration": {"blocks": {"expression": 0.2, "global_orient": 0.02, "transl": 0.01}}}


def drawn(body, problems: int, frames: int, seed: int) -> Parameters:
    """Heads as TERMS believes them to be, each somewhere else."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, sd):
        return sd * torch.randn(problems, *shape, generator=generator, dtype=torch.float64)

    sizes = {block.name: block.size for block in body.blocks}
    points = len(body.embeddings["mediapipe478"].points)
    place = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    return body.neutral(problems, frames).replace(
        {
            "betas": normal(1, sizes["betas"], sd=1.0),
            "expression": normal(frames, sizes["expression"], sd=0.5),
            "global_orient": roma.rotvec_to_rotmat(normal(frames, 1, 3, sd=0.2)),
            "jaw_pose": roma.rotvec_to_rotmat(normal(frames, 1, 3, sd=0.1)),
            "transl": place + normal(frames, 3, sd=0.05),
            "keypoint_offsets": normal(1, 2 * points, sd=0.01 * STICK),
            "focal": torch.zeros(problems, 1, 1, dtype=torch.float64),
        }
    )


def clip(body, truth: Parameters, terms: dict, free: tuple[str, ...], noise_px: float = 0.0, seed: int = 0) -> Problem:
    """Problems whose keypoints are the truth's with noise, based at the truth."""
    problems, frames = truth["transl"].shape[:2]
    embedding = body.embeddings["mediapipe478"]
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    blank = torch.zeros(problems, frames, len(embedding.points), 2, dtype=torch.float64)
    evidence = Evidence(
        layout=MEDIAPIPE478,
        points=embedding.points,
        keypoints=blank,
        confidence=torch.ones_like(blank[..., 0]),
        subject_px=torch.full((problems, frames), SUBJECT_PX, dtype=torch.float64),
        seen=torch.ones(problems, frames, dtype=torch.bool),
        linked=torch.ones(problems, frames - 1, dtype=torch.bool),
    )
    named = Terms.model_validate(terms).named()
    matrices = K.expand(problems, frames, 3, 3)
    problem = Problem(body.restrict(embedding), STICK, evidence, matrices, named, truth, truth, ())
    pixels = problem.scene(truth).pixels
    noise = noise_px * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    blocks = {block.name: block for block in (*body.blocks, *nuisance_blocks(problem))}
    return replace(
        problem, evidence=replace(evidence, keypoints=pixels + noise), free=tuple(blocks[name] for name in free)
    )


def slow_covariance(problem: Problem) -> torch.Tensor:
    """Inverse of J' W J of all terms, J by automatic differentiation; of one problem, in natural steps."""
    x, whole = problem.zero()[0], 0.0
    for term in problem.terms.values():

        def values(y, term=term):
            return term.residuals(problem.scene(problem.retract(y[None]))).values[0]

        residuals = term.residuals(problem.scene(problem.base))
        if residuals is None:  # nothing to be smoothed where frames do not follow each other
            continue
        weights = item_weights(term, residuals)[0, ..., None].expand(residuals.values.shape[1:]).flatten()
        J = torch.autograd.functional.jacobian(values, x).flatten(0, -2)
        whole = whole + J.T @ (J * weights[:, None])
    return torch.linalg.inv(whole)


@pytest.mark.parametrize("extra", [{}, SMOOTH], ids=["frames apart", "smooth"])
@pytest.mark.parametrize("shared", [(), ("betas",), SHARED], ids=["nothing shared", "shape", "shape and offsets"])
def test_error_bars_are_the_diagonal_of_the_inverse(random_body, shared, extra):
    frames = 4
    truth = drawn(random_body, 1, frames, seed=2)
    if extra:  # ties between frames treat small turns as vectors: exact where frames are turned alike
        truth = truth.replace({"global_orient": truth["global_orient"][:, :1].expand(-1, frames, -1, -1, -1)})
    # Offsets of landmarks are left out of derivatives by rotations.
    truth = truth.replace({"keypoint_offsets": torch.zeros_like(truth["keypoint_offsets"])})
    problem = clip(random_body, truth, {**TERMS, **extra}, (*OWN, *shared))
    covariance = slow_covariance(problem)
    sd = covariance.diagonal().sqrt()
    found = error_bars(problem, truth, problem.free)
    units = {block.name: block.unit for block in problem.free}
    # About the result, not about the middle: as far as the middle is away is part of it.
    sd = (sd.square() + found.posterior.shift[0].square()).sqrt()
    own = sd[: frames * sum(p.stop - p.start for p in problem.local.values())].unflatten(0, (frames, -1))
    for name, place in problem.local.items():
        np.testing.assert_allclose(found.blocks[name], (own[:, place] * units[name]).numpy(), rtol=1e-3)
    for name in set(shared) - {"keypoint_offsets"}:
        expected = sd[own.numel() :][problem.shared[name]]
        np.testing.assert_allclose(found.blocks[name], np.tile(expected.numpy(), (frames, 1)), rtol=1e-3)
    if shared:
        np.testing.assert_allclose(np.sqrt(np.diagonal(found.betas_covariance[0])), found.blocks["betas"][0], rtol=1e-6)
    assert "keypoint_offsets" not in found.blocks

    def pixels(y):
        """Where the body itself is seen: offsets are the detector's."""
        moved = problem.retract(y[None])
        return problem.scene(moved.replace({"keypoint_offsets": truth["keypoint_offsets"]})).pixels[0]

    J = torch.autograd.functional.jacobian(pixels, problem.zero()[0])
    variance = torch.einsum("fpdi,ij,fpdj->fpd", J, covariance, J).mean(dim=-1)
    np.testing.assert_allclose(found.keypoints, variance.sqrt().numpy(), rtol=1e-3)


def test_the_peak_is_nearer_than_the_truth_by_what_the_shift_says(random_body):
    """Sixty clips without noise: what is left of the error is the beliefs' pull, and its mean along depth is
    foretold."""
    problems, frames, free = 60, 12, ("global_orient", "transl", "expression", "betas")
    truth = drawn(random_body, problems, frames, seed=4)
    neutral = random_body.neutral(problems, frames)["jaw_pose"]
    nothing = torch.zeros_like(truth["keypoint_offsets"])
    truth = truth.replace({"jaw_pose": neutral.to(nothing), "keypoint_offsets": nothing})
    terms = {"keypoints": {"sigma": 0.05}, "shape": TERMS["shape"], "expression": TERMS["expression"]}
    problem = clip(random_body, truth, terms, free)
    found = SOLVERS["lm"](LeastSquares(problem), problem.zero(), SolverOptions(100, 1e-10))
    peak = problem.base.replace(problem.retract(found.x))
    bars = error_bars(problem, peak, problem.free)
    depth, n = problem.local["transl"].stop - 1, problem.local["expression"].stop
    assert depth < n
    away = (truth["transl"] - peak["transl"])[..., 2].mean()
    shift = bars.posterior.shift[:, : frames * n].unflatten(1, (frames, n))[..., depth].mean()
    assert away < -0.002  # metres: the truth is further away
    assert float(shift * 0.02) == pytest.approx(float(away), rel=0.25)
    # A stage that ends in the middle ends nearer to the truth, and says that it is there.
    middle = peak.replace(centre(replace(problem, base=peak)))
    assert (middle["betas"] - peak["betas"]).abs().max() > 0.01
    said, unsaid = (error_bars(problem, middle, problem.free, is_centred=known).posterior for known in (True, False))
    torch.testing.assert_close(said.shift[:, frames * n :], DOUBT * unsaid.shift[:, frames * n :])


def test_frames_that_were_not_asked_follow_what_is_shared(random_body):
    """Keyframes: shape as those alone know it, the other frames under it: slow, with dense matrices."""
    frames, chosen = 5, torch.tensor([0, 3])
    truth = drawn(random_body, 1, frames, seed=2)
    problem = clip(random_body, truth, {**TERMS, **SMOOTH}, ("transl", "expression", "betas"))
    found = error_bars(problem, truth, problem.free, chosen)
    few = slow_covariance(problem.at(chosen))
    m = problem.shared["betas"].stop
    shared = few[-m:, -m:]
    precision = torch.linalg.inv(slow_covariance(problem))
    own = torch.linalg.inv(precision[:-m, :-m])
    gain = -own @ precision[:-m, -m:]
    expected = (own + gain @ shared @ gain.T).diagonal()
    shift = found.posterior.shift[0]
    n = problem.local["expression"].stop
    units = torch.ones(n, dtype=torch.float64)
    for block in problem.free:
        if block.name in problem.local:
            units[problem.local[block.name]] = block.unit
    sd = ((expected + shift[:-m].square()).sqrt().unflatten(0, (frames, n)) * units).numpy()
    for name, place in problem.local.items():
        np.testing.assert_allclose(found.blocks[name], sd[:, place], rtol=1e-3)
    betas = (shared.diagonal() + shift[-m:].square()).sqrt().numpy()
    np.testing.assert_allclose(found.blocks["betas"][0], betas, rtol=1e-3)
    # What frames share moves them along, all the less where it is in the middle already.
    centred = error_bars(problem, truth, problem.free, chosen, is_centred=True).posterior.shift[0]
    torch.testing.assert_close(shift[:-m] - centred[:-m], (1 - DOUBT) * gain @ shift[-m:])


@pytest.fixture(scope="module")
def repeated(random_body):
    """Many small clips drawn from the beliefs, each fitted: truth, result and error bars."""
    truth = drawn(random_body, problems=150, frames=3, seed=4)
    problem = clip(random_body, truth, TERMS, (*OWN, *SHARED), noise_px=SIGMA * SUBJECT_PX)
    found = SOLVERS["lm"](LeastSquares(problem), problem.zero(), SolverOptions(60, 1e-9))
    result = problem.retract(found.x)
    return truth, result, problem, error_bars(problem, problem.base.replace(result), problem.free)


@pytest.mark.parametrize("name", [*OWN, "betas"])
def test_nine_of_ten_intervals_hold_the_truth(repeated, name):
    truth, result, _, bars = repeated
    if truth[name].ndim == 5:
        error = roma.rotmat_to_rotvec(result[name] @ truth[name].mT).flatten(2)
    else:
        error = result[name] - truth[name]
    frames = truth["transl"].shape[1]
    scores = error.expand(-1, frames, -1).flatten(0, 1).numpy() / bars.blocks[name]
    assert 0.86 < np.mean(np.abs(scores) < 1.645) < 0.94
    assert 0.85 < np.sqrt(np.mean(scores**2)) < 1.15


def test_nine_of_ten_intervals_hold_the_true_keypoints(repeated):
    truth, result, problem, bars = repeated
    nothing = {"keypoint_offsets": torch.zeros_like(truth["keypoint_offsets"])}
    true_px, found_px = (problem.scene(p.replace(nothing)).pixels.flatten(0, 1) for p in (truth, result))
    scores = (found_px - true_px).numpy() / bars.keypoints[..., None]
    assert 0.86 < np.mean(np.abs(scores) < 1.645) < 0.94


def test_a_bias_that_stays_makes_a_fit_without_offsets_too_sure(random_body, repeated):
    truth, _, with_offsets, bars = repeated
    free = tuple(block for block in with_offsets.free if block.name != "keypoint_offsets")
    naive = replace(
        with_offsets,
        free=free,
        terms={name: term for name, term in with_offsets.terms.items() if name != "offsets"},
        base=truth.replace({"keypoint_offsets": torch.zeros_like(truth["keypoint_offsets"])}),
    )
    found = SOLVERS["lm"](LeastSquares(naive), naive.zero(), SolverOptions(60, 1e-9))
    result = naive.retract(found.x)
    narrow = error_bars(naive, naive.base.replace(result), free)
    scores = (result["betas"] - truth["betas"])[:, 0].numpy() / narrow.blocks["betas"][::3]
    assert np.mean(np.abs(scores) < 1.645) < 0.8
    assert (narrow.blocks["betas"] < bars.blocks["betas"]).all()


def test_where_nothing_is_seen_the_belief_is_all_there_is(random_body):
    """A frame without keypoints, tied to no other: its expression is as uncertain as its prior."""
    truth = drawn(random_body, 1, 3, seed=6)
    problem = clip(random_body, truth, TERMS, ("expression", "jaw_pose", "betas"))
    unseen = problem.evidence.confidence.clone()
    unseen[:, 1] = 0.0
    problem = replace(problem, evidence=replace(problem.evidence, confidence=unseen))
    bars = error_bars(problem, truth, problem.free)
    prior = 0.5 * random_body.expression_sd.numpy()
    np.testing.assert_allclose(bars.blocks["expression"][1], prior, rtol=1e-5)
    assert (bars.blocks["expression"][[0, 2]] < prior).all()


@pytest.mark.parametrize("held", [{"sigma": 0.2}, {"repeats": 25}], ids=["small sigma", "once per frame"])
def test_a_recipe_that_holds_shapes_together_does_not_make_people_alike(random_body, held):
    truth = drawn(random_body, 1, 4, seed=2)
    problems = [clip(random_body, truth, {**TERMS, "shape": shape}, (*OWN, "betas")) for shape in ({}, held)]
    usual, found = (error_bars(problem, truth, problem.free).blocks["betas"] for problem in problems)
    np.testing.assert_allclose(found, usual, rtol=1e-9)
