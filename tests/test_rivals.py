"""Two starts of the same photo: whichever is lower in the end is gone on with."""

from dataclasses import replace

import pytest
import torch
from test_terms import PROBLEMS, make_problem

from fitting.config import FitConfig
from fitting.hypotheses import side_by_side
from fitting.rivals import final_costs, race
from fitting.types import ConfigError

STAGE = {"free": ["global_orient", "transl"], "iterations": 2, "tolerance": 1e-3, "bends": True}


def recipe(**search):
    names = ("first", "second", "third")
    tree = {
        "terms": {"keypoints": {}, "shape": {}},
        "stages": [{**STAGE, "name": name} for name in names],
        "search": {"stages": [{**STAGE, "name": "looking"}], **search},
    }
    return FitConfig.model_validate(tree)


@pytest.fixture
def problem(random_body):
    return make_problem(random_body, "keypoints", frames=1)


def moved(problem, metres):
    """The truth, every photo so far beside it."""
    aside = torch.tensor(metres).double()[:, None, None] * torch.tensor([0.0, 0.0, 1.0]).double()
    base = problem.start.replace({"transl": problem.start["transl"] + aside})
    return replace(problem, base=base, start=base)


def test_the_lower_of_two_is_gone_on_with(problem):
    """Two steps do not suffice from far away; the second photo's rival is the worse one, the others have none."""
    assert PROBLEMS == 2
    config = recipe(carry=2.0, carry_through="second")
    near, far = moved(problem, [-3.0, 0.01]), moved(problem, [0.01, -3.0])
    photo = torch.tensor([0, 1, 0, 1])
    both = side_by_side([near, far])
    standing, best = race(both, photo, config, lambda *_: None, None)
    assert best.tolist() == [2, 1]
    costs = final_costs(both, standing, config).unflatten(0, (2, 2))
    assert (costs.flatten()[best] == costs.amin(dim=0)).all()
    assert race(near, photo[:2], config, lambda *_: None, None)[1].tolist() == [0, 1]
    three = side_by_side([far, near, moved(problem, [-2.0, -2.0])])
    assert race(three, torch.tensor([0, 1, 0, 1, 0, 1]), config, lambda *_: None, None)[1].tolist() == [0, 3]


def test_of_two_that_have_met_one_goes_on(problem):
    config = recipe(carry=2.0, carry_through="second")
    both = side_by_side([problem, problem])
    told = []
    _, best = race(both, torch.tensor([0, 1, 0, 1]), config, lambda _, done, count: told.append(count), None)
    assert told == [2 * PROBLEMS, PROBLEMS] and best.tolist() == [0, 1]


def test_a_stage_must_follow_those_of_both():
    assert [stage.name for stage in recipe(carry=1.5, carry_through="first").carried()] == ["first"]
    for name in ("third", "fourth", None):
        with pytest.raises(ConfigError, match="first, second"):
            recipe(carry=1.5, carry_through=name).carried()
