"""Frames taken out by compiled code against the same in torch and against dense matrices."""

from dataclasses import replace

import pytest
import torch
from test_curvature import random_arrow
from test_factored import damped
from test_saddle_free import double_well, run

from fitting.solvers import chain, compiled, saddle_free
from fitting.solvers.chain import Carry, Right
from fitting.solvers.saddle_free import Model

pytest.importorskip("numba", reason="the `fast` extra is not installed")
pytest.importorskip("threadpoolctl", reason="the `fast` extra is not installed")


@pytest.fixture(autouse=True)
def short_chains_too(monkeypatch):
    monkeypatch.setattr(compiled, "LEAST_FRAMES", 2)


@pytest.fixture
def windows_taken(monkeypatch):
    """How many windows the compiled code has taken out."""
    taken, eliminate = [], compiled.eliminate
    monkeypatch.setattr(compiled, "eliminate", lambda *given: taken.append(given) or eliminate(*given))
    return taken


# Fewer unknowns than pivots swept together, one more or less than some rows of lanes, more than a window's frames.
@pytest.mark.parametrize("n, m", [(1, 1), (3, 2), (15, 4), (16, 4), (17, 40), (33, 5)])
@pytest.mark.parametrize("frames, window", [(2, 2), (11, 3), (23, 23)])
def test_a_chain_is_solved_exactly(n, m, frames, window, windows_taken):
    arrow, damping = random_arrow(1, frames, n, m, window), torch.full((1,), 0.1).double()
    factored, dense = arrow.factor(damping), damped(arrow, damping)
    for seed in range(2):  # the second goes down the finished factor
        right = torch.randn(1, frames * n + m, generator=torch.Generator().manual_seed(seed)).double()
        torch.testing.assert_close(factored.solve(right), torch.linalg.solve(dense, right))
    assert len(windows_taken) == -(-frames // window)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_right", [True, False])
def test_all_that_is_kept_and_carried_is_the_plain_code_s(precision, with_right):
    n, m, frames = 13, 6, 10
    arrow = random_arrow(1, frames, n, m, window=frames)
    own, border, _ = arrow.blocks(slice(0, frames))
    draw = torch.Generator().manual_seed(1)
    shapes = ((1, 2, n, n), (1, 2, n, m), (1, n, n))
    small = [0.01 * torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    carry = Carry(small[0] + small[0].mT, small[1], small[2].mT)  # a tie that is not in the order of its rows
    carried = torch.randn(1, 2, n, m, generator=draw, dtype=torch.float64)[..., 0]
    right = Right(torch.randn(1, frames, n, generator=draw).double(), carried) if with_right else None
    given = (own.to(precision), border.to(precision), arrow.links(slice(0, frames)), carry, right, precision)
    before = [part.clone() for part in carry]
    plain, found = chain.eliminate(*given), compiled.eliminate(*given)
    for expected, part in zip(plain.carry, found.carry, strict=True):
        torch.testing.assert_close(part, expected)
    for name in ("inverse", "tie", "border"):
        torch.testing.assert_close(getattr(found.done, name), getattr(plain.done, name))
    torch.testing.assert_close(found.schur, plain.schur)
    for expected, part in zip(plain.forward or (), found.forward or (), strict=True):
        torch.testing.assert_close(part, expected)
    assert all(torch.equal(one, other) for one, other in zip(carry, before, strict=True))


def test_not_a_bit_depends_on_what_is_kept(monkeypatch):
    """Windows are read back from the file as what they were."""
    n, m, frames = 9, 4, 14
    arrow = replace(random_arrow(1, frames, n, m, window=4), precision=torch.float32)
    right, damping, found = torch.randn(1, frames * n + m), torch.full((1,), 0.1).double(), []
    for kept in (0, 1 << 30):
        monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", kept)
        factored = arrow.factor(damping)
        found.append(torch.cat([factored.solve(right), factored.solve(right)]))
        assert all(isinstance(factored._window(k), compiled.CompiledWindow) for k in range(4))
    assert torch.equal(found[0], found[1])
    exact = torch.linalg.solve(damped(arrow, damping), right.double())
    assert (found[0] - exact).abs().max() / exact.abs().max() < 1e-5


def test_what_is_not_positive_definite_gives_nan():
    arrow = random_arrow(1, 6, 5, 3, window=6)
    blocks = arrow.blocks

    def bent(window):
        found = blocks(window)
        own = found.own.clone()
        own[0, 3, 2, 2] = -1e3
        return found._replace(own=own)

    solved = replace(arrow, blocks=bent).factor(torch.zeros(1).double()).solve(torch.randn(1, 33).double())
    assert solved.isnan().any()
    assert arrow.factor(torch.zeros(1).double()).solve(torch.randn(1, 33).double()).isfinite().all()


def test_without_numba_frames_are_taken_out_in_torch(monkeypatch, windows_taken):
    monkeypatch.setattr(compiled, "is_there", lambda: False)
    arrow, damping = random_arrow(1, 7, 5, 3, window=3), torch.full((1,), 0.1).double()
    right = torch.randn(1, 38).double()
    torch.testing.assert_close(arrow.factor(damping).solve(right), torch.linalg.solve(damped(arrow, damping), right))
    assert windows_taken == []


def test_several_problems_and_short_chains_are_left_to_torch(monkeypatch, windows_taken):
    arrow, damping = random_arrow(2, 7, 5, 3, window=3), torch.full((2,), 0.1).double()
    arrow.factor(damping).solve(torch.randn(2, 38).double())
    monkeypatch.setattr(compiled, "LEAST_FRAMES", 8)
    random_arrow(1, 7, 5, 3, window=3).factor(damping[:1]).solve(torch.randn(1, 38).double())
    assert windows_taken == []


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_steps_of_many_problems_are_the_plain_code_s(precision, n):
    draw = torch.Generator().manual_seed(n)
    J = torch.randn(5, 2 * n, n, generator=draw, dtype=torch.float64)
    matrix = J.mT @ J + torch.eye(n).double()
    matrix[3] -= 1e3 * torch.eye(n).double()
    upper = torch.full_like(matrix, torch.nan).triu(1)  # is not looked at
    scale = matrix.diagonal(dim1=1, dim2=2).abs().clone()
    reach = torch.where(torch.arange(n) % 2 == 0, torch.inf, 2.0).double().expand(5, n).contiguous()
    model = Model(torch.randn(5, n, generator=draw).double(), (matrix.tril() + upper).to(precision), scale, reach)
    rows, damping = torch.tensor([4, 3, 0]), torch.tensor([0.1, 0.2, 0.3]).double()
    step, predicted = compiled.definite_steps(model.matrix, model.gradient, scale, reach, rows, damping)
    some = Model(model.gradient[rows], matrix.tril().to(precision)[rows], scale[rows], reach[rows])
    expected, decrease = saddle_free.solve(some, damping)
    assert predicted.isnan().tolist() == [False, True, False]
    closeness = {"rtol": 1e-4, "atol": 1e-5} if precision == torch.float32 else {}
    torch.testing.assert_close(step[[0, 2]], expected[[0, 2]], **closeness)
    torch.testing.assert_close(predicted[[0, 2]], decrease[[0, 2]], **closeness)


def test_saddles_are_left_by_compiled_steps_too(monkeypatch):
    """Of matrices that are not positive definite the steps come from the plain code."""
    taken, steps = [], compiled.definite_steps
    monkeypatch.setattr(compiled, "definite_steps", lambda *given: taken.append(len(given[4])) or steps(*given))
    start = torch.tensor([[1e-3, 1.0], [-1e-3, 1.0], [1e-6, -2.0]], dtype=torch.float64)
    for least, is_compiled in ((64, False), (1, True)):
        monkeypatch.setattr("fitting.compiled.MANY", least)
        found, _ = run(double_well, start, tolerance=1e-12)
        torch.testing.assert_close(found.value, torch.full((3,), -0.25).double(), atol=1e-8, rtol=0)
        assert bool(taken) == is_compiled
