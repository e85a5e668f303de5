"""People drawn by Monte Carlo from beliefs whose distribution is known in closed form."""

import numpy as np
import pytest
import roma
import torch

from benchmarks.body_draws import PLACE_SD, draw_people
from fitting import bodies
from fitting.layouts import BODY25
from fitting.terms import Terms

PEOPLE = 120
SIGMA = 0.25


@pytest.fixture(scope="module")
def people():
    """With a spine that hardly bends, pelvis and chest lean as one."""
    body = bodies.load(model="open_body", betas=2, expressions=2)
    terms = Terms.model_validate({"upright": {"sigma": SIGMA}, "pose": {"sigma": 0.01}})
    return draw_people(body, terms, BODY25, PEOPLE, 1, np.random.default_rng(0))


def test_the_lean_is_von_mises_fisher(people):
    """Two unit vectors p and c with a squared chord to up each: exp(up . (p + c) / sigma^2) on the sphere, whose
    direction of p + c has E(1 - cos) = 1 / kappa for a large kappa = |p + c| / sigma^2 (Mardia & Jupp, 2000, 9.3.2)."""
    pelvis = people["global_orient"][:, 0, 0]
    chest = pelvis @ people["body_pose"][:, 0, 2] @ people["body_pose"][:, 0, 5] @ people["body_pose"][:, 0, 8]
    both = pelvis[..., 1] + chest[..., 1]
    kappa = both.norm(dim=-1) / SIGMA**2
    scaled = kappa * (1 - both[:, 1] / both.norm(dim=-1))
    assert scaled.mean().item() == pytest.approx(1.0, abs=4 / PEOPLE**0.5)  # exponential: its sd is its mean
    assert scaled.std().item() == pytest.approx(1.0, abs=0.4)


def test_places_and_facing_are_as_broad_as_asked(people):
    assert people["transl"].std(dim=0).flatten().numpy() == pytest.approx([PLACE_SD] * 3, rel=0.25)
    facing = people["global_orient"][:, 0, 0, :, 2]
    assert (facing[:, 2] > 0).double().mean().item() == pytest.approx(0.5, abs=0.2)


def test_joints_scatter_as_the_prior_says(people):
    body = bodies.load(model="open_body", betas=2, expressions=2)
    prior = body.pose_priors["learned"]
    angles = roma.rotmat_to_rotvec(people["body_pose"])[:, 0].flatten(1)
    white = (angles - prior.means[0].double()) @ prior.whiten[0].double().T / 0.01
    assert torch.isfinite(white).all()
    assert white.square().mean().item() == pytest.approx(1.0, rel=0.1)
