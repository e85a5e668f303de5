"""Newton's method on functions whose saddles and minima are known."""

import torch

from fitting.solvers import SolverOptions, saddle_free
from fitting.solvers.saddle_free import Model, absolute_factor, solve, solve_absolute
from fitting.types import Stop


class Function:
    """Of points (problems, n), with automatic derivatives; `reach` of every unknown."""

    def __init__(self, function, start, reach=torch.inf):
        self.function, self.here, self.reach = function, start.clone(), reach
        self.count, self.values, self.models = len(start), 0, 0

    def value(self, step, rows):
        self.values += len(rows)
        self.tried = self.here[rows] + step, rows
        return self.function(*self.tried)

    def model(self, rows):
        self.models += len(rows)
        x = self.here[rows]
        gradient = torch.autograd.functional.jacobian(lambda y: self.function(y, rows).sum(), x)
        hessian = torch.stack(
            [
                torch.autograd.functional.hessian(lambda y, row=row: self.function(y[None], row[None])[0], point)
                for point, row in zip(x, rows, strict=True)
            ]
        )
        return Model(gradient, hessian, torch.ones_like(x), torch.full_like(x, self.reach))

    def move(self, accepted):
        there, rows = self.tried
        self.here[rows[accepted]] = there[accepted]


def double_well(x, rows):
    """Minima of -1/4 at (+-1, 0), a saddle at 0; problem k's second axis is 10^k times as steep."""
    return 0.25 * x[:, 0] ** 4 - 0.5 * x[:, 0] ** 2 + 0.5 * 10.0**rows * x[:, 1] ** 2


def run(function, start, reach=torch.inf, **options):
    objective = Function(function, start, reach)
    return saddle_free.minimise(objective, start.shape[1], SolverOptions(**options), start), objective


def test_a_saddle_is_left():
    start = torch.tensor([[1e-3, 1.0], [-1e-3, 1.0], [1e-6, -2.0]], dtype=torch.float64)
    found, objective = run(double_well, start, tolerance=1e-12)
    torch.testing.assert_close(found.value, torch.full((3,), -0.25).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(objective.here[:, 0], torch.tensor([1.0, -1.0, 1.0]).double(), atol=1e-3, rtol=0)
    assert set(found.stop) == {Stop.CONVERGED}


def test_never_higher_and_each_with_a_stop_of_its_own():
    start = torch.tensor([[3.0, 5.0], [0.5, 0.0], [-40.0, 1.0]], dtype=torch.float64)
    before = double_well(start, torch.arange(3))
    for iterations in (1, 2, 5, 40):
        found, objective = run(double_well, start, iterations=iterations)
        assert (found.value <= before).all() and (found.iterations <= iterations).all()
        torch.testing.assert_close(double_well(objective.here, torch.arange(3)), found.value)
        before = found.value
    alone = [run(double_well, start[k : k + 1] * 1.0, iterations=40)[0].value for k in (0,)]
    torch.testing.assert_close(alone[0][0], found.value[0])


def test_where_it_is_not_finite_it_stops_alone():
    def broken(x, rows):
        return double_well(x, rows) + torch.where(rows == 1, torch.nan, 0.0)

    start = torch.tensor([[0.3, 1.0], [0.3, 1.0]], dtype=torch.float64)
    found, objective = run(broken, start)
    assert found.stop[1] == Stop.NOT_FINITE and (objective.here[1] == start[1]).all()
    assert abs(found.value[0] + 0.25) < 1e-4


def test_trials_cost_values_and_no_models():
    def walled(x, rows):
        return (x[:, 0] + 5) ** 2 + x[:, 1] ** 2 + 1e6 * (-x[:, 0]).clamp(min=0) ** 4

    found, objective = run(walled, torch.tensor([[1.0, 1.0]], dtype=torch.float64), iterations=60)
    assert objective.models < objective.values - 2


def test_no_unknown_alone_goes_further_than_its_reach():
    gradient = torch.tensor([[100.0, -3.0, 1e-3]], dtype=torch.float64)
    flat = Model(
        gradient, 1e-6 * torch.eye(3).double()[None], torch.ones(1, 3).double(), torch.full((1, 3), 2.0).double()
    )
    step, predicted = solve(flat, torch.zeros(1).double())
    assert (step.abs() <= 2).all() and (step * gradient < 0).all() and predicted > 0
    free = flat._replace(reach=torch.full((1, 3), torch.inf).double())
    assert solve(free, torch.zeros(1).double())[0].abs().max() > 1e6


def test_the_absolute_factor_is_that_of_the_blocks():
    """Rebuilt from L and D by hand, 1 x 1 and 2 x 2 blocks by their eigenvalues."""
    torch.manual_seed(0)
    matrices = torch.randn(6, 9, 9, dtype=torch.float64)
    matrices = matrices + matrices.mT
    matrices[0] = matrices[0] @ matrices[0] + torch.eye(9)  # positive definite: stays as it is
    factor, pivots = absolute_factor(matrices.clone())
    inverse = torch.linalg.ldl_solve(factor, pivots, torch.eye(9).double().expand(6, 9, 9).contiguous())
    torch.testing.assert_close(inverse[0], torch.linalg.inv(matrices[0]))
    plain, same = torch.linalg.ldl_factor(matrices)
    seen = 0
    for k in range(1, 6):
        assert torch.linalg.eigvalsh(inverse[k])[0] > 0 > torch.linalg.eigvalsh(matrices[k])[0]
        paired, column = (same[k] < 0).tolist(), 0
        while column < 9:
            size = 2 if paired[column] else 1
            place = slice(column, column + size)
            block = torch.tril(plain[k][place, place]) + torch.tril(plain[k][place, place], -1).T
            values, vectors = torch.linalg.eigh(block)
            expected = vectors @ torch.diag(values.abs()) @ vectors.T
            torch.testing.assert_close(torch.tril(factor[k][place, place]), torch.tril(expected))
            seen += size == 2
            column += size
    assert seen > 0  # such blocks are met


def test_by_cholesky_or_by_absolute_blocks_it_is_the_same_matrix():
    """One positive definite, one indefinite: |L D L'| of the first is the matrix itself."""
    torch.manual_seed(0)
    some = torch.randn(2, 7, 7, dtype=torch.float64)
    sure = some[0] @ some[0].mT + torch.eye(7)
    matrix, right = torch.stack([sure, some[1] + some[1].mT]), torch.randn(2, 7, dtype=torch.float64)
    found = solve_absolute(matrix.tril(), right)
    torch.testing.assert_close(found[0], torch.linalg.solve(sure, right[0]))
    expected = torch.linalg.ldl_solve(*absolute_factor(matrix), right[..., None])[..., 0]
    torch.testing.assert_close(found, expected)
