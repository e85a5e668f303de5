"""Directions that the evidence leaves open are said by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_uncertainty import TERMS, clip, drawn

from fitting.ambiguity import directions, given, nothing_holds, prior_precision, scalars
from fitting.types import InputError
from fitting.uncertainty import error_bars

POSE = ("global_orient", "transl", "expression")


def believed(body, terms, free, frame=1):
    truth = drawn(body, 1, 3, seed=2)
    truth = truth.replace({"keypoint_offsets": torch.zeros_like(truth["keypoint_offsets"])})
    problem = clip(body, truth, terms, free)
    posterior = error_bars(problem, truth, problem.free).posterior
    belief = posterior.of_frame(frame)
    return posterior, belief, belief.covariance / (belief.units[:, None] * belief.units)


def test_size_and_depth_hang_on_the_belief_about_size(random_body):
    """A head twice as large and twice as far away gives the same picture."""
    posterior, belief, covariance = believed(random_body, {**TERMS, "size": {"sigma": 0.03}}, (*POSE, "scale"))
    assert nothing_holds(belief, covariance) == []
    (said,) = scalars(belief, covariance, prior_precision(posterior, 1, belief))
    assert said.startswith("depth against size: only what is believed of the size holds it, to 3.0 %"), said
    assert given(posterior) == ["depth against focal length: focal length taken as given; a person 1 % larger and "
                                "1 % further away looks the same"]  # fmt: skip


def test_size_and_depth_without_any_belief_are_held_by_nothing(random_body):
    _, belief, covariance = believed(random_body, TERMS, (*POSE, "scale"))
    (said,) = nothing_holds(belief, covariance)
    assert "depth" in said and "size" in said and "nothing holds it" in said


def test_what_the_pixels_hold_is_not_named(random_body):
    posterior, belief, covariance = believed(random_body, TERMS, POSE)
    prior = prior_precision(posterior, 1, belief)
    assert nothing_holds(belief, covariance) == []
    assert scalars(belief, covariance, prior) == []
    # Noise a hundred times as large, and the pixels say nothing about expressions.
    blind = {**TERMS, "keypoints": {"sigma": 100.0}}
    posterior, belief, covariance = believed(random_body, blind, ("expression",))
    (said,) = directions(belief, covariance, prior_precision(posterior, 1, belief), random_body.expression_names)
    assert said.startswith("expression: 5 of 5 directions are held by belief alone")


def test_covariance_of_any_point_is_that_of_its_keypoint(random_body):
    """A vertex' covariance in pixels agrees with the bars of keypoints; in metres depth is the least certain."""
    truth = drawn(random_body, 1, 3, seed=2)
    truth = truth.replace({"keypoint_offsets": torch.zeros_like(truth["keypoint_offsets"])})
    problem = clip(random_body, truth, TERMS, (*POSE, "betas"))
    found = error_bars(problem, truth, problem.free)
    embedding = random_body.embeddings["mediapipe478"]
    points = found.posterior.points(1, random_body, embedding)
    sd = np.sqrt(np.trace(points.pixels, axis1=1, axis2=2) / 2)
    np.testing.assert_allclose(sd, found.keypoints[1], rtol=1e-3)
    assert points.metres.shape == (len(embedding.points), 3, 3)
    spread = np.linalg.eigvalsh(points.metres)
    assert (spread > 0).all()
    assert (points.metres[:, 2, 2] > points.metres[:, 0, 0]).all()
    missing = replace(found.posterior, rows={0: 0})
    with pytest.raises(InputError, match="frame 1 was not fitted"):
        missing.points(1, random_body, embedding)


def test_covariance_in_metres_is_what_the_unknowns_scatter_by(random_body):
    """Against points of heads drawn from the belief about a frame."""
    truth = drawn(random_body, 1, 1, seed=2)
    problem = clip(random_body, truth, TERMS, (*POSE, "betas"))
    posterior = error_bars(problem, truth, problem.free).posterior
    belief = posterior.of_frame(0)
    embedding = random_body.embeddings["mediapipe478"]
    factor = torch.linalg.cholesky(belief.covariance / (belief.units[:, None] * belief.units))
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(4000, len(factor), generator=generator, dtype=torch.float64) @ factor.T
    many = posterior.problem.select(torch.zeros(4000, dtype=torch.long))
    points = many.body.pose(many.retract(0.1 * draws)).points[:, 0]  # small: covariances are of first order
    expected = torch.einsum("spi,spj->pij", points - points.mean(dim=0), points - points.mean(dim=0)) / 4000 * 100
    unmoved = replace(posterior, shift=torch.zeros_like(posterior.shift))
    found = unmoved.points(0, random_body, embedding).metres
    np.testing.assert_allclose(found, expected.numpy(), atol=0.08 * float(expected.abs().max()))
