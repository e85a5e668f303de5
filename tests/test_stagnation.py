"""A fit that ended far from its landmarks says so; one that did not, even with outliers, does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.per_frame import RECIPE, photos
from fitting import bodies, start
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.solve import solve
from fitting.types import Stop


@pytest.fixture(scope="module")
def seen():
    recipe = FitConfig.load(RECIPE, [("error_bars", "false"), ("body.betas", "10")])
    body = bodies.load(**recipe.body.model_dump())
    return recipe, body, photos(body, recipe, 3)


def fit(recipe, body, observations):
    K = start.camera_matrices(observations, recipe.camera)
    case = bind(body, observations, K, torch.zeros(0))
    return solve(case, start.guess(case), recipe)


def test_shuffled_landmarks_are_no_fit(seen):
    """Frame 1 has the names of its landmarks mixed up: there is no face that looks like that."""
    recipe, body, observations = seen
    keypoints = observations.keypoints.copy()
    keypoints[1] = np.random.default_rng(0).permutation(keypoints[1])
    found = fit(recipe, body, replace(observations, keypoints=keypoints))
    assert found.stop == (Stop.CONVERGED, Stop.STAGNATED, Stop.CONVERGED)


def test_a_third_of_landmarks_far_off_is_a_fit(seen):
    recipe, body, observations = seen
    keypoints = observations.keypoints.copy()
    wrong = np.random.default_rng(1).random(keypoints.shape[1]) < 0.3
    keypoints[1, wrong] += (25.0, -20.0)
    found = fit(recipe, body, replace(observations, keypoints=keypoints))
    assert Stop.STAGNATED not in found.stop
