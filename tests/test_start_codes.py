"""Codes as the start of a fit: whose they are, which rows belong to which frames, and in whose world."""

from pathlib import Path

import numpy as np
import pytest
from made_clips import FLOAT64

from fitting import bodies
from fitting.camera import intrinsics
from fitting.layouts import IBUG68
from fitting.start_codes import choose, codes_for, refocused
from fitting.track import Track, gaps, matched
from fitting.types import Codes, InputError, Observations
from fitting.worlds import opencv

SIZE, FRAMES = (640, 480), 5
K = np.tile(intrinsics(800.0, SIZE), (FRAMES, 1, 1))


@pytest.fixture(scope="module")
def open_body():
    return bodies.load("open_body").to(FLOAT64)


def observations(person: str = "000", middle=(320.0, 240.0), names=None) -> Observations:
    points = np.random.default_rng(0).normal(0, 30, (FRAMES, 68, 2)) + middle
    return Observations(
        person, IBUG68, points, np.ones((FRAMES, 68)), names or tuple(f"{k:06d}" for k in range(FRAMES)),
        np.tile(SIZE, (FRAMES, 1)), is_clip=True,
    )  # fmt: skip


def track(rows: int = FRAMES, **changes) -> Track:
    values = {"expression": np.arange(rows, dtype=float)[:, None] + np.zeros((1, 3))}
    codes = Codes(changes.pop("values", values), changes.pop("model", "open_head"), np.ones(rows, bool))
    return Track(codes, changes.pop("names", tuple(f"{k:06d}" for k in range(rows))), "made", **changes)


def firsts(found: Track) -> list:
    return [float(v) if ok else None for v, ok in zip(found.values["expression"][:, 0], found.valid, strict=True)]


def test_rows_find_their_frames():
    seen = observations(names=("a", "b", "c", "d", "e"))
    assert firsts(matched(track(3, match="number"), seen.names)) == [0, 1, 2, None, None]
    assert firsts(matched(track(1, match="every"), seen.names)) == [0] * 5
    assert firsts(matched(track(3, match="name", names=("d", "b", "x")), seen.names)) == [None, 1, None, 0, None]
    assert firsts(matched(track(5), seen.names)) == [0, 1, 2, 3, 4]


def test_frames_without_codes_are_named():
    assert gaps(track(5)) is None
    text = gaps(matched(track(3, match="number"), observations().names))
    assert "2 of 5 frames have no codes (3, 4, counted from 0)" in text


@pytest.mark.parametrize(
    ("codes", "says"),
    [(track(6), "6 frames"), (track(3), "3 frames"), (track(6, match="number"), "6 frames"),
     (track(2, match="name", names=("p", "q")), "not one of its frames")],
)  # fmt: skip
def test_codes_of_another_clip_are_refused(codes, says):
    with pytest.raises(InputError, match=says):
        matched(codes, observations().names)


def test_people_are_found_by_their_crops():
    """Numbers of faces may change in a clip; where the crops lie does not lie."""
    crops = [np.tile([x, 240.0, 100.0], (FRAMES, 1)) for x in (500.0, 320.0)]
    tracks = [track(person=f"{k:03d}", crops=crop) for k, crop in enumerate(crops)]
    assert choose(tracks, observations("000"), Path("codes")).person == "001"
    assert choose(tracks, observations("001", (505.0, 240.0)), Path("codes")).person == "000"


def test_a_person_without_codes_is_named():
    with pytest.raises(InputError, match=r"person 001 has no codes \(params_001.npz\), only 000"):
        choose([track()], observations("001"), Path("params.npz"))


def test_coefficients_that_are_missing_are_zero(open_head):
    found = codes_for(observations(), track(), open_head, K)
    assert found.values["expression"].shape == (FRAMES, 76) and found.values["expression"][4, :4].tolist() == [
        4,
        4,
        4,
        0,
    ]
    assert found.K is None


def test_the_camera_of_a_crop_places_nobody(open_head):
    """A tracker's own 256-pixel picture is not the input."""
    motion = opencv(np.tile(np.eye(3), (FRAMES, 1, 1)), np.tile([0, 0, 1.0], (FRAMES, 1)))
    codes = track(world_from_codes=motion, image_sizes=np.tile(SIZE, (FRAMES, 1)))
    assert "transl" in codes_for(observations(), codes, open_head, K).values
    small = track(world_from_codes=motion, image_sizes=np.tile((256, 256), (FRAMES, 1)))
    found = codes_for(observations(), small, open_head, K)
    assert "transl" not in found.values and found.K is None and "global_orient" in found.values


def test_weak_perspective_puts_the_face_at_its_size(open_head):
    weak = np.tile([1000.0, 350.0, 200.0], (FRAMES, 1))  # pixels per metre
    found = codes_for(observations(), track(weak=weak), open_head, K)
    depth = -found.values["transl"][:, 2]
    assert np.abs(depth - 800 / 1000).max() < 0.15 and (depth > 0.8).all()  # the face stands before the model's origin
    np.testing.assert_array_equal(found.K, K)


def test_smpl_s_pose_on_a_body_with_fingers(open_body):
    rng = np.random.default_rng(0)
    values = {"body_pose": rng.normal(0, 0.2, (FRAMES, 69)), "global_orient": rng.normal(0, 0.2, (FRAMES, 3))}
    found = codes_for(observations(), track(values=values, model="smpl"), open_body, K)
    np.testing.assert_array_equal(found.values["body_pose"], values["body_pose"][:, :63])


def test_hands_from_an_unknown_mean_are_left_out(open_head):
    values = {"left_hand_pose": np.ones((FRAMES, 45)), "right_hand_pca": np.ones((FRAMES, 12))}
    found = codes_for(observations(), track(values=values, hands_from_mean=True), open_head, K)
    assert found.values == {}


def test_another_focal_length_keeps_the_place_in_the_picture():
    place = np.random.default_rng(0).normal(0, 0.2, (FRAMES, 3)) - [0, 0, 5]
    theirs = np.tile([[5000.0, 0, 320], [0, 5000, 240], [0, 0, 1]], (FRAMES, 1, 1))
    found = refocused(Codes({"transl": place}, "smplx", np.ones(FRAMES, bool), theirs), K)

    def pixels(at, camera):
        x, y, z = (at * [1, -1, -1]).T
        return np.stack([camera[:, 0, 0] * x / z + camera[:, 0, 2], camera[:, 1, 1] * y / z + camera[:, 1, 2]], axis=1)

    np.testing.assert_allclose(pixels(found.values["transl"], K), pixels(place, theirs), atol=1e-9)
    np.testing.assert_allclose(found.values["transl"][:, 2] / 800, place[:, 2] / 5000)  # as large as before
