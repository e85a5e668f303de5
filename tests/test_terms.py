"""Every term: zero at the truth, finite far away, right in its gradient; kernels; robustness to what was not seen."""

import pytest
import torch
from test_skinning import random_parameters

from fitting.layouts import MEDIAPIPE478
from fitting.problem import Problem, per_frame
from fitting.solve import nuisance_blocks
from fitting.terms import Evidence, Terms, robust

PROBLEMS, FRAMES = 2, 4
BLOCKS = {"global_orient": 0.1, "transl": 0.05, "expression": 0.3, "jaw_pose": 0.1, "betas": 1.0}
EXAMPLES = {"anchor": {"blocks": BLOCKS}, "velocity": {"blocks": BLOCKS}, "acceleration": {"blocks": BLOCKS}}
# Those that look at whole bodies: tests/test_body_terms.py.
BODY_TERMS = ("upright", "pose", "pose_gmm", "pose_rest", "pose_latent", "bend", "angle_limits", "hands")
BODY_TERMS += ("hand_components",)
# And at their motion, and at their skin: tests/test_motion.py, tests/test_interpenetration.py.
TERMS = [name for name in Terms.model_fields if name not in (*BODY_TERMS, "joint_acceleration", "interpenetration")]


def make_problem(body, term, kernel="squared", free=None, frames=FRAMES):
    """Truth: the mean body at rest, 2 m away, with two points unseen and one frame without any."""
    truth = body.neutral(PROBLEMS, frames)
    truth = truth.replace({"transl": torch.tensor([0.0, 0.0, -2.0]).expand(PROBLEMS, frames, 3).double()})
    count = len(body.embeddings["mediapipe478"].points)
    truth = truth.replace(
        {
            "focal": torch.zeros(PROBLEMS, 1, 1).double(),
            "keypoint_offsets": torch.zeros(PROBLEMS, 1, 2 * count).double(),
        }
    )
    K = torch.tensor([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]], dtype=torch.float64).expand(PROBLEMS, frames, 3, 3)
    restricted = body.restrict(body.embeddings["mediapipe478"])
    confidence = torch.ones(PROBLEMS, frames, count).double()
    confidence[:, :, [3, 5]] = 0
    if frames > 1:
        confidence[:, 1] = 0
    evidence = Evidence(
        layout=MEDIAPIPE478,
        points=body.embeddings["mediapipe478"].points,
        keypoints=torch.zeros(PROBLEMS, frames, count, 2).double(),
        confidence=confidence,
        subject_px=torch.full((PROBLEMS, frames), 30.0).double(),
        seen=(confidence > 0).any(dim=2),
        linked=torch.ones(PROBLEMS, frames - 1, dtype=torch.bool),
    )
    # The shape's term is always there: an objective without any term that applies has no gradient.
    terms = Terms.model_validate({"shape": {}, term: {**EXAMPLES.get(term, {}), "kernel": kernel}}).named()
    problem = Problem(restricted, 0.09, evidence, K, terms, truth, truth, ())
    pixels = problem.scene(truth).pixels
    keypoints = torch.where(confidence[..., None] > 0, pixels, torch.nan)
    blocks = (*body.blocks, *nuisance_blocks(problem))
    free = tuple(b for b in blocks if free is None or b.name in free)
    from dataclasses import replace

    return replace(problem, evidence=replace(evidence, keypoints=keypoints), free=free)


def test_the_examples_cover_every_term():
    assert set(EXAMPLES) <= set(TERMS)


@pytest.mark.parametrize("term", TERMS)
def test_zero_at_the_truth(random_body, term):
    problem = make_problem(random_body, term)
    values, gradient = problem.evaluate(problem.zero(), torch.arange(PROBLEMS))
    assert (values.abs() < 1e-16).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kernel", ["squared", "huber", "geman_mcclure"])
@pytest.mark.parametrize("term", TERMS)
def test_gradient_equals_the_numerical_one(random_body, term, kernel):
    problem = make_problem(random_body, term, kernel)
    torch.manual_seed(0)
    x = 7 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)  # far enough for every limit to be passed
    rows = torch.arange(PROBLEMS)
    assert (problem.costs(problem.retract(x))[term] > 0).any()
    values, gradient = problem.evaluate(x, rows)
    assert (values > 0).all() and torch.isfinite(gradient).all()
    step = 1e-6
    for _ in range(12):
        direction = torch.randn_like(x)
        forward, backward = problem.objective(x + step * direction), problem.objective(x - step * direction)
        numerical = (forward - backward) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(dim=1), numerical, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_finite_far_from_the_truth_and_on_a_single_frame(random_body, term):
    problem = make_problem(random_body, term, frames=1)
    values, gradient = problem.evaluate(30 * torch.ones(PROBLEMS, problem.size).double(), torch.arange(PROBLEMS))
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("term", TERMS)
def test_a_problem_costs_the_same_alone(random_body, term):
    problem = make_problem(random_body, term)
    torch.manual_seed(1)
    x = torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    together, _ = problem.evaluate(x, torch.arange(PROBLEMS))
    alone, _ = problem.evaluate(x[1:], torch.tensor([1]))
    torch.testing.assert_close(together[1:], alone)


def test_second_differences_live_on_the_manifold(random_body):
    """A head that turns at constant speed, right through half a turn, is not accelerated."""
    import roma

    problem = make_problem(random_body, "acceleration", frames=9)
    angles = torch.linspace(2.0, 5.0, 9).double()
    turning = roma.rotvec_to_rotmat(torch.stack([torch.zeros(9).double(), angles, torch.zeros(9).double()], dim=1))
    parameters = problem.base.replace({"global_orient": turning[None, :, None].expand(PROBLEMS, 9, 1, 3, 3)})
    assert problem.costs(parameters)["acceleration"].abs().max() < 1e-12


def test_smoothness_does_not_reach_over_a_cut(random_body):
    from dataclasses import replace

    problem = make_problem(random_body, "velocity")
    linked = torch.ones(PROBLEMS, FRAMES - 1, dtype=torch.bool)
    linked[:, 1] = False
    problem = replace(problem, evidence=replace(problem.evidence, linked=linked))
    moved = random_parameters(random_body, PROBLEMS, FRAMES)
    cost = problem.costs(problem.base.replace({"transl": moved["transl"]}))["velocity"]
    assert (cost[:, 2] == 0).all() and (cost[:, [1, 3]] > 0).all()


@pytest.mark.parametrize("kernel", ["squared", "huber", "geman_mcclure"])
def test_kernels_agree_near_zero_and_do_not_decrease(kernel):
    small = torch.linspace(0, 1e-4, 5).double()
    torch.testing.assert_close(robust(small, kernel, 2.0), small, rtol=1e-4, atol=0)
    squared = torch.linspace(0, 400, 1000).double()
    assert (robust(squared, kernel, 2.0).diff() >= 0).all()


def test_huber_is_linear_in_the_distance_beyond_its_width():
    distance = torch.tensor([3.0, 5.0, 9.0]).double()
    torch.testing.assert_close(robust(distance**2, "huber", 2.0), 4 * distance - 4)


def test_costs_of_frames_add_up_to_the_objective(random_body):
    for term in TERMS:
        problem = make_problem(random_body, term)
        torch.manual_seed(2)
        x = torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
        costs = problem.costs(problem.retract(x))
        assert all(cost.shape == (PROBLEMS, FRAMES) for cost in costs.values())
        torch.testing.assert_close(sum(c.sum(dim=1) for c in costs.values()), problem.objective(x))
    assert per_frame(torch.ones(2, 1).double(), 4).sum(dim=1).tolist() == [1.0, 1.0]
