"""Joints' motion over time: the term, its matrix against automatic differentiation, whole blocks between frames against
a dense solve."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting import bodies
from fitting.camera import intrinsics
from fitting.curvature import LeastSquares, item_weights
from fitting.evidence import as_evidence, bind
from fitting.layouts import BODY25
from fitting.problem import Problem
from fitting.solvers import Arrow, Blocks, Covariance
from fitting.terms import JointAcceleration
from fitting.types import Observations

FRAMES = 5
LIKE = torch.zeros(0, dtype=torch.float64)


@pytest.fixture(scope="module")
def body():
    return bodies.load("open_body", betas=3, expressions=2).to(LIKE)


def moving_problem(body, term, free=("global_orient", "transl", "body_pose")):
    """A clip of a body that turns and walks unevenly."""
    rng = np.random.default_rng(1)
    keypoints = rng.uniform(100, 400, (FRAMES, len(BODY25), 2))
    observations = Observations(
        person="000", layout=BODY25, keypoints=keypoints, confidence=np.ones(keypoints.shape[:2]),
        names=tuple(f"{k}" for k in range(FRAMES)), image_sizes=np.tile((640, 480), (FRAMES, 1)), is_clip=True,
        fps=30.0,
    )  # fmt: skip
    case = bind(body, observations, np.tile(intrinsics(700.0, (640, 480)), (FRAMES, 1, 1)), LIKE)
    torch.manual_seed(2)
    start = body.neutral(1, FRAMES)
    turn = roma.rotvec_to_rotmat(0.3 * torch.randn(1, FRAMES, 22, 3, dtype=torch.float64))
    transl = torch.tensor([0.0, 0.2, -4.0]).double() + 0.1 * torch.randn(1, FRAMES, 3).double()
    start = start.replace({"global_orient": turn[:, :, :1], "body_pose": turn[:, :, 1:], "transl": transl})
    blocks = {block.name: block for block in body.blocks}
    return Problem(
        body=case.restricted, yard_stick=case.yard_stick, evidence=as_evidence(case, start), K=case.K[None],
        terms={"joint_acceleration": term}, start=start, base=start, free=tuple(blocks[name] for name in free),
    )  # fmt: skip


def to_dense(arrow):
    own, border, corner = arrow.blocks(slice(0, arrow.frames))
    problems, frames, n, m = border.shape
    links = arrow.links(slice(0, frames))
    own = own + torch.diag_embed(links.own)
    whole = torch.zeros(problems, frames * n + m, frames * n + m, dtype=torch.float64)
    for t in range(frames):
        here = slice(t * n, (t + 1) * n)
        whole[:, here, here] = own[:, t]
        whole[:, here, frames * n :], whole[:, frames * n :, here] = border[:, t], border[:, t].mT
        bands = ((1, links.near, links.near_blocks), (2, links.far, links.far_blocks))
        for distance, diagonal, block in bands:
            if t + distance < frames:
                there = slice((t + distance) * n, (t + distance + 1) * n)
                whole[:, here, there] = block[:, t] + torch.diag_embed(diagonal[:, t])
                whole[:, there, here] = whole[:, here, there].mT
    whole[:, frames * n :, frames * n :] = arrow.corner + corner
    return whole


@pytest.mark.parametrize("kernel", ["squared", "huber"])
def test_the_matrix_is_that_of_automatic_differentiation(body, kernel):
    """But for the derivative of the distance that places are divided by, which is held: `transl` stays out."""
    term = JointAcceleration(kernel=kernel, sigma=0.5)
    problem = moving_problem(body, term, free=("global_orient", "body_pose"))
    x = 0.5 * torch.randn(1, problem.size, dtype=torch.float64)
    scene = problem.scene(problem.retract(x))
    residuals = term.residuals(scene)
    weights = item_weights(term, residuals)[0, ..., None].expand(residuals.values.shape[1:]).flatten()

    def values(y):
        return term.residuals(problem.scene(problem.retract(y[None]))).values

    J = torch.autograd.functional.jacobian(values, x[0]).flatten(0, -2)
    slow = J.T @ (J * weights[:, None])
    fast = to_dense(LeastSquares(problem).curvature(x, torch.arange(1)))[0]
    assert torch.allclose(fast, slow, atol=1e-9 * float(slow.abs().max()))


def test_steady_motion_costs_nothing(body):
    term = JointAcceleration()
    problem = moving_problem(body, term)
    still = problem.start.at(slice(0, 1))
    steady = {n: v.expand(-1, FRAMES, *v.shape[2:]) for n, v in still.items() if v.shape[1] == 1 and n != "betas"}
    steps = torch.arange(FRAMES).double()[None, :, None] * torch.tensor([0.05, 0.01, 0.0]).double()
    moved = problem.base.replace({**steady, "transl": steady["transl"] + steps})
    assert float(term.residuals(problem.scene(moved)).values.abs().max()) < 1e-9


def test_a_smaller_and_nearer_body_gains_nothing(body):
    """All places drawn together towards the camera: the picture is the same, and so is the cost."""
    term = JointAcceleration()
    problem = moving_problem(body, term, free=("transl",))
    scene = problem.scene(problem.base)
    near = replace(scene, parameters=scene.parameters.replace({"transl": 0.5 * scene.parameters["transl"]}))
    object.__setattr__(near, "joints", 0.5 * scene.joints)
    assert torch.allclose(term.residuals(scene).values, term.residuals(near).values)


@pytest.mark.parametrize("window", [2, 3, 4, 20])
def test_whole_blocks_between_frames_are_solved_exactly(window):
    torch.manual_seed(0)
    problems, frames, n, m = 2, 9, 4, 3
    J = torch.randn(problems, frames, 6, n, dtype=torch.float64)
    near, far = torch.zeros(2, problems, frames, n, n, dtype=torch.float64)
    own = torch.eye(n).double().repeat(problems, frames, 1, 1)
    for k in range(frames - 2):
        weight = torch.rand(problems, 6, 1, dtype=torch.float64)
        for i, a in enumerate((1.0, -2.0, 1.0)):
            own[:, k + i] += a * a * J[:, k + i].mT @ (weight * J[:, k + i])
        near[:, k] -= 2 * J[:, k].mT @ (weight * J[:, k + 1])
        near[:, k + 1] -= 2 * J[:, k + 1].mT @ (weight * J[:, k + 2])
        far[:, k] += J[:, k].mT @ (weight * J[:, k + 2])
    border = 0.1 * torch.randn(problems, frames, n, m, dtype=torch.float64)
    arrow = Arrow(
        frames=frames, width=n, shared=m, window=window,
        next=-0.1 * torch.rand(problems, frames - 1, n).double(),
        second=0.05 * torch.rand(problems, frames - 2, n).double(),
        corner=5 * torch.eye(m).double().expand(problems, m, m),
        blocks=lambda s: Blocks(own[:, s].clone(), border[:, s].clone(), torch.zeros(problems, m, m).double()),
        ties=lambda s: (near[:, s], far[:, s]),
    )  # fmt: skip
    whole = to_dense(arrow)
    right = torch.randn(problems, frames * n + m, dtype=torch.float64)
    found = arrow.solve(right, torch.zeros(problems).double()).x
    assert torch.allclose(found, torch.linalg.solve(whole, right), atol=1e-10)
    picked = arrow.select(torch.tensor([1])).solve(right[1:], torch.zeros(1).double()).x
    assert torch.allclose(picked, found[1:], atol=1e-12)
    inverse = torch.linalg.inv(whole)
    chain = Covariance(arrow)
    for found in chain.frames(chain.shared()):
        for k, t in enumerate(range(found.frames.start, found.frames.stop)):
            here = slice(t * n, (t + 1) * n)
            assert torch.allclose(found.own[:, k], inverse[:, here, here], atol=1e-10)


def test_a_start_that_is_one_row_broadcast_over_the_clip(body):
    """torch's median of a broadcast tensor is whatever stood in memory."""
    problem = moving_problem(body, JointAcceleration())
    place = problem.base["transl"][:, :1].expand(-1, FRAMES, -1)
    found = []
    for transl in (place, place.clone()):
        start = problem.start.replace({"transl": transl})
        residuals = JointAcceleration().residuals(replace(problem, start=start).scene(problem.base))
        found.append(residuals.values.numpy())
    np.testing.assert_array_equal(*found)
