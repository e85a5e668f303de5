"""A factored arrow: solved with as often as one likes, whatever of it is kept in memory."""

from dataclasses import replace

import pytest
import torch
from test_curvature import random_arrow, to_dense

N, M = 5, 4


def damped(arrow, damping):
    dense = to_dense(arrow)
    return dense + torch.diag_embed(damping[:, None] * dense.diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_every_right_side_is_solved_for(frames, kept, monkeypatch):
    monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", kept)
    arrow, damping = random_arrow(2, frames, N, M, window=2), torch.tensor([0.1, 0.3]).double()
    factored, dense = arrow.factor(damping), damped(arrow, damping)
    for seed in range(3):
        right = torch.randn(2, frames * N + M, generator=torch.Generator().manual_seed(seed)).double()
        torch.testing.assert_close(factored.solve(right), torch.linalg.solve(dense, right))
    torch.testing.assert_close(factored.diagonal, to_dense(arrow).diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("when", ["before", "after"])
def test_some_of_the_problems(frames, when):
    """Chosen before the first right side as well as after it."""
    arrow, damping = random_arrow(3, frames, N, M, window=4), torch.tensor([0.1, 0.2, 0.3]).double()
    right, factored = torch.randn(3, frames * N + M).double(), arrow.factor(damping)
    expected = torch.linalg.solve(damped(arrow, damping), right)
    if when == "after":
        factored.solve(right)
    rows = torch.tensor([2, 0])
    chosen = factored.select(rows)
    torch.testing.assert_close(chosen.solve(right[rows]), expected[rows])
    torch.testing.assert_close(chosen.diagonal, to_dense(arrow).diagonal(dim1=1, dim2=2)[rows])


def test_the_diagonal_may_be_asked_for_first():
    arrow, damping = random_arrow(2, 5, N, M, window=2), torch.tensor([0.1, 0.3]).double()
    factored, right = arrow.factor(damping), torch.randn(2, 5 * N + M).double()
    torch.testing.assert_close(factored.diagonal, to_dense(arrow).diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(factored.solve(right), torch.linalg.solve(damped(arrow, damping), right))


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_not_a_bit_depends_on_what_is_kept(precision, monkeypatch):
    """A window that is built again is the window that was kept."""
    arrow = replace(random_arrow(1, 11, N, M, window=3), precision=precision)
    right, damping, found = torch.randn(1, 11 * N + M), torch.full((1,), 0.1).double(), []
    windows = []
    for kept in (0, 15_500, 1 << 30):  # only the last; some; all
        monkeypatch.setattr("fitting.solvers.arrow.KEPT_BYTES", kept)
        factored = arrow.factor(damping)
        found.append(torch.cat([factored.solve(right), factored.solve(right)]))
        windows.append(len(factored.kept.held))
    assert windows[0] == 1 and windows[0] < windows[1] <= windows[2] == 4
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    exact = torch.linalg.solve(damped(arrow, damping), right.double())
    error = (found[0] - exact).abs().max() / exact.abs().max()
    assert error < (1e-5 if precision == torch.float32 else 1e-12)
