"""Comparison with a known truth: nothing is wrong with the truth itself, known errors are measured as what they are."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting.samples import TalkingHead, as_parameters, talking_head
from fitting.truth import align_each, compare, face_points, jitter
from fitting.types import Parameters, Solution, Stop

FRAMES = 6


@pytest.fixture(scope="module")
def clip(open_head):
    return talking_head(open_head, TalkingHead(frames=FRAMES))


@pytest.fixture(scope="module")
def truth(open_head, clip) -> Parameters:
    return as_parameters(open_head, dict(clip.truth.values), FRAMES)


def solution_of(body, observations, parameters: Parameters) -> Solution:
    """A solution that claims `parameters`, and started from the clip's own start."""
    nothing = np.zeros(FRAMES)
    return Solution(
        body=body,
        observations=observations,
        parameters=parameters,
        start=as_parameters(body, dict(observations.start.values), FRAMES),
        K=observations.truth.K,
        valid=np.ones(FRAMES, dtype=bool),
        source=("fitted",) * FRAMES,
        error_px=nothing,
        error_percent=nothing,
        start_error_px=nothing,
        cost_start={},
        cost_end={},
        iterations=np.zeros(FRAMES, dtype=np.int64),
        stop=(Stop.CONVERGED,) * FRAMES,
        projected=np.zeros((FRAMES, len(observations.layout), 2)),
        seconds=0.0,
    )


def test_the_truth_has_no_error_and_its_own_jitter(open_head, clip, truth):
    found = compare(solution_of(open_head, clip, truth))
    assert found["fit"]["face_error_mm"] < 1e-3 and found["fit"]["face_error_in_head_mm"] < 1e-3
    assert found["fit"]["jitter_mm"] == pytest.approx(found["truth_jitter_mm"], rel=1e-3)
    assert all(error < 1e-5 for error in found["fit"]["blocks"].values())
    assert found["frames"] == FRAMES


def test_the_start_stands_beside_it(open_head, clip, truth):
    found = compare(solution_of(open_head, clip, truth))
    assert found["start"]["face_error_mm"] > 5 and found["start"]["face_error_in_head_mm"] > 1
    assert found["start"]["jitter_mm"] > 5 * found["truth_jitter_mm"]
    assert found["start"]["blocks"]["betas"] == pytest.approx(0.6, abs=0.15)


def test_a_head_that_is_only_misplaced_is_right_in_its_own_frame(open_head, clip, truth):
    moved = truth.replace({"transl": truth["transl"] + torch.tensor([0.003, 0.0, 0.004])})
    found = compare(solution_of(open_head, clip, moved))["fit"]
    assert found["face_error_mm"] == pytest.approx(5.0, rel=1e-3)
    assert found["face_error_in_head_mm"] < 1e-2
    assert found["blocks"]["transl"] == pytest.approx(0.005 / np.sqrt(3), rel=1e-3)


def test_an_expression_that_is_missed_is_an_error_in_the_heads_frame(open_head, clip, truth):
    sober = truth["expression"].clone()
    sober[..., open_head.expression_names.index("mouthSmileLeft")] += 0.5
    found = compare(solution_of(open_head, clip, truth.replace({"expression": sober})))["fit"]
    # Half a smile moves a corner of the mouth by millimetres, most of the face not at all.
    assert 0.3 < found["face_error_in_head_mm"] < 3 and 0.3 < found["face_error_mm"] < 3


def test_only_frames_that_were_fitted_count(open_head, clip, truth):
    wild = truth["transl"].clone()
    wild[0, 2] += 1.0
    claimed = solution_of(open_head, clip, truth.replace({"transl": wild}))
    assert compare(claimed)["fit"]["face_error_mm"] > 100
    valid = claimed.valid.copy()
    valid[2] = False
    found = compare(replace(claimed, valid=valid))
    assert found["frames"] == FRAMES - 1 and found["fit"]["face_error_mm"] < 1e-3


def test_nothing_is_compared_without_a_truth_or_with_another_models(open_head, clip, truth):
    claimed = solution_of(open_head, clip, truth)
    assert compare(replace(claimed, observations=replace(clip, truth=None))) is None
    other = replace(clip.truth, model="flame2020")
    assert compare(replace(claimed, observations=replace(clip, truth=other))) is None


def test_a_clip_and_photos_of_it_compare_alike(open_head, clip, truth):
    """One problem of many frames or many problems of one: the same rows."""
    apart = Parameters({n: v.expand(1, FRAMES, *v.shape[2:]).transpose(0, 1) for n, v in truth.items()})
    found = compare(solution_of(open_head, clip, apart))
    assert found["fit"]["face_error_mm"] < 1e-3


def test_points_of_the_face_are_those_of_the_body(open_head, clip, truth):
    points = face_points(open_head, dict(clip.truth.values), np.array([4, 1]))
    whole = open_head.pose(truth).points[0, :, torch.as_tensor(open_head.face_region)]
    np.testing.assert_allclose(points, whole[[4, 1]].numpy(), atol=1e-6)


def test_jitter_is_the_second_difference():
    steady = np.arange(5.0)[:, None, None] * np.ones((1, 4, 3))
    assert jitter(steady) == 0 and jitter(steady[:2]) == 0
    shaking = np.zeros((5, 4, 3))
    shaking[2] = [1.0, 0, 0]  # second differences 1, -2, 1
    assert jitter(shaking) == pytest.approx(np.sqrt(2.0))


def test_each_frame_is_aligned_by_itself():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(3, 20, 3))
    turned = roma.rotvec_to_rotmat(torch.as_tensor(rng.normal(size=(3, 3)))).numpy()
    moved = target @ turned.transpose(0, 2, 1) + rng.normal(size=(3, 1, 3))
    np.testing.assert_allclose(align_each(moved, target), target, atol=1e-9)
