"""Long clips begin at what some of their frames say."""

from dataclasses import replace

import pytest
import torch
from test_terms import PROBLEMS, make_problem

from fitting import excerpt
from fitting.curvature import LeastSquares
from fitting.solvers import SOLVERS, SolverOptions

FREE = {"betas", "expression", "global_orient", "jaw_pose", "transl"}
FRAMES = 24


@pytest.fixture
def problem(random_body, monkeypatch):
    monkeypatch.setattr(excerpt, "PIECES", 3)
    monkeypatch.setattr(excerpt, "LENGTH", 4)
    names = ("keypoints", "shape", "expression", "velocity")
    parts = [make_problem(random_body, name, "huber", free=FREE, frames=FRAMES) for name in names]
    torch.manual_seed(4)
    evidence = parts[0].evidence
    moved = evidence.keypoints + 3 * torch.randn_like(evidence.keypoints) + 20
    terms = {name: part.terms[name] for name, part in zip(names, parts, strict=True)}
    return replace(parts[0], evidence=replace(evidence, keypoints=moved), terms=terms)


def test_pieces_are_spread_over_seen_frames_and_tied_within(problem):
    seen = problem.evidence.seen.clone()
    seen[:, :5] = False
    problem = replace(problem, evidence=replace(problem.evidence, seen=seen))
    frames = excerpt.excerpt(problem)
    assert frames.tolist() == [5, 6, 7, 8, 13, 14, 15, 16, 20, 21, 22, 23]
    linked = excerpt.only(problem, frames).evidence.linked[0]
    assert (linked == (problem.evidence.linked[0, frames[:-1]] & (frames.diff() == 1))).all()
    assert not linked[3] and not linked[7]


def test_what_is_shared_counts_for_the_pieces_share(problem):
    """Of a clip that repeats itself an excerpt's gradient by the shared unknowns is the clip's, times its share."""
    once = problem.at(torch.arange(4))
    twice = problem.at(torch.arange(4).repeat(6))
    part = excerpt.only(twice, torch.arange(12))
    x = 0.3 * torch.randn(PROBLEMS, once.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    border = once.size - sum(block.tangent_size for block in once.free if block.shared)

    def slope(whole, count):
        y = torch.cat([x[:, :border].repeat(1, count), x[:, border:]], dim=1)
        return whole.evaluate(y, torch.arange(PROBLEMS))[1][:, count * border :]

    torch.testing.assert_close(slope(part, 3), 0.5 * slope(twice, 6))


def test_values_between_known_frames():
    frames, values = torch.tensor([2, 4, 7]), torch.tensor([[[0.0], [2.0], [-1.0]]])
    found = excerpt.spread(frames, values, 9)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 0, 0, 1, 2, 1, 0, -1, -1]))


def test_known_frames_keep_what_was_found(problem):
    frames = excerpt.excerpt(problem)
    part = problem.at(frames)
    found = part.retract(0.5 * torch.randn(PROBLEMS, part.size, dtype=torch.float64))
    carried = excerpt.between(problem, frames, found)
    for block in problem.free:
        here = carried[block.name] if block.shared else carried[block.name][:, frames]
        torch.testing.assert_close(here, found[block.name])


@pytest.mark.parametrize("least", [FRAMES, 10])  # 8 of 24 frames; 12 of them, and 8 of these
def test_it_ends_where_the_clip_alone_would(problem, monkeypatch, least):
    for name, value in {"LEAST_FRAMES": least, "SHARE": 2 if least == 10 else 8, "PIECES": 2}.items():
        monkeypatch.setattr(excerpt, name, value)
    problem = problem.select(torch.tensor([0]))
    options = SolverOptions(200, 1e-10)
    alone = SOLVERS["lm"](LeastSquares(problem), problem.zero(), options)
    assert excerpt.is_worth_it(problem)
    begun, going_on = excerpt.begin(problem, options)
    at_start = LeastSquares(problem).evaluate(problem.zero(), torch.arange(1))[0]
    at_begin = LeastSquares(begun).evaluate(begun.zero(), torch.arange(1))[0]
    after = SOLVERS["lm"](LeastSquares(begun), begun.zero(), going_on)
    assert at_begin < 0.5 * at_start + 0.5 * alone.value
    torch.testing.assert_close(after.value, alone.value, rtol=1e-6, atol=0)
