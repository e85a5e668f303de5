"""Pieces of the search over starts."""

import numpy as np
import roma
import torch

from benchmarks.body_truth import FOCAL, SIZE, draw_people
from fitting import bodies
from fitting.camera import camera_to_pixels, intrinsics
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.hypotheses import first_there, photos, scale_focal, search
from fitting.rivals import final_costs
from fitting.solve import run_stages
from fitting.types import Parameters


def test_another_focal_length_zooms_about_the_principal_point():
    """Frame by frame; points move away from the principal point by the factor, and from nowhere else."""
    K = torch.tensor([[[900.0, 0, 320], [0, 950, 240], [0, 0, 1]], [[700.0, 0, 100], [0, 700, 50], [0, 0, 1]]])
    factor = torch.tensor([2.0, 0.5])
    points = torch.tensor([[[0.1, -0.2, 2.0], [0.0, 0.0, 3.0], [-0.4, 0.3, 1.5]]]).expand(2, 3, 3)
    middle = K[:, None, :2, 2]
    before, after = camera_to_pixels(points, K), camera_to_pixels(points, scale_focal(K, factor))
    torch.testing.assert_close(after - middle, (before - middle) * factor[:, None, None])
    torch.testing.assert_close(scale_focal(K, factor)[:, 2], K[:, 2])
    torch.testing.assert_close(scale_focal(scale_focal(K, factor), 1 / factor), K)


def test_starts_that_have_met_go_on_as_the_cheapest_of_them():
    """Two frames, four starts; the last has another lens and is never the same as the others."""
    degrees = torch.tensor([[0.0, 10.0], [5.0, 90.0], [180.0, 12.0], [0.0, 90.0]])  # starts, frames
    costs = torch.tensor([[2.0, 1.0], [1.0, 3.0], [7.0, 0.5], [9.0, 9.0]])
    vectors = torch.deg2rad(degrees)[..., None] * torch.tensor([0.0, 1.0, 0.0])
    turned = Parameters({"global_orient": roma.rotvec_to_rotmat(vectors).flatten(0, 1)[:, None, None]})
    found = first_there([1.0, 1.0, 1.0, 2.0], turned, costs.flatten()).unflatten(0, (4, 2))
    assert found.tolist() == [[False, False], [True, True], [True, True], [True, True]]
    assert first_there(["a", "b", "c", "d"], turned, costs.flatten()).all()


def test_rivals_end_no_higher_than_the_best_start_alone():
    """Of three people under two lenses: start, camera and cost belong together."""
    body, count = bodies.load("open_body", betas=2, expressions=2), 3
    people = draw_people(body, count, np.random.default_rng(1), None)
    case = bind(body, people.observations, np.tile(intrinsics(FOCAL, SIZE), (count, 1, 1)), torch.zeros(0))
    stage = {"free": ["rotation", "translation", "body_pose"], "iterations": 6, "tolerance": 1e-3, "bends": True}
    place = {
        **stage,
        "name": "place",
        "free": ["rotation", "translation"],
        "terms": {"keypoints": {"kernel_width": 40.0}},
    }
    tree = {
        "terms": {
            "keypoints": {"sigma": 0.01, "kernel": "geman_mcclure", "kernel_width": 5.0},
            "pose": {},
            "shape": {},
        },
        "search": {"stages": [place], "focal_factors": [0.7, 1.0]},
        "stages": [{**stage, "name": name} for name in ("first", "second", "third")],
    }
    ends = []
    for rivals in ({}, {"carry": 1e6, "rivals": 7, "carry_through": "second"}):
        config = FitConfig.model_validate({**tree, "search": {**tree["search"], **rivals}})
        found = search(case, config, lambda *_: None)
        assert found.stages == (2 if rivals else 0)
        there = config.model_copy(update={"stages": config.stages[:2]})
        problem = photos(found, config)
        end = problem.start if rivals else run_stages(problem, there, lambda *_: None)[0]
        ends.append(final_costs(problem, problem.start.replace(end), there))
        factors = found.case.K[:, 0, 0] / FOCAL
        assert all(min(abs(factor - 0.7), abs(factor - 1)) < 1e-6 for factor in factors.tolist())
    alone, best = ends
    assert (best <= alone * (1 + 1e-6)).all() and (best < 0.99 * alone).any()
