"""Problems of one frame in closed form: values, slopes and matrices against automatic differentiation in float64."""

from dataclasses import replace

import pytest
import torch
from test_body_terms import coded, figure  # noqa: F401
from test_terms import BODY_TERMS, PROBLEMS, TERMS, make_problem

from fitting import slopes
from fitting.beliefs import unit_vector
from fitting.camera import pixel_rows
from fitting.curvature import LeastSquares
from fitting.newton import Newton, has_model
from fitting.newton.marks import marks_of
from fitting.problem import differentiate, term_cost


def at_rest(problem, x):
    """Where x has led, as a photo has it: without offsets of landmarks."""
    here = {name: value for name, value in problem.retract(x).items() if name != "keypoint_offsets"}
    free = tuple(block for block in problem.free if block.name != "keypoint_offsets")
    return replace(problem, base=type(problem.base)(here), free=free)


def problem_of(body, term, seed=0):
    """One term of three far-off frames, turned by some tenths of a radian, each a problem of its own."""
    problem = make_problem(body, term, frames=1)
    problem = replace(problem, terms={term: problem.terms[term]})
    torch.manual_seed(seed)
    x = 3 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    return at_rest(problem, x)


@pytest.mark.parametrize("term", [*TERMS, *BODY_TERMS])
def test_slopes_in_closed_form_equal_automatic_differentiation(random_body, coded, term):  # noqa: F811
    problem = problem_of(coded if term in BODY_TERMS else random_body, term)
    x = torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    values, gradient = slopes.evaluate(problem, x)
    expected, slope = differentiate(problem, x)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(gradient, slope, atol=1e-8 * float(slope.abs().max()) + 1e-12, rtol=1e-7)


@pytest.mark.parametrize("kernel", ["squared", "huber", "geman_mcclure"])
@pytest.mark.parametrize(
    "term", ["keypoints", "shape", "expression_bounds", "jaw_limits", "eyes_together", *BODY_TERMS]
)
def test_the_model_is_gauss_newtons_and_the_bend(random_body, coded, term, kernel):  # noqa: F811
    body = coded if term in BODY_TERMS else random_body
    problem = problem_of(body, term)
    problem = replace(problem, terms={term: problem.terms[term].model_copy(update={"kernel": kernel})})
    assert has_model(problem)
    newton, rows = Newton(problem), torch.arange(PROBLEMS)
    same, zero = newton.problem, torch.zeros(PROBLEMS, newton.unknowns, dtype=torch.float64)
    values, gradient = differentiate(same, zero)
    model = newton.model(rows)
    torch.testing.assert_close(newton.value(zero, rows), values)
    torch.testing.assert_close(model.gradient, gradient, atol=1e-8 * float(gradient.abs().max()) + 1e-12, rtol=1e-7)
    expected = LeastSquares(same).curvature(zero, rows).blocks(slice(0, 1)).own[:, 0]
    if term == "keypoints":
        scene = same.scene(same.base)
        pixels = scene.pixels.detach().requires_grad_()
        seen = same.terms[term].residuals(replace(scene, take_picture=lambda: (scene.posed, pixels)))
        (slope,) = torch.autograd.grad(term_cost(same.terms[term], seen).sum(), pixels)
        forces = (pixel_rows(scene.posed.points, same.camera(scene.parameters)) * slope[..., None]).sum(dim=-2)
        bend = same.body.bend(same.base, scene.posed, forces, newton.turning)[:, 0]
        turns = torch.cat([torch.arange(newton.unknowns)[same.local[name]] for name in newton.turning])
        units = unit_vector(same, same.local)[turns]
        expected[:, turns[:, None], turns] += bend * units[:, None] * units
    found, expected = model.matrix.tril(), expected.tril()  # the upper triangle does not count
    torch.testing.assert_close(found, expected, atol=1e-8 * float(expected.abs().max()) + 1e-12, rtol=1e-7)


def test_a_problem_that_is_moved_stands_where_a_step_leads(random_body):
    problem = problem_of(random_body, "keypoints")
    newton, one = Newton(problem), torch.tensor([1])
    torch.manual_seed(5)
    step = 0.3 * torch.randn(1, newton.unknowns, dtype=torch.float64)
    still = newton.value(torch.zeros_like(step), torch.tensor([0]))
    expected = newton.value(step, one)
    newton.move(torch.tensor([True]))
    seen = newton.model(one)  # of where it was looked at, without a second look
    torch.testing.assert_close(newton.value(torch.zeros_like(step), one), expected)
    for again, before in zip(newton.model(one), seen, strict=True):  # `value` has looked elsewhere since
        torch.testing.assert_close(again, before)
    torch.testing.assert_close(newton.value(torch.zeros_like(step), torch.tensor([0])), still)
    assert all(problem.base[name] is not newton.here[name] for name in problem.base)  # the problem's own stay


def test_terms_of_different_points_are_one(random_body):
    """Points of two terms with kernels of their own, and a third that counts one of them again."""
    problem = problem_of(random_body, "keypoints")
    term = problem.terms["keypoints"].model_copy(update={"kernel": "geman_mcclure"})
    names = problem.evidence.layout.point_names
    half = dict.fromkeys(names[::2], 0.0)
    rest = dict.fromkeys((name for name in names if name not in half), 0.0)
    terms = {
        "keypoints": term.model_copy(update={"points": half}),
        "keypoints_hands": term.model_copy(update={"points": rest, "kernel_width": 7.0, "sigma": 0.01}),
    }
    problem = replace(problem, terms=terms)
    found = marks_of(problem)
    assert len(found) == 1
    pixels = problem.scene(problem.base).pixels[:, 0]
    cost = problem.costs(problem.base)
    torch.testing.assert_close(found[0].cost(pixels), sum(cost.values()).sum(dim=1))
    assert len(marks_of(replace(problem, terms={**terms, "keypoints_face": term}))) == 2


def test_ties_between_frames_and_offsets_have_no_model(random_body):
    assert not has_model(make_problem(random_body, "keypoints", frames=3))
    assert not has_model(make_problem(random_body, "keypoints", frames=1))  # its landmarks have offsets
    assert not has_model(problem_of(random_body, "anchor"))
