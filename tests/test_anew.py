"""A stage begun with blocks at rest: what is at rest, and that no problem ends higher than it began."""

from dataclasses import replace

import pytest
import torch
from test_body_terms import figure  # noqa: F401
from test_terms import PROBLEMS, make_problem

from fitting import anew
from fitting.config import StageConfig
from fitting.problem import Problem
from fitting.solve import run_anew, run_stage


@pytest.fixture
def problem(random_body) -> Problem:
    found = make_problem(random_body, "keypoints", frames=1)
    torch.manual_seed(0)
    return replace(found, base=found.retract(torch.randn(PROBLEMS, found.size, dtype=torch.float64)))


def test_only_the_named_blocks_that_move_are_at_rest(problem):
    name = problem.free[0].name
    rested = anew.at_rest(problem, (name,))
    neutral = problem.body.neutral(problem.count, problem.frames)[name].to(problem.base[name])
    torch.testing.assert_close(rested.base[name], neutral, atol=0, rtol=0)
    assert not torch.equal(problem.base[name], neutral)
    for other in set(problem.base) - {name}:
        assert torch.equal(rested.base[other], problem.base[other])
    held = replace(problem, free=problem.free[1:])
    assert torch.equal(anew.at_rest(held, (name,)).base[name], problem.base[name])


def test_each_problem_keeps_the_lower_of_two_places(problem):
    torch.manual_seed(1)
    after = problem.retract(torch.randn(PROBLEMS, problem.size, dtype=torch.float64))
    costs = torch.stack([problem.total(problem.base), problem.total(after)])
    kept, better = anew.keep_lower(problem, after)
    assert torch.equal(better, costs[1] < costs[0])
    torch.testing.assert_close(problem.total(kept.base), costs.amin(dim=0))


def test_a_stage_begun_anew_never_ends_higher(problem):
    stage = StageConfig(name="again", free=("betas",), iterations=3)
    once, _ = run_stage(problem, stage)
    for iterations in (1, 30):  # too few to come back from rest, and enough
        again = stage.model_copy(update={"iterations": iterations, "anew": (problem.free[0].name,)})
        twice, _ = run_anew(once, again)
        assert (once.total(twice.base) <= once.total(once.base)).all()
