"""The Gauss-Newton matrix against J' W J from automatic differentiation, the arrow's solution against a dense one."""

from dataclasses import replace

import pytest
import roma
import torch
from test_terms import PROBLEMS, TERMS, make_problem

from fitting import geodesic
from fitting.curvature import LeastSquares, item_weights
from fitting.solvers import Arrow, Blocks
from fitting.steering import steer
from fitting.turns import inverse_left_jacobian, left_jacobian

FREE = {
    "betas", "expression", "global_orient", "jaw_pose", "leye_pose", "reye_pose", "neck_pose", "transl", "scale",
    "focal", "keypoint_offsets",
}  # fmt: skip


def to_dense(arrow: Arrow) -> torch.Tensor:
    own, border, corner = arrow.blocks(slice(0, arrow.frames))
    own = own + torch.diag_embed(arrow.links(slice(0, arrow.frames)).own)
    problems, frames, n, m = border.shape
    whole = torch.zeros(problems, frames * n + m, frames * n + m, dtype=torch.float64)
    for t in range(frames):
        here = slice(t * n, (t + 1) * n)
        whole[:, here, here] = own[:, t]
        whole[:, here, frames * n :] = border[:, t]
        whole[:, frames * n :, here] = border[:, t].mT
        for distance, band in ((1, arrow.next), (2, arrow.second)):
            if t + distance < frames:
                there = slice((t + distance) * n, (t + distance + 1) * n)
                whole[:, here, there] = torch.diag_embed(band[:, t])
                whole[:, there, here] = torch.diag_embed(band[:, t])
    whole[:, frames * n :, frames * n :] = arrow.corner + corner
    return whole


def slow_gauss_newton(problem, x, term):
    """J' W J of one term, one problem at a time, with the weights of reweighted least squares."""
    matrices = []
    for p in range(PROBLEMS if term.residuals(problem.scene(problem.base)) is not None else 0):
        single = problem.select(torch.tensor([p]))

        def values(y, single=single):
            return term.residuals(single.scene(single.retract(y[None]))).values[0]

        J = torch.autograd.functional.jacobian(values, x[p]).flatten(0, -2)
        residuals = term.residuals(single.scene(single.retract(x[p : p + 1])))
        weights = item_weights(term, residuals)
        weights = weights[0, ..., None].expand(residuals.values.shape[1:]).flatten()
        matrices.append(J.T @ (J * weights[:, None]))
    return torch.stack(matrices) if matrices else torch.zeros(0)


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("kernel", ["squared", "huber"])
@pytest.mark.parametrize("name", TERMS)
def test_gauss_newton_equals_automatic_differentiation(random_body, name, kernel, frames):
    """Wherever a stage has gone: joints are turned by half a radian and more."""
    problem = make_problem(random_body, name, kernel, free=FREE, frames=frames)
    problem = replace(problem, terms={name: problem.terms[name]})
    torch.manual_seed(3)
    x = 3 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    term = problem.terms[name]
    if term.structure == "stencil":  # treats rotations as vectors
        x = 0.01 * x
    if term.structure == "pixels":  # offsets of landmarks stay out of the derivative by rotations
        place = problem.shared["keypoint_offsets"]
        border = problem.size - problem.shared["keypoint_offsets"].stop
        x[:, border + place.start : border + place.stop] = 0
    found = to_dense(LeastSquares(problem).curvature(x, torch.arange(PROBLEMS)))
    expected = slow_gauss_newton(problem, x, term)
    if expected.numel() == 0:
        assert found.abs().max() == 0
        return
    assert found.abs().max() > 0
    tolerance = 2e-2 if term.structure == "stencil" else 1e-9
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("kernel", ["squared", "huber"])
@pytest.mark.parametrize("name", ["expression", "velocity", "acceleration"])
def test_gauss_newton_of_beliefs_counted_by_size(random_body, name, kernel, frames, monkeypatch):
    """In windows and at once: what frames lean on the shape with."""
    problem = make_problem(random_body, name, kernel, free=FREE, frames=frames)
    problem = replace(problem, terms={name: problem.terms[name].model_copy(update={"by_size": True})})
    torch.manual_seed(3)
    x = 0.05 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    x[:, -problem.body.blocks[0].size :] *= 10
    expected = slow_gauss_newton(problem, x, problem.terms[name])
    if expected.numel() == 0:
        return
    n = sum(place.stop - place.start for place in problem.local.values())
    betas = problem.shared["betas"]
    tie = expected[:, : frames * n, frames * n :][..., betas]
    assert tie.abs().max() > 1e-3 * expected.abs().max()
    every = torch.arange(PROBLEMS)
    found = to_dense(LeastSquares(problem).curvature(x, every))
    assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()
    assert (found[:, : frames * n, frames * n :][..., betas] - tie).abs().max() <= 2e-2 * tie.abs().max()
    corner = slice(frames * n + betas.start, frames * n + betas.stop)
    torch.testing.assert_close(found[:, corner, corner], expected[:, corner, corner], rtol=2e-2, atol=1e-6)
    monkeypatch.setattr("fitting.problem.WINDOW", 3)
    monkeypatch.setattr("fitting.problem.STRETCH", 3)
    values, gradient = LeastSquares(replace(problem)).evaluate(x, every)
    alone = x.clone().requires_grad_()
    (slow,) = torch.autograd.grad(problem.objective(alone).sum(), alone)
    torch.testing.assert_close(gradient, slow)


@pytest.mark.parametrize("name", ["expression", "velocity", "acceleration"])
def test_nothing_is_gained_by_a_smaller_body(random_body, name):
    """Where lengths shrink with the body, a belief that is counted by its size costs the same."""
    problem = make_problem(random_body, name, free=FREE)
    sizes, truth = problem.body.sizes, problem.base
    torch.manual_seed(3)
    betas = torch.randn_like(truth["betas"])
    moved = {block: torch.randn_like(truth[block]) for block in ("expression", "transl")}
    size = sizes.of(betas)[..., None]
    assert (size - 1).abs().min() > 1e-3
    here = truth.replace(moved)
    there = truth.replace({"betas": betas, **{block: value * size for block, value in moved.items()}})
    for by_size in (False, True):
        term = problem.terms[name].model_copy(update={"by_size": by_size})
        cost, other = (replace(problem, terms={name: term}).total(p) for p in (here, there))
        assert torch.allclose(cost, other, rtol=1e-9) == by_size


def test_the_size_of_a_body_is_that_of_its_points_at_rest(random_body):
    problem = make_problem(random_body, "shape")
    torch.manual_seed(3)
    betas = torch.randn(5, random_body.blocks[0].size, dtype=torch.float64)
    rest = random_body.neutral(5, 1).replace({"betas": betas[:, None]})
    body = problem.body
    points = [body.pose(p).points[:, 0] for p in (rest, rest.replace({"betas": torch.zeros_like(rest["betas"])}))]
    spread = [(p - p.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2)).sqrt() for p in points]
    torch.testing.assert_close(body.sizes.of(betas), spread[0] / spread[1], rtol=1e-6, atol=0)
    slope = torch.autograd.functional.jacobian(lambda b: body.sizes.of(b).log(), betas)
    torch.testing.assert_close(body.sizes.slope(betas), slope[torch.arange(5), torch.arange(5)])


def test_landmark_offsets_bend_the_matrix_little(random_body):
    problem = make_problem(random_body, "keypoints", free=FREE)
    problem = replace(problem, terms={"keypoints": problem.terms["keypoints"]})
    torch.manual_seed(3)
    x = 0.02 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    found = to_dense(LeastSquares(problem).curvature(x, torch.arange(PROBLEMS)))
    expected = slow_gauss_newton(problem, x, problem.terms["keypoints"])
    assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()


@pytest.mark.parametrize("name", TERMS)
def test_the_bend_of_a_path_equals_numerical_differentiation(random_body, name, monkeypatch):
    """In windows and at once; beliefs have none."""
    problem = make_problem(random_body, name, "huber", free=FREE, frames=4)
    problem = replace(problem, terms={name: problem.terms[name]})
    torch.manual_seed(3)
    x, step = (s * torch.randn(PROBLEMS, problem.size, dtype=torch.float64) for s in (0.3, 0.05))
    term = problem.terms[name]
    found = LeastSquares(problem).bend(x, step, torch.arange(PROBLEMS))
    if term.structure != "pixels":
        assert found.abs().max() == 0
        return

    def values(y):
        return term.residuals(problem.scene(problem.retract(y))).values

    h = 1e-2
    ahead, here, behind = (values(steer(problem, x, x + k * h * step)) for k in (1, 0, -1))
    second = 0.5 * (ahead - 2 * here + behind) / h**2
    weights = item_weights(term, term.residuals(problem.scene(problem.retract(x))))
    (expected,) = torch.func.vjp(values, x)[1](second * weights[..., None])
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()
    monkeypatch.setattr("fitting.problem.WINDOW", 3)
    torch.testing.assert_close(geodesic.bend(replace(problem), x, step), found)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.9e-3, 1.1e-3, 0.3, 2.0, 3.0])
def test_turns_of_vectors_equal_automatic_differentiation(angle):
    vector = angle * torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
    R = roma.rotvec_to_rotmat(vector)

    def turn(moved):  # vee of dR R'
        skew = roma.rotvec_to_rotmat(moved) @ R.T
        return torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])

    def log(step):
        return roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(step) @ R)

    tiny = 1e-9 * torch.ones(3, dtype=torch.float64)
    there = torch.autograd.functional.jacobian(turn, vector)
    back = torch.autograd.functional.jacobian(log, tiny)
    torch.testing.assert_close(left_jacobian(vector), there, rtol=0, atol=1e-7)
    torch.testing.assert_close(inverse_left_jacobian(vector), back, rtol=0, atol=1e-6)


def random_arrow(problems, frames, n, m, window, seed=0):
    torch.manual_seed(seed)
    own = torch.randn(problems, frames, n, 2 * n, dtype=torch.float64)
    tie = torch.rand(problems, max(frames - 1, 0), n, dtype=torch.float64) * 0.3
    far = torch.rand(problems, max(frames - 2, 0), n, dtype=torch.float64) * 0.1
    border = torch.randn(problems, frames, n, m, dtype=torch.float64)
    part = torch.randn(problems, m, 3 * m, dtype=torch.float64)
    whole = Blocks(own @ own.mT + 5 * torch.eye(n), border, part @ part.mT + 40 * frames * torch.eye(m).double())

    def blocks(asked):
        share = (asked.stop - asked.start) / frames
        return Blocks(whole.own[:, asked].clone(), whole.border[:, asked].clone(), whole.corner * share)

    return Arrow(frames, n, m, window, -tie, far, torch.zeros_like(whole.corner), blocks)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("frames", [1, 2, 3, 11])
@pytest.mark.parametrize("m", [0, 4])
@pytest.mark.parametrize("kept", ["in memory", "in a file", "not at all"])
def test_arrow_solves_what_the_dense_matrix_solves(frames, m, window, kept, monkeypatch):
    monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", 1 << 30 if kept == "in memory" else 0)
    monkeypatch.setattr("fitting.solvers.shelf.SPARE", 4 if kept == "in a file" else float("inf"))
    arrow = random_arrow(2, frames, 5, m, window)
    right = torch.randn(2, frames * 5 + m, dtype=torch.float64)
    damping = torch.tensor([0.0, 0.3]).double()
    dense = to_dense(arrow)
    diagonal = dense.diagonal(dim1=1, dim2=2)
    solved = arrow.solve(right, damping)
    torch.testing.assert_close(
        solved.x, torch.linalg.solve(dense + torch.diag_embed(damping[:, None] * diagonal), right)
    )
    torch.testing.assert_close(solved.diagonal, diagonal)


def test_not_a_bit_depends_on_where_windows_are_kept(monkeypatch):
    arrow, right = random_arrow(1, 11, 5, 4, 2), torch.randn(1, 59, dtype=torch.float64)
    found = []
    for kept, spare in ((1 << 30, 4), (0, 4), (0, float("inf"))):
        monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", kept)
        monkeypatch.setattr("fitting.solvers.shelf.SPARE", spare)
        factored = arrow.factor(torch.full((1,), 0.1).double())
        found.append((factored.solve(right), factored.solve(2 * right)))
        assert bool(factored.kept.written) == (kept == 0 and spare == 4)
    assert all(torch.equal(a, b) for one in found[1:] for a, b in zip(found[0], one, strict=True))


def test_no_place_for_a_file_is_no_failure(monkeypatch):
    def refuse(**_):
        raise PermissionError("read only")

    monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", 0)
    monkeypatch.setattr("fitting.solvers.shelf.tempfile.TemporaryFile", refuse)
    arrow, right = random_arrow(1, 11, 5, 4, 2), torch.randn(1, 59, dtype=torch.float64)
    found = arrow.solve(right, torch.zeros(1).double()).x
    torch.testing.assert_close(found, torch.linalg.solve(to_dense(arrow), right))


def test_a_matrix_that_is_not_positive_definite_gives_nan_in_its_own_problem_only():
    arrow = random_arrow(2, 3, 5, 2, 100)
    own, border, corner = arrow.blocks(slice(0, 3))
    own[1, 1] -= 1e3 * torch.eye(5)
    broken = replace(arrow, blocks=lambda _: Blocks(own, border, corner))
    solved = broken.solve(torch.ones(2, 17).double(), torch.zeros(2).double()).x
    assert torch.isfinite(solved[0]).all() and torch.isnan(solved[1]).any()


@pytest.mark.parametrize("name", TERMS)
def test_windows_change_nothing(random_body, name, monkeypatch):
    problem = make_problem(random_body, name, free=FREE, frames=7)
    torch.manual_seed(5)
    x = 0.5 * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)
    rows = torch.arange(PROBLEMS)
    values, gradient = problem.evaluate(x, rows)
    whole = to_dense(LeastSquares(problem).curvature(x, rows))
    monkeypatch.setattr("fitting.problem.WINDOW", 3)
    monkeypatch.setattr("fitting.problem.STRETCH", 3)
    monkeypatch.setattr("fitting.curvature.WINDOW", 3)
    fresh = replace(problem)
    in_parts, slope = fresh.evaluate(x, rows)
    torch.testing.assert_close(in_parts, values)
    torch.testing.assert_close(slope, gradient)
    arrow = LeastSquares(fresh).curvature(x, rows)
    parts = [arrow.blocks(window) for window in arrow.windows()]
    assert len(parts) == 3
    own, border = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("own", "border"))
    joined = Blocks(own, border, sum(part.corner for part in parts))
    torch.testing.assert_close(to_dense(replace(arrow, blocks=lambda _: joined)), whole)
