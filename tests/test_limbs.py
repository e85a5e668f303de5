"""Matrices made limb by limb against those of all keypoints at once, on the open body with its hands by components."""

from dataclasses import dataclass, field, replace

import pytest
import roma
import torch
from torch import Tensor

from fitting import bodies, solve
from fitting.beliefs import unit_vector
from fitting.bodies.hands import left_jacobian
from fitting.camera import pixel_rows
from fitting.curvature import LeastSquares
from fitting.layouts import OPENPOSE137
from fitting.newton import Newton
from fitting.problem import Problem, differentiate, term_cost
from fitting.terms import Evidence, Terms
from fitting.types import Block, Parameters

PROBLEMS = 3
LAYOUT = OPENPOSE137


@dataclass(frozen=True)
class PoseComponents:
    """A decoder: a whole body's pose by a few numbers, which turn arms and legs alike, and heads."""

    components: Tensor  # size, 63
    block: Block = field(default_factory=lambda: Block("pose_code", "vector", 7, shared=False, unit=0.3))
    target: str = "body_pose"

    def decode(self, vector):
        return roma.rotvec_to_rotmat((vector @ self.components).unflatten(-1, (21, 3)))

    def steps(self, vector):
        by_joint = self.components.T.unflatten(0, (21, 3))
        turns = left_jacobian((vector @ self.components).unflatten(-1, (21, 3)))
        return (turns @ by_joint).flatten(-3, -2)


@pytest.fixture(scope="module")
def problem():
    return three_people(with_contour=True)


def three_people(with_contour, is_coded=False):
    """Keypoints of three people who stand some way from where they were seen."""
    torch.manual_seed(0)
    like = torch.zeros(0, dtype=torch.float64)
    body = bodies.load("open_body", betas=5, expressions=4, hand_pca=6).to(like)
    if is_coded:
        body = bodies.decoded(body, [PoseComponents(0.2 * torch.randn(7, 63).to(like))])
    embedding = body.embedding_of(LAYOUT)
    base = {**body.neutral(PROBLEMS, 1), "focal": torch.zeros(PROBLEMS, 1, 1).to(like)}
    base["scale"] = 0.1 * torch.randn(PROBLEMS, 1, 1).to(like)
    base["transl"] = torch.tensor([0.1, 0.2, -4.0]).to(like).expand(PROBLEMS, 1, 3)
    K = torch.tensor([[900.0, 0, 500], [0, 900, 500], [0, 0, 1]]).to(like).expand(PROBLEMS, 1, 3, 3)
    if not with_contour:
        embedding = replace(embedding, contour=None)
    points = torch.cat([embedding.points, *([embedding.contour.points] if with_contour else [])])
    count = len(points)
    evidence = Evidence(
        layout=LAYOUT,
        points=points,
        keypoints=torch.zeros(PROBLEMS, 1, count, 2).to(like),
        confidence=torch.rand(PROBLEMS, 1, count).to(like),
        subject_px=torch.full((PROBLEMS, 1), 400.0).to(like),
        seen=torch.ones(PROBLEMS, 1, dtype=torch.bool),
        linked=torch.zeros(PROBLEMS, 0, dtype=torch.bool),
    )
    keypoints = {"sigma": 0.01, "kernel": "geman_mcclure", "kernel_width": 20.0}
    terms = Terms.model_validate({"keypoints": keypoints, "shape": {}, "hand_components": {}, "jaw": {}}).named()
    free = tuple(block for block in body.blocks if block.name != "scale")
    found = Problem(body.restrict(embedding), 1.7, evidence, K, terms, Parameters(base), Parameters(base), free)
    pixels = found.scene(found.base).pixels
    evidence = replace(evidence, keypoints=pixels + 5 * torch.randn_like(pixels))
    found = replace(found, evidence=evidence)
    return replace(found, base=found.retract(2 * torch.randn(PROBLEMS, found.size, dtype=torch.float64)))


def test_a_limb_has_all_points_that_its_blocks_move(problem):
    limbs = Newton(problem).limbs
    apart = {limb.names for limb in limbs[1:]}
    assert apart == {("left_hand_pca",), ("right_hand_pca",), ("jaw_pose", "leye_pose", "reye_pose", "expression")}
    assert {name for limb in limbs for name in limb.names} == {block.name for block in problem.free}
    scene = problem.scene(problem.base)
    functional = pixel_rows(scene.posed.points, problem.K)
    whole = problem.body.differentiate(scene.parameters, scene.posed, functional, [b.name for b in problem.free])
    plain = torch.ones_like(scene.pixels[:, 0])
    for limb in limbs:
        found = limb.columns(scene.parameters, scene.posed, functional, problem.K, plain)
        for name, columns in zip(limb.names, found, strict=True):
            expected = whole[name][:, 0]
            torch.testing.assert_close(columns, expected[:, limb.points], atol=1e-10, rtol=1e-9)
            # What a regression of joints has left of an expression in other points is rounding.
            assert float(expected[:, ~limb.moved].abs().sum()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("is_coded", [False, True])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_model_is_that_of_all_points_together(is_compiled, is_coded, monkeypatch):
    """A contour, which slides, is left to torch."""
    if is_compiled:
        pytest.importorskip("numba", reason="the `fast` extra is not installed")
        monkeypatch.setattr("fitting.compiled.MANY", 1)
    problem = three_people(with_contour=not is_compiled, is_coded=is_coded)
    newton, rows = Newton(problem), torch.arange(PROBLEMS)
    same, zero = newton.problem, torch.zeros(PROBLEMS, newton.unknowns, dtype=torch.float64)
    assert (newton.products is not None) == is_compiled
    model = newton.model(rows)
    expected = LeastSquares(same).curvature(zero, rows).blocks(slice(0, 1)).own[:, 0]
    torch.testing.assert_close(model.scale, expected.diagonal(dim1=1, dim2=2), rtol=1e-6, atol=0)
    scene = same.scene(same.base)
    pixels = scene.pixels.detach().requires_grad_()
    seen = same.terms["keypoints"].residuals(replace(scene, take_picture=lambda: (scene.posed, pixels)))
    (slope,) = torch.autograd.grad(term_cost(same.terms["keypoints"], seen).sum(), pixels)
    forces = (pixel_rows(scene.posed.points, same.camera(scene.parameters)) * slope[..., None]).sum(dim=-2)
    bend = same.body.bend(same.base, scene.posed, forces, newton.turning)[:, 0]
    turns = torch.cat([torch.arange(newton.unknowns)[same.local[name]] for name in newton.turning])
    units = unit_vector(same, same.local)[turns]
    expected[:, turns[:, None], turns] += bend * units[:, None] * units
    scale = 1e-7 * float(expected.abs().max())
    torch.testing.assert_close(model.matrix.tril(), expected.tril(), atol=scale, rtol=1e-6)
    _, gradient = differentiate(same, zero)
    torch.testing.assert_close(model.gradient, gradient, atol=1e-7 * float(gradient.abs().max()), rtol=1e-6)


def test_some_problems_are_themselves(problem):
    newton = Newton(problem)
    every, some = newton.model(torch.arange(PROBLEMS)), newton.model(torch.tensor([2, 0]))
    for whole, part in zip(every, some, strict=True):
        torch.testing.assert_close(part, whole[[2, 0]])


def test_costs_looked_at_a_few_at_a_time_are_the_same(problem, monkeypatch):
    monkeypatch.setattr(solve, "LOOKED_AT", 2)
    torch.testing.assert_close(solve.totals(problem, problem.base), problem.total(problem.base))
