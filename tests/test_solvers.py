"""Every solver on problems whose answer is known, side by side, each with its own stop."""

import pytest
import torch

from fitting.solvers import SOLVERS, Arrow, Blocks, SolverOptions
from fitting.types import Stop


class Objective:
    """A function of unknowns and row numbers; its curvature by double differentiation, as an arrow of one frame."""

    def __init__(self, function):
        self.function = function

    def evaluate(self, x, rows):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self.function(x, rows)
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach().double(), gradient

    def curvature(self, x, rows):
        def hessian(y, row):
            return torch.autograd.functional.hessian(lambda z: self.function(z[None], row[None])[0], y)

        matrices = torch.stack([hessian(y, row) for y, row in zip(x, rows, strict=True)])
        # Positive definite, as a Gauss-Newton matrix is.
        values, vectors = torch.linalg.eigh(matrices)
        own = vectors @ torch.diag_embed(values.abs().clamp(min=1e-6)) @ vectors.mT
        count, n = x.shape
        blocks = Blocks(own[:, None], x.new_zeros(count, 1, n, 0), x.new_zeros(count, 0, 0))
        ties = x.new_zeros(count, 0, n)
        return Arrow(1, n, 0, 1, ties, ties, blocks.corner, lambda window: blocks)

    def steer(self, start, end, rows):
        return end

    def bend(self, x, step, rows):
        return None  # asked for of clips only


def quadratics(x, rows):
    """Condition numbers 1, 10, 100, 1000; the minimum of problem k is at k + 1."""
    scales = torch.stack([torch.ones_like(rows).double(), 10.0**rows], dim=1)
    return (scales * (x - (rows[:, None] + 1)) ** 2).sum(dim=1)


def rosenbrock(x, rows):
    return 100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2


@pytest.mark.parametrize("name", SOLVERS)
def test_quadratics_of_different_difficulty(name):
    options = SolverOptions(iterations=3000, tolerance=1e-9, step=0.3)
    found = SOLVERS[name](Objective(quadratics), torch.zeros(4, 2, dtype=torch.float64), options)
    torch.testing.assert_close(found.x, torch.arange(1.0, 5.0).double()[:, None].expand(4, 2), atol=2e-3, rtol=0)
    assert set(found.stop) <= {Stop.CONVERGED, Stop.NO_DESCENT}


@pytest.mark.parametrize("name", SOLVERS)
def test_rosenbrock(name):
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
    found = SOLVERS[name](Objective(rosenbrock), start, SolverOptions(iterations=5000, tolerance=1e-12, step=0.1))
    assert (found.value < 1e-3).all()


def test_lbfgs_solves_rosenbrock_exactly():
    start = torch.tensor([[-1.2, 1.0], [1.3, 1.3]], dtype=torch.float64)
    found = SOLVERS["lbfgs"](Objective(rosenbrock), start, SolverOptions(iterations=200, tolerance=1e-15))
    torch.testing.assert_close(found.x, torch.ones(2, 2, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_result_does_not_depend_on_the_company(name):
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
    options = SolverOptions(iterations=40)
    together = SOLVERS[name](Objective(rosenbrock), start, options)
    for row in range(3):
        alone = SOLVERS[name](Objective(rosenbrock), start[row : row + 1], options)
        torch.testing.assert_close(alone.x[0], together.x[row], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_never_worse_than_the_start_even_with_a_wild_step(name):
    start = torch.tensor([[0.9, 0.9], [-3.0, 5.0]], dtype=torch.float64)
    found = SOLVERS[name](Objective(rosenbrock), start, SolverOptions(iterations=7, step=100.0))
    assert (found.value <= rosenbrock(start, None)).all()
    torch.testing.assert_close(rosenbrock(found.x, None), found.value)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_problem_that_is_not_finite_stops_alone(name):
    def broken(x, rows):
        return rosenbrock(x, rows) + torch.where(rows == 1, torch.nan, 0.0)

    found = SOLVERS[name](Objective(broken), torch.zeros(3, 2, dtype=torch.float64), SolverOptions(iterations=300))
    assert found.stop[1] == Stop.NOT_FINITE
    assert (found.x[1] == 0).all()
    assert found.value[0] < 1e-2 and found.value[2] < 1e-2


class Counted(Objective):
    """Counts what it is asked for."""

    def __init__(self, function):
        super().__init__(function)
        self.gradients = self.matrices = 0

    def evaluate(self, x, rows):
        self.gradients += len(rows)
        return super().evaluate(x, rows)

    def curvature(self, x, rows):
        self.matrices += len(rows)
        return super().curvature(x, rows)


class Clip:
    """Frames of two unknowns that nothing ties: half the sum of squares of some residuals of each."""

    def __init__(self, residuals, is_bending=True):
        self.residuals, self.is_bending, self.matrices = residuals, is_bending, 0

    def evaluate(self, x, rows):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = 0.5 * self.residuals(x.unflatten(1, (-1, 2))).square().sum(dim=(1, 2))
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradient

    def jacobian(self, x):
        frames = x.unflatten(1, (-1, 2))[0]
        return torch.stack([torch.func.jacrev(lambda y: self.residuals(y[None, None])[0, 0])(y) for y in frames])

    def curvature(self, x, rows):
        self.matrices += 1
        own, none = (J := self.jacobian(x)).mT @ J, x.new_zeros(1, 0, 0)
        border = x.new_zeros(1, len(own), 2, 0)
        ties = x.new_zeros(1, len(own), 2)
        blocks = lambda window: Blocks(own[None, window].clone(), border[:, window], none)  # noqa: E731
        return Arrow(len(own), 2, 0, 2, ties[:, 1:], ties[:, 2:], none, blocks)

    def steer(self, start, end, rows):
        return end

    def bend(self, x, step, rows):
        def along(t):
            return self.residuals((x + t * step).unflatten(1, (-1, 2)))

        speed = torch.func.jacfwd(torch.func.jacfwd(along))(torch.zeros(()).to(x))
        return (0.5 * speed[0, :, None] @ self.jacobian(x)).flatten()[None] if self.is_bending else None


def banana(frames):
    return torch.stack([1 - frames[..., 0], 3 * (frames[..., 1] - frames[..., 0] ** 2)], dim=-1)


def test_steps_of_a_clip_follow_a_curved_valley():
    """Rosenbrock's, in three frames."""
    start = torch.tensor([[0.0, 0.0, 0.3, 0.1, -0.2, 0.0]], dtype=torch.float64)
    matrices = []
    for is_bending in (True, False):
        clip = Clip(banana, is_bending)
        found = SOLVERS["lm"](clip, start, SolverOptions(200, 1e-9))
        assert (found.x - 1).abs().max() < 1e-3
        matrices.append(clip.matrices)
    assert matrices[0] < matrices[1]


def test_a_clip_s_step_that_is_too_long_is_shortened_with_the_same_matrix():
    """Newton's steps on arctan overshoot by far from 1.4 on."""
    clip = Clip(torch.arctan, is_bending=False)
    found = SOLVERS["lm"](clip, torch.full((1, 6), 3.0, dtype=torch.float64), SolverOptions(1, 1e-9))
    begin, _ = clip.evaluate(torch.full((1, 6), 3.0, dtype=torch.float64), torch.arange(1))
    assert clip.matrices == 1 and found.iterations[0] == 1 and found.value[0] < begin[0]


def test_no_matrix_is_made_that_decides_nothing():
    """From the bottom's edge: one step, after which the same factor says that nothing is left."""
    objective = Counted(lambda x, rows: 100 + quadratics(x, rows))
    start = torch.arange(1.0, 5.0).double()[:, None] + torch.tensor([0.1, 0.01]).double()
    found = SOLVERS["lm"](objective, start, SolverOptions(tolerance=1e-8))
    assert set(found.stop) == {Stop.CONVERGED} and (found.value - 100 < 1e-6).all()
    assert (objective.matrices, objective.gradients) == (4, 8)


def test_a_rejected_step_is_tried_again_on_the_same_matrix():
    """A wall on the way: the full step passes it, and only damping can tell."""

    def walled(x, rows):
        return (x[:, 0] + 5) ** 2 + x[:, 1] ** 2 + 1e4 * (-x[:, 0]).clamp(min=0) ** 2

    objective = Counted(walled)
    found = SOLVERS["lm"](objective, torch.tensor([[1.0, 1.0]], dtype=torch.float64), SolverOptions(iterations=60))
    assert found.value[0] < 25 + 1e-2
    assert objective.matrices < objective.gradients - 3
