"""Clips with trouble: frames without a detection keep their place, windows change nothing, strangers are named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import case_of, placed, seen

from fitting.config import FitConfig
from fitting.evidence import as_evidence
from fitting.quality import strangers, suspicious
from fitting.solve import solve
from fitting.terms.noise import landmark_noise
from fitting.terms.smoothness import CALM_NOISE, GREATEST, LEAST, Acceleration
from fitting.types import Observations, Parameters, Solution

FRAMES = 14
CONFIG = FitConfig.model_validate(
    {
        "precision": "float64",
        "terms": {
            "keypoints": {"sigma": 0.02, "kernel": "huber"},
            "shape": {},
            "expression": {"sigma": 0.5},
            "offsets": {"sigma": 0.01},
            "acceleration": {
                "kernel": "huber",
                "blocks": {"global_orient": 0.02, "transl": 0.005, "expression": 0.2},
            },
        },
        "stages": [
            {
                "name": "all",
                "free": ["rotation", "translation", "expression", "shape", "offsets"],
                "iterations": 40,
                "tolerance": 1e-9,
            }
        ],
    }
)


@pytest.fixture(scope="module")
def truth(random_body) -> Parameters:
    """A head that turns and drifts."""
    time = np.linspace(0, 1, FRAMES)
    found = placed(random_body, np.stack([5 * np.sin(4 * time), 20 * time - 10, 0 * time], axis=1))
    generator = torch.Generator().manual_seed(1)
    sizes = {block.name: block.size for block in random_body.blocks}
    drift = torch.as_tensor(0.05 * time)[None, :, None] * torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    start, end = (0.5 * torch.randn(sizes["expression"], generator=generator).double() for _ in range(2))
    share = torch.as_tensor(time)[:, None]
    return found.replace(
        {
            "transl": found["transl"] + drift,
            "betas": torch.randn(1, 1, sizes["betas"], generator=generator).double(),
            "expression": ((1 - share) * start + share * end)[None],
        }
    )


def observe(body, truth: Parameters, missing: tuple[int, ...] = (), shifted: tuple[int, ...] = ()) -> Observations:
    """With half a pixel of noise; `missing` frames show nobody, `shifted` ones somebody 100 pixels away."""
    observations = seen(body, truth, is_clip=True)
    rng = np.random.default_rng(0)
    keypoints = observations.keypoints + rng.normal(0, 0.5, observations.keypoints.shape)
    keypoints[list(shifted)] += [80.0, -60.0]
    confidence = observations.confidence.copy()
    confidence[list(missing)] = 0.0
    keypoints[list(missing)] = np.nan
    return replace(observations, keypoints=keypoints, confidence=confidence)


def fit(body, truth: Parameters, observations: Observations, config: FitConfig = CONFIG) -> Solution:
    """From the mean head in the true place: what is tested here comes after the first guess."""
    neutral = body.neutral(1, FRAMES)
    start = truth.replace({name: neutral[name] for name in ("betas", "expression")})
    return solve(case_of(body, observations), start, config)


def away(body, solution: Solution, truth: Parameters) -> np.ndarray:
    """Mean distance in pixels between fitted and true keypoints, frame by frame, missing ones too."""
    true = seen(body, truth)
    found = seen(body, solution.parameters)
    points = true.confidence[0] > 0
    return np.linalg.norm(found.keypoints - true.keypoints, axis=-1)[:, points].mean(axis=1)


def test_frames_without_a_detection_keep_their_place(random_body, truth):
    missing = (0, 3, 6, 7, 13)
    solution = fit(random_body, truth, observe(random_body, truth, missing))
    assert len(solution) == len(solution.source) == len(solution.stop) == FRAMES
    assert [k for k in range(FRAMES) if not solution.valid[k]] == list(missing)
    assert [solution.source[k] for k in missing] == ["held", "interpolated", "interpolated", "interpolated", "held"]
    assert {solution.source[k] for k in range(FRAMES) if k not in missing} == {"fitted"}
    for rows in (solution.projected, solution.error_px, solution.K, *solution.sd.values()):
        assert len(rows) == FRAMES
    for name, rows in solution.parameters.rows().items():
        assert len(rows) == FRAMES and np.isfinite(rows).all(), name
    assert np.isnan(solution.error_px[list(missing)]).all()
    # No index is shifted: every frame is near its own truth, though the head moves some 3 px from frame to frame.
    error = away(random_body, solution, truth)
    assert error[solution.valid].max() < 1.0, error
    assert error[[3, 6, 7]].max() < 3.0, error


def test_missing_frames_do_not_disturb_the_others(random_body, truth):
    whole = fit(random_body, truth, observe(random_body, truth))
    gappy = fit(random_body, truth, observe(random_body, truth, missing=(6,)))
    kept = gappy.valid
    np.testing.assert_allclose(gappy.projected[kept], whole.projected[kept], atol=0.5)


@pytest.mark.parametrize("window", [3, 5])
def test_a_clip_in_several_windows_is_the_clip_in_one(random_body, truth, window, monkeypatch):
    observations = observe(random_body, truth, missing=(3, 4))
    whole = fit(random_body, truth, observations)
    monkeypatch.setattr("fitting.problem.WINDOW", window)
    monkeypatch.setattr("fitting.problem.STRETCH", window)
    monkeypatch.setattr("fitting.curvature.WINDOW", window)
    parts = fit(random_body, truth, observations)
    for name, value in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], value, atol=1e-5, rtol=0)
    for name, value in whole.sd.items():
        np.testing.assert_allclose(parts.sd[name], value, rtol=1e-4)
    np.testing.assert_allclose(parts.projected_sd, whole.projected_sd, rtol=1e-4)
    assert (parts.iterations == whole.iterations).all()


def test_a_stray_detection_is_named_and_pulls_nobody_along(random_body, truth):
    solution = fit(random_body, truth, observe(random_body, truth, shifted=(5, 9)))
    assert suspicious(solution) == (5, 9)
    error = away(random_body, solution, truth)
    assert error[[4, 6, 8, 10]].max() < 1.5, error


def test_landmarks_that_no_head_of_this_shape_has_are_named(random_body, truth):
    observations = observe(random_body, truth)
    rng = np.random.default_rng(2)
    observations.keypoints[7] += rng.normal(0, 8.0, observations.keypoints[7].shape)
    solution = fit(random_body, truth, observations)
    assert suspicious(solution) == (7,)
    others = np.arange(FRAMES) != 7
    assert away(random_body, solution, truth)[others].max() < 2.0


def test_a_cut_given_by_hand_is_no_suspicion(random_body, truth):
    read = CONFIG.read.model_copy(update={"cuts": (7,)})
    solution = fit(random_body, truth, observe(random_body, truth), CONFIG.model_copy(update={"read": read}))
    assert solution.cuts == (7,)
    assert suspicious(solution) == ()


def test_photos_have_nothing_to_compare_with(random_body, truth):
    observations = replace(observe(random_body, truth, shifted=(5,)), is_clip=False)
    assert suspicious(fit(random_body, truth, observations)) == ()


def test_a_stranger_in_the_same_place_is_named_and_nobody_beside_him(random_body, truth):
    """His face has another form; turned, scaled and moved it fits no better."""
    observations = observe(random_body, truth)
    rng = np.random.default_rng(3)
    for k in (4, 9, 10):
        points = observations.keypoints[k]
        centre = points[observations.confidence[k] > 0].mean(axis=0)
        observations.keypoints[k] = centre + (points - centre) * rng.uniform(0.6, 1.4, points.shape)
    solution = fit(random_body, truth, observations)
    assert set(strangers(solution)) == {4, 9, 10}
    assert suspicious(solution) == (4, 9, 10)


def test_a_wink_is_no_stranger(random_body, truth):
    """Some landmarks far away from where they were, most of them where they belong."""
    observations = observe(random_body, truth)
    seen = np.flatnonzero(observations.confidence[0] > 0)
    observations.keypoints[6][seen[:2]] += [0.0, 6.0]
    assert strangers(fit(random_body, truth, observations)) == []


@pytest.mark.parametrize("noise_px", [0.3, 1.0, 3.0])
def test_landmark_noise_is_measured_through_motion_and_events(random_body, truth, noise_px):
    steps = 60
    rng = np.random.default_rng(4)
    case = case_of(random_body, observe(random_body, truth))
    one = as_evidence(case, truth)
    time = torch.linspace(0, 3, steps, dtype=torch.float64)
    drift = 40 * torch.stack([torch.sin(time), torch.cos(2 * time)], dim=-1)[:, None]
    points = one.keypoints[0, :1] + drift
    points[20:24] += 15.0  # something happens
    points = points + torch.as_tensor(rng.normal(0, noise_px, points.shape))
    whole = replace(
        one,
        keypoints=points[None],
        confidence=torch.ones(1, steps, points.shape[1], dtype=torch.float64),
        subject_px=torch.full((1, steps), 80.0, dtype=torch.float64),
        seen=torch.ones(1, steps, dtype=torch.bool),
        linked=torch.ones(1, steps - 1, dtype=torch.bool),
        picture_px=None,
    )
    assert 80 * float(landmark_noise(whole)) == pytest.approx(noise_px, rel=0.25)
    four = {name: getattr(whole, name)[:, :4] for name in ("keypoints", "confidence", "subject_px", "seen")}
    few = replace(whole, **four, linked=whole.linked[:, :3])
    assert torch.isnan(landmark_noise(few)).all()
    # More noise, more strength; a number is taken as it is.
    auto, given = Acceleration(), Acceleration(strength=2.0)
    strength = np.clip((noise_px / 80 / CALM_NOISE) ** 0.25, LEAST, GREATEST)
    assert auto.settled(whole).sigma == pytest.approx(1 / strength, rel=0.15)
    assert auto.settled(few).sigma == 1.0
    assert given.settled(whole).sigma == 0.5
    assert given.settled(whole).settled(whole).sigma == 0.5


def test_a_strength_is_above_zero():
    for wrong in (0.0, -1.0, "much"):
        with pytest.raises(ValueError):
            Acceleration(strength=wrong)
