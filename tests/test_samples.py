"""sample:talking_head: long enough, always the same, its keypoints where the truth is, its start as wrong as said."""

import numpy as np
import pytest
import roma
import torch
from made_clips import degrees_apart

from fitting.camera import camera_to_pixels, world_to_camera
from fitting.samples import FPS, SIZE, TalkingHead, as_parameters, talking_head


@pytest.fixture(scope="module")
def clip(open_head):
    return talking_head(open_head)


def true_points(open_head, clip):
    """The truth's keypoints as its file rows say them, projected one frame after another."""
    embedding = open_head.embeddings[clip.layout.name]
    parameters = as_parameters(open_head, dict(clip.truth.values), len(clip))
    points = world_to_camera(open_head.restrict(embedding).pose(parameters).points[0])
    pixels = [
        camera_to_pixels(frame, torch.as_tensor(K).to(frame)) for frame, K in zip(points, clip.truth.K, strict=True)
    ]
    return embedding.points.numpy(), torch.stack(pixels).numpy()


def test_at_least_ninety_frames_each_with_everything(clip):
    frames = len(clip)
    assert frames >= 90 and clip.is_clip and clip.valid.all() and clip.fps == FPS
    assert len(set(clip.names)) == frames and len(clip.pictures) == frames
    assert clip.truth.valid.all() and clip.start.valid.all() and clip.truth.model == clip.start.model == "open_head"
    for codes in (clip.truth, clip.start):
        assert all(len(rows) == frames and np.isfinite(rows).all() for rows in codes.values.values())
    assert np.diff(clip.timestamps) == pytest.approx(1 / FPS)


def test_the_same_every_time_and_another_with_another_seed(open_head, clip):
    again, other = talking_head(open_head), talking_head(open_head, TalkingHead(seed=8))
    assert (again.keypoints == clip.keypoints).all()
    for name, rows in clip.start.values.items():
        assert (again.start.values[name] == rows).all() and (again.truth.values[name] == clip.truth.values[name]).all()
    assert (other.keypoints != clip.keypoints).any()


def test_keypoints_are_the_projected_truth_with_a_pixel_of_noise(open_head, clip):
    points, expected = true_points(open_head, clip)
    assert (clip.confidence[:, points] == 1).all() and clip.confidence.sum() == len(clip) * len(points)
    noise = clip.keypoints[:, points] - expected
    assert noise.std() == pytest.approx(1.0, rel=0.02)
    # No landmark and no frame has a habit of its own: means are as small as independent noise makes them.
    assert abs(noise.mean()) < 0.02
    assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(len(clip))
    assert np.abs(noise.mean(axis=1)).max() < 5 / np.sqrt(len(points))


def test_noise_and_bias_are_as_asked_for(open_head):
    points, expected = true_points(open_head, clean := talking_head(open_head, TalkingHead(frames=10, noise_px=0.0)))
    np.testing.assert_allclose(clean.keypoints[:, points], expected, atol=1e-3)
    biased = talking_head(open_head, TalkingHead(frames=10, noise_px=0.0, bias_percent=2.0))
    habit = biased.keypoints[:, points] - true_points(open_head, biased)[1]
    np.testing.assert_allclose(habit, habit[:1].repeat(10, axis=0), atol=1e-3)
    eyes = np.linalg.norm(clean.keypoints[0, 33] - clean.keypoints[0, 263])
    assert habit.std() == pytest.approx(0.02 * eyes, rel=0.15)


def test_the_face_stays_in_the_picture(clip):
    seen = clip.keypoints[clip.confidence > 0]
    assert (seen > 0).all() and (seen < SIZE).all()


def test_it_talks_blinks_turns_and_looks_about(open_head, clip):
    """Each within what a face can do, and enough of it that a fit which ignores it is found out."""
    rows = clip.truth.values
    low, high = open_head.expression_bounds.double().numpy().T
    assert (rows["expression"] >= low - 1e-6).all() and (rows["expression"] <= high + 1e-6).all()
    blink = rows["expression"][:, open_head.expression_names.index("eyeBlinkLeft")]
    assert blink.max() > 0.5 and np.median(blink) < 0.1
    assert rows["jaw_pose"][:, 0].max() > 0.12 and np.abs(rows["global_orient"]).max() > 0.25
    assert rows["leye_pose"].std() > 0.03
    assert (rows["betas"] == rows["betas"][0]).all() and rows["betas"][0].std() == pytest.approx(0.8, abs=0.2)


def turns(codes):
    return roma.rotvec_to_rotmat(torch.as_tensor(codes.values["global_orient"]).double())


def test_the_start_is_wrong_as_a_regressor_is(clip):
    apart = degrees_apart(turns(clip.start), turns(clip.truth)).numpy()
    axes = np.sqrt((apart**2).mean() / 3)  # degrees about each axis
    assert 3.5 < axes < 6.5, axes
    # Part of it drifts, part jumps: steps between frames are far from those of independent errors, and far from zero.
    drift = turns(clip.start) @ turns(clip.truth).mT
    steps = degrees_apart(drift[1:], drift[:-1]).numpy()
    assert 0.3 * apart.mean() < steps.mean() < apart.mean()
    error = {name: clip.start.values[name] - clip.truth.values[name] for name in ("betas", "expression", "jaw_pose")}
    assert 0.4 < error["betas"].mean(axis=0).std() < 0.8  # a biased identity ...
    assert 0.1 < error["betas"].std(axis=0).mean() < 0.2  # ... that flickers
    assert 0.1 < error["expression"].std() < 0.15
    assert np.abs(error["jaw_pose"]).max() > 0.05
    assert (clip.start.values["leye_pose"] == 0).all()


def test_pictures_show_the_face_where_the_keypoints_are(open_head):
    short = talking_head(open_head, TalkingHead(frames=3))
    picture = next(short.pictures.read())
    assert picture.shape == (SIZE[1], SIZE[0], 3) and picture.dtype == np.uint8
    inside = short.keypoints[0, short.confidence[0] > 0].round().astype(int)
    background = picture[2, 2].astype(int)
    covered = np.abs(picture[inside[:, 1], inside[:, 0]].astype(int) - background).sum(axis=1) > 30
    assert covered.mean() > 0.97
