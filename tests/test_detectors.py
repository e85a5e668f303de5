"""Detection: where a crop's pixels lie, what is believed, and real photographs and clips."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fitting.detectors import DetectorOptions, detect
from fitting.detectors.backends import Mesh, Proposal, open_backend, tiles
from fitting.detectors.looks import Look, around_face, cut, find, turned
from fitting.detectors.quiet import quiet
from fitting.layouts import MEDIAPIPE478
from fitting.readers import read
from fitting.types import DependencyError, InputError, NoPersonError, Observations

CORNERS = [ends[0] for ends in MEDIAPIPE478.size_pair]


@pytest.fixture(scope="module")
def with_models() -> None:
    mediapipe = pytest.importorskip("mediapipe")
    if not hasattr(mediapipe, "solutions"):
        pytest.skip("this MediaPipe carries no models")


@pytest.fixture(scope="module")
def task_file(shared: Path) -> Path:
    pytest.importorskip("mediapipe")
    return shared / "mediapipe/face_landmarker.task"


def error_percent(found: Observations, reference: np.ndarray, row: int = 0) -> float:
    """Mean distance to another detector's landmarks (478, 2), 0..1, in % of the distance between the eyes."""
    truth = reference * found.image_sizes[row] - 0.5
    distance = np.linalg.norm(found.keypoints[row] - truth, axis=-1).mean()
    return 100 * distance / np.linalg.norm(np.subtract(*truth[CORNERS]))


# ------------------------------------------------------------------ without any model


def symmetric_face() -> np.ndarray:
    """(478, 2) within -1..1, the corners of the eyes above the middle."""
    face = np.random.default_rng(1).uniform(-1, 1, (478, 2))
    face[CORNERS[0]] = (-0.5, -0.3)
    left, right = np.array(MEDIAPIPE478.pairs).T
    face[left] = face[right] * (-1, 1)
    face[np.setdiff1d(np.arange(478), [left, right]), 0] = 0
    return face


class FakeBackend:
    """A face is a red disc with a green dot for its top; its landmarks are disturbed by `wobble` radii."""

    def __init__(self, wobble: float = 0.0) -> None:
        self.wobble, self.rng = wobble, np.random.default_rng(0)

    def propose(self, image: np.ndarray, thorough: bool) -> list[Proposal]:
        y, x = np.nonzero(image[..., 0] > 128)
        return [Proposal(np.array([x.min(), y.min(), x.max(), y.max()], dtype=float))] if len(x) else []

    def meshes(self, image: np.ndarray) -> list[Mesh]:
        places = [np.argwhere(image[..., channel] > 128)[:, ::-1] for channel in (0, 1)]
        if not all(len(p) for p in places):
            return []
        middle, top = (p.mean(axis=0) for p in places)
        up = (top - middle) / np.linalg.norm(top - middle)
        turn = np.array([[-up[1], -up[0]], [up[0], -up[1]]])
        radius = np.sqrt(len(places[0]) / np.pi)
        points = middle + radius * (symmetric_face() @ turn.T + self.rng.normal(0, self.wobble, (478, 2)))
        return [Mesh(points)]

    def close(self) -> None:
        pass


def disc(x: float, y: float, radius: float, size: tuple[int, int] = (300, 200)) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[(columns - x) ** 2 + (rows - y) ** 2 < radius**2, 0] = 255
    picture[(columns - x) ** 2 + (rows - y + 0.7 * radius) ** 2 < (radius / 8) ** 2, 1] = 255
    return picture


@pytest.mark.parametrize(
    "look", [Look(), Look(2.5, 30.0), Look(1.6, -20.0, (0.1, -0.05)), Look(1.8, 5.0, (0.02, 0.0), True)]
)
@pytest.mark.parametrize("radius", [6.0, 40.0, 300.0])
def test_crops_lead_back_to_the_picture(look, radius):
    """The middle of a disc, found in the crop, is the middle of the disc; also where the crop is a reduction."""
    size = (int(4 * radius), int(3 * radius))
    centre = np.array([1.7 * radius, 1.4 * radius])
    face = centre + np.random.default_rng(0).uniform(-1, 1, (478, 2)) * radius
    square = around_face(face, look)
    y, x = np.nonzero(cut(disc(*centre, radius, size), square)[..., 0] > 128)
    back = square.to_picture(np.array([[x.mean(), y.mean()]]))[0]
    np.testing.assert_allclose(back, centre, atol=max(0.25, 0.01 * radius))


def test_looks_that_disagree_show_in_the_spread():
    picture = disc(150, 100, 30)
    box = FakeBackend().propose(picture, False)[0].box
    sure, unsure = (find(picture, box, FakeBackend(wobble)) for wobble in (0.0, 0.2))
    assert sure.spread < 0.01 < 0.05 < unsure.spread
    assert find(np.zeros_like(picture), box, FakeBackend()) is None


def test_turned_reads_the_nose():
    face = np.zeros((478, 2))
    face[CORNERS] = [(0, 0), (8.9, 0)]
    face[4] = (8.9 / 2 + 4.4, 3)  # the canonical face at 45 degrees: nose and eyes shortened alike
    assert turned(face) == pytest.approx(45, abs=0.1)


def test_tiles_cover_the_picture():
    seen = np.zeros((400, 700), bool)
    for left, top, side in tiles(700, 400):
        assert 0 <= left and 0 <= top
        seen[top : top + side, left : left + side] = True
    assert seen.all()


def test_mediapipe_missing_or_without_models_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", ModuleType("mediapipe"))
    with pytest.raises(DependencyError, match="task_file.*landmark files"):
        open_backend(None, 0.5)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(DependencyError, match="pip install mediapipe.*landmark files"):
        open_backend(None, 0.5)


def test_quiet_hides_only_what_is_not_pythons(capfd):
    with quiet(), pytest.warns(UserWarning, match="python warns"):
        os.write(2, b"C++ noise\n")
        print("python speaks", file=sys.stderr)
        warnings.warn("python warns", stacklevel=1)
    os.write(2, b"after\n")
    with pytest.raises(KeyError), quiet():
        raise KeyError
    os.write(2, b"after an error\n")
    heard = capfd.readouterr().err
    assert "noise" not in heard
    assert all(word in heard for word in ("python speaks", "after\n", "after an error"))


# ------------------------------------------------------------------ photographs


@pytest.mark.parametrize("name", ["astronaut.png", "fake_human.png", "single_face.jpg"])
def test_a_face_lies_where_the_other_detector_saw_it(shared, with_models, name):
    (found,) = detect(read(shared / "photos" / name))
    reference = np.load(shared / "keypoints/mediapipe_face" / f"{Path(name).stem}.npz")["landmarks"][0, :, :2]
    assert found.layout is MEDIAPIPE478 and found.valid.all() and len(found) == 1
    assert error_percent(found, reference) < 2.0


def test_five_people_from_the_left(shared, with_models):
    people = detect(read(shared / "photos/multi_face.jpg"))
    lefts = [p.keypoints[0, :, 0].mean() for p in people]
    assert [p.person for p in people] == ["000", "001", "002", "003", "004"] and lefts == sorted(lefts)
    largest = detect(read(shared / "photos/multi_face.jpg"), DetectorOptions(max_persons=2))
    assert len(largest) == 2 and largest[0].keypoints[0, 0, 0] < largest[1].keypoints[0, 0, 0]


def test_no_face_is_said_and_none_invented(shared, with_models, tmp_path):
    with pytest.raises(NoPersonError, match=r"camera\.png: no face found in 1 picture"):
        detect(read(shared / "photos/camera.png"))
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(NoPersonError):
        detect(read(tmp_path / "noise.png"))


def test_a_folder_of_photos_keeps_a_row_for_every_one(shared, with_models, tmp_path):
    for k, name in enumerate(["camera.png", "single_face.jpg", "multi_face.jpg"]):
        Image.open(shared / "photos" / name).save(tmp_path / f"{k}.png")
    calls: list[tuple[int, int]] = []
    people = detect(read(tmp_path), DetectorOptions(progress=lambda done, of: calls.append((done, of))))
    assert [p.valid.tolist() for p in people] == [[False, True, True]] + [[False, False, True]] * 4
    assert people[0].names == ("0", "1", "2") and calls == [(1, 3), (2, 3), (3, 3)]


def test_landmarks_follow_a_moved_picture(shared, with_models, tmp_path):
    """A quarter of the size, a third larger, turned by 10 degrees: the landmarks are the same places of the face."""
    photo = Image.open(shared / "photos/single_face.jpg")
    c, s = np.cos(np.radians(10)) / 1.3, np.sin(np.radians(10)) / 1.3
    moves = np.array([[c, -s, 120.0], [s, c, 20.0]])  # new pixel corner -> old
    photo.transform((600, 600), Image.Transform.AFFINE, tuple(moves.ravel()), Image.Resampling.BICUBIC).save(
        tmp_path / "b.png"
    )
    photo.save(tmp_path / "a.png")
    (found,) = detect(read(tmp_path))
    back = (found.keypoints[1] + 0.5) @ moves[:, :2].T + moves[:, 2] - 0.5
    error = np.linalg.norm(back - found.keypoints[0], axis=-1) / np.linalg.norm(
        np.subtract(*found.keypoints[0][CORNERS])
    )
    assert error.mean() < 0.012


def test_the_same_picture_gives_the_same_numbers(shared, with_models):
    first, second = (detect(read(shared / "photos/takeo.ppm"))[0].keypoints for _ in range(2))
    np.testing.assert_array_equal(first, second)


# ------------------------------------------------------------------ clips


def test_every_frame_of_a_clip(shared, with_models):
    (found,) = detect(read(shared / "clips/single_face.mp4"))
    reference = np.load(shared / "keypoints/mediapipe_face/single_face_video.npz")["landmarks"][..., :2]
    assert len(found) == 72 and found.valid.all() and found.is_clip
    assert np.mean([error_percent(found, reference[k], k) for k in range(72)]) < 1.6
    steps = np.linalg.norm(np.diff(found.keypoints, 2, axis=0), axis=-1).mean()
    assert steps / np.linalg.norm(np.subtract(*found.keypoints[0][CORNERS])) < 0.006


def test_a_face_that_is_gone_is_not_seen(shared, with_models):
    """The man is in frames 0-71; then come black and a cartoon's letters (the .npz has a false face at 163)."""
    (found,) = detect(read(shared / "clips/face_noface.mov"))
    assert len(found) == 169 and found.valid.tolist() == [True] * 72 + [False] * 97
    assert (found.confidence[72:] == 0).all() and np.isfinite(found.keypoints).all()


# ------------------------------------------------------------------ the Tasks API


def test_a_task_file_gives_blendshapes_and_a_head_matrix(shared, task_file):
    (found,) = detect(read(shared / "photos/astronaut.png"), DetectorOptions(task_file=task_file))
    reference = np.load(shared / "keypoints/mediapipe_face/astronaut.npz")
    assert error_percent(found, reference["landmarks"][0, :, :2]) < 1.5
    assert found.blendshapes.shape == (1, 52) and np.abs(found.blendshapes - reference["blendshapes"]).mean() < 0.05
    np.testing.assert_allclose(found.head_matrix[0][:3, :3], reference["transform"][0][:3, :3], atol=0.1)


def test_a_task_file_finds_all_five_and_no_profile(shared, task_file):
    options = DetectorOptions(task_file=task_file)
    people = detect(read(shared / "photos/multi_face.jpg"), options)
    assert len(people) == 5 and np.isnan(people[0].head_matrix).all()
    with pytest.raises(NoPersonError):
        detect(read(shared / "photos/camera.png"), options)


@pytest.mark.parametrize("content", [None, b"", b"not a bundle"])
def test_a_bad_task_file_is_named(tmp_path, content):
    pytest.importorskip("mediapipe")
    path = tmp_path / "face.task"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"task_file: .*face\.task"):
        open_backend(path, 0.5)
