"""Steered steps: the same to first order, keypoints on course, nothing else moved."""

from dataclasses import replace

import pytest
import roma
import torch
from test_terms import PROBLEMS, make_problem

from fitting import bodies
from fitting.steering import LEAST_WEIGHT, places, smallest_turn, steer

FREE = {"betas", "expression", "global_orient", "jaw_pose", "transl"}


@pytest.fixture(scope="module")
def body():
    return bodies.load(betas=5, expressions=4).to(torch.zeros(0, dtype=torch.float64))


@pytest.fixture
def problem(body):
    return make_problem(body, "keypoints", "huber", free=FREE, frames=4)


def draw(problem, size):
    torch.manual_seed(5)
    return size * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)


def first_order(problem, x, step):
    return torch.func.jvp(lambda y: places(problem, y).points, (x,), (step,))


def test_to_first_order_it_is_the_same_step(problem):
    x, step = draw(problem, 0.3), draw(problem, 1.0)
    away = [(steer(problem, x, x + h * step) - x - h * step).abs().max() for h in (1e-2, 1e-3)]
    assert 0 < away[1] <= 1.2e-2 * away[0]


def test_keypoints_stay_on_course(problem):
    """Their weighted middle arrives exactly, and together they are nearer to it than those of the straight step."""
    x, step = draw(problem, 0.3), draw(problem, 2.0)
    points, speed = first_order(problem, x, step)
    goal = points + speed
    weight = problem.evidence.confidence[..., None].clamp(min=LEAST_WEIGHT).double()
    straight, steered = (places(problem, y).points - goal for y in (x + step, steer(problem, x, x + step)))
    middle = (weight * steered).sum(dim=2) / weight.sum(dim=2)
    lost = (weight * straight).sum(dim=2) / weight.sum(dim=2)
    assert middle.norm(dim=-1).max() <= 5e-3 * lost.norm(dim=-1).max()  # central differences of a step of 0.05
    assert ((weight * steered.square()).sum() < 0.5 * (weight * straight.square()).sum()).all()


def test_only_rotation_and_place_are_moved(problem):
    x, step = draw(problem, 0.3), draw(problem, 1.0)
    moved = problem.retract(steer(problem, x, x + step))
    straight = problem.retract(x + step)
    changed = {name for name in moved if not torch.equal(moved[name].double(), straight[name].double())}
    assert changed == {"global_orient", "transl"}


def test_windows_change_nothing(problem, monkeypatch):
    x, step = draw(problem, 0.3), draw(problem, 1.0)
    whole = steer(problem, x, x + step)
    monkeypatch.setattr("fitting.problem.WINDOW", 3)
    torch.testing.assert_close(steer(replace(problem), x, x + step), whole)


@pytest.mark.parametrize("held", ["global_orient", "transl"])
def test_without_rotation_or_place_the_end_stays(body, held):
    problem = make_problem(body, "keypoints", "huber", free=FREE - {held}, frames=4)
    x = draw(problem, 0.3)
    assert torch.equal(steer(problem, x, x + 1), x + 1)


def test_the_smallest_turn_is_that_of_procrustes():
    torch.manual_seed(1)
    points, weight = torch.randn(7, 3, dtype=torch.float64), torch.rand(7, 1, dtype=torch.float64) + 0.1
    points -= (weight * points).sum(dim=0) / weight.sum()
    turn = torch.tensor([0.002, -0.001, 0.003], dtype=torch.float64)
    goal = points @ roma.rotvec_to_rotmat(turn).mT
    expected = roma.rotmat_to_rotvec(roma.rigid_points_registration(points, goal, weights=weight[:, 0])[0])
    torch.testing.assert_close(expected, turn)
    torch.testing.assert_close(smallest_turn(points, goal, weight), turn, atol=1e-5, rtol=0)
