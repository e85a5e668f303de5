"""Detection of whole people: what the looks agree on, who is believed, and real photographs and a moved one."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitting.detectors import DetectorOptions, detect
from fitting.detectors.body_looks import FEW_LOOKS, LOOKS, in_sight, is_head, look_at, visible_box, without_faces
from fitting.detectors.pose_backends import Parts, task_bundles
from fitting.layouts import HOLISTIC135, MEDIAPIPE33
from fitting.readers import ReadOptions, read
from fitting.types import InputError, NoPersonError, Observations

BODY = DetectorOptions(parts="body")


@pytest.fixture(scope="module")
def with_models() -> None:
    mediapipe = pytest.importorskip("mediapipe")
    if not hasattr(mediapipe, "solutions"):
        pytest.skip("this MediaPipe carries no models")


def place(found: Observations, name: str, row: int = 0) -> np.ndarray:
    return found.keypoints[row, found.layout.point_names.index(name)]


# ------------------------------------------------------------------ without any model


class FakePoses:
    """A person is a red, a green and a blue dot: left side, right side, head; hands lie at the first two.

    As a network does, it names sides by how a person looks: in a mirrored picture the red side is the right one.
    Points are disturbed by `wobble` pixels.
    """

    def __init__(self, wobble: float = 0.0, hands: tuple[bool, bool] = (True, True), one_hand: bool = False) -> None:
        self.wobble, self.hands, self.one_hand, self.rng = wobble, hands, one_hand, np.random.default_rng(0)

    def people(self, image: np.ndarray) -> list[Parts]:
        dots = [np.argwhere(image[..., c] > 128)[:, ::-1] for c in range(3)]
        if not all(len(d) for d in dots):
            return []
        red, green, head = (d.mean(axis=0) for d in dots)
        straight = np.linalg.det([red - head, green - head]) > 0
        left, right = (red, green) if straight else (green, red)
        pose = np.array([{"left": left, "right": right}.get(n.split("_")[0], head) for n in MEDIAPIPE33.point_names])
        pose = pose + self.rng.normal(0, self.wobble, (33, 2))
        ends = (red, red) if self.one_hand else (left, right)
        hands = np.stack([end + np.linspace(0, 0.2, 21)[:, None] * (head - end) for end in ends])
        hands[~np.array(self.hands)] = np.nan
        return [Parts(np.column_stack([pose, np.full(33, 0.9)]), hands)]

    def close(self) -> None: ...


DOTS = {"red": (250, 160), "green": (130, 180), "blue": (200, 60)}
BOX = np.array([130.0, 60.0, 250.0, 180.0])


def picture() -> np.ndarray:
    rows, columns = np.mgrid[:300, :400]
    image = np.zeros((300, 400, 3), np.uint8)
    for channel, (x, y) in enumerate(DOTS.values()):
        image[(columns - x) ** 2 + (rows - y) ** 2 < 36, channel] = 255
    return image


def test_looks_bring_points_hands_and_sides_back():
    """Half of the looks are mirrored: what the network calls left there is right."""
    body = look_at(picture(), BOX, FakePoses(), LOOKS)
    for name, dot in (("left_shoulder", "red"), ("right_knee", "green"), ("nose", "blue")):
        x, y, confidence = body.pose[MEDIAPIPE33.point_names.index(name)]
        np.testing.assert_allclose((x, y), DOTS[dot], atol=0.5)
        assert confidence == pytest.approx(0.9, abs=0.01)
    np.testing.assert_allclose(body.hands[:, 0, :2], [DOTS["red"], DOTS["green"]], atol=0.5)
    np.testing.assert_allclose(body.box, BOX, atol=0.5)


def test_disagreement_lowers_the_confidence_and_ends_in_nobody():
    sure, unsure = (look_at(picture(), BOX, FakePoses(wobble)).pose[:, 2].mean() for wobble in (0.0, 10.0))
    assert sure > 0.88 > 0.7 > unsure
    assert look_at(picture(), BOX, FakePoses(60.0)) is None
    assert look_at(np.zeros((300, 400, 3), np.uint8), BOX, FakePoses()) is None


def test_a_hand_that_is_missing_or_that_is_the_other_one_is_dropped():
    found = look_at(picture(), BOX, FakePoses(hands=(True, True))).hands
    assert np.isfinite(found).all()
    assert np.isnan(look_at(picture(), BOX, FakePoses(hands=(False, False))).hands).all()
    twice = look_at(picture(), BOX, FakePoses(one_hand=True), FEW_LOOKS).hands
    assert np.isfinite(twice[0]).all() and np.isnan(twice[1]).all()  # the red one, whose wrist is left


def test_what_is_in_sight():
    image = np.zeros((100, 200, 3), np.uint8)
    pose = np.column_stack([np.linspace(10, 190, 33), np.full(33, 50.0), np.full(33, 0.9)])
    pose[0, 0], pose[1, 1], pose[2, 2] = -5, 120, 0.1
    assert np.flatnonzero(~in_sight(pose, image)).tolist() == [0, 1, 2]
    assert visible_box(pose, image).tolist() == [pose[3, 0], 50, 190, 50]
    pose[:, 2] = 0
    assert visible_box(pose, image) is None


def test_other_faces_are_painted_over_and_a_head_is_known_by_its_nose():
    image = picture()
    painted = without_faces(image, [np.array([240.0, 150.0, 260.0, 170.0])])
    assert image[160, 250, 0] == 255 and (painted[150:171, 240:261] == 128).all() and painted[180, 130, 1] == 255
    pose = np.zeros((33, 3))
    pose[0, :2] = (251, 121)
    assert is_head(np.array([240.0, 110.0, 260.0, 130.0]), pose) and not is_head(np.array([0.0, 0, 20, 20]), pose)


def test_task_bundles_are_known_by_what_is_in_them(tmp_path):
    for name, inside in (("a.task", "pose_detector.tflite"), ("b.task", "hand_detector.tflite")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, b"")
    (tmp_path / "c.task").write_bytes(b"no archive")
    assert task_bundles(tmp_path) == {"pose": tmp_path / "a.task", "hand": tmp_path / "b.task"}
    assert task_bundles(tmp_path / "a.task")["hand"] == tmp_path / "b.task"
    (tmp_path / "a.task").unlink()
    with pytest.raises(InputError, match=r"no pose among b\.task.*pose_landmarker"):
        task_bundles(tmp_path / "b.task")


# ------------------------------------------------------------------ real photographs


def test_points_lie_where_people_annotated_them(shared, with_models):
    pictures = read(shared / "photos/coco_785.jpg")
    (truth,) = read(shared / "keypoints/coco_785_keypoints.json", ReadOptions(pictures=shared / "photos/coco_785.jpg"))
    (found,) = detect(pictures, BODY)
    assert found.layout.name == "holistic135" and found.names == ("coco_785",)
    names = [name for name in truth.layout.point_names if name not in ("neck", "mid_hip")]
    far = [np.linalg.norm(place(found, name) - place(truth, name)) for name in names]
    size = np.ptp(truth.keypoints[0], axis=0).max()
    assert np.median(far) < 0.025 * size and max(far) < 0.08 * size
    gloves = found.confidence[0, [*found.layout.groups["left_hand"], *found.layout.groups["right_hand"]]]
    assert (gloves <= 0.5).all() and (gloves > 0).sum() <= 6  # no fingers to be seen: what the pose has of them


def test_both_hands_are_on_the_subjects_own_sides(shared, with_models):
    (found,) = detect(read(shared / "photos/fake_human.png"), BODY)
    width = found.image_sizes[0, 0]
    for side, palm in (("left", 0.6), ("right", 0.28)):  # the subject's left is on the right of the picture
        points = list(found.layout.groups[f"{side}_hand"])
        assert (found.confidence[0, points] > 0.7).all()
        assert abs(found.keypoints[0, points, 0].mean() / width - palm) < 0.04
        assert np.linalg.norm(place(found, f"{side}_hand_root") - place(found, f"{side}_wrist")) < 0.05 * width
    assert (found.confidence[0, list(found.layout.groups["face"])] > 0.9).all()
    assert not found.confidence[0, list(found.layout.groups["feet"])].any()  # below the picture
    assert np.linalg.norm(place(found, "left_pupil") - place(found, "left_eye")) < 0.02 * width


def test_several_people_of_a_photo(shared, with_models):
    found = detect(read(shared / "photos/multi_face.jpg"), BODY)
    noses = [place(person, "nose")[0] for person in found]
    assert len(found) >= 3 and noses == sorted(noses) and np.diff(noses).min() > 50
    assert len(detect(read(shared / "photos/multi_face.jpg"), DetectorOptions(parts="body", max_persons=1))) == 1


def test_nobody_is_said(with_models, tmp_path):
    Image.new("RGB", (300, 300), (90, 120, 90)).save(tmp_path / "wall.png")
    with pytest.raises(NoPersonError, match=r"wall\.png: no person found in 1 picture"):
        detect(read(tmp_path / "wall.png"), BODY)


@dataclass
class Moved:
    """A clip of one photograph, moved by known motions; frame k shows it through `maps[k]`, frame to photograph."""

    image: np.ndarray
    maps: np.ndarray
    source: str = "moved"
    fps: float = 25.0
    is_clip: bool = True
    timestamps: None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self))))

    @property
    def image_sizes(self) -> np.ndarray:
        return np.tile(self.image.shape[1::-1], (len(self), 1))

    @property
    def focal_hints(self) -> np.ndarray:
        return np.full(len(self), np.nan)

    def __len__(self) -> int:
        return len(self.maps)

    def read(self):
        size, source = self.image.shape[1::-1], Image.fromarray(self.image)
        for m in self.maps:
            yield np.asarray(source.transform(size, Image.Transform.AFFINE, tuple(m.ravel()), Image.Resampling.BICUBIC))


def motions(width: int, height: int, frames: int) -> np.ndarray:
    """Swaying, turning and scaling, 4, 5 and 5 % at most."""
    t = 2 * np.pi * np.arange(frames) / frames
    scale, turn = 1 + 0.05 * np.sin(t), np.radians(3 * np.sin(t + 1))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    middle = np.array([width / 2, height / 2])
    shift = np.stack([0.04 * width * np.sin(t), 0.02 * height * np.cos(t)], axis=-1)
    return np.concatenate([linear, (middle - linear @ middle + shift)[..., None]], axis=-1)


def test_a_moving_person_is_followed_without_lag(shared, with_models):
    photo = Image.open(shared / "photos/fake_human.png").convert("RGB").resize((640, 640), Image.Resampling.LANCZOS)
    clip = Moved(np.asarray(photo), motions(640, 640, 12))
    (found,) = detect(clip, BODY)
    assert found.valid.all() and found.is_clip and found.fps == 25.0
    seen = (found.confidence > 0.5).all(axis=0)
    assert seen.sum() > 100
    back = np.stack([(k + 0.5) @ m[:, :2].T + m[:, 2] for k, m in zip(found.keypoints, clip.maps, strict=True)])[
        :, seen
    ]
    size = np.ptp(back[0], axis=0).max()
    moved = np.stack([(back.mean(axis=0) - m[:, 2]) @ np.linalg.inv(m[:, :2]).T for m in clip.maps])
    error = found.keypoints[:, seen] + 0.5 - moved
    velocity = np.gradient(moved, axis=0)
    lag = -(error * velocity).sum() / (velocity**2).sum()
    assert np.sqrt((error**2).sum(axis=-1).mean()) < 0.008 * size
    assert abs(lag) < 0.15  # MediaPipe's own tracking lags by a whole frame here


# ------------------------------------------------------------------ .task files


@pytest.fixture(scope="module")
def bundles(shared, with_models, tmp_path_factory) -> Path:
    """Pose and hand bundles of the networks in the wheel, with the metadata that the Tasks API wants; the real face."""
    import mediapipe

    writer = pytest.importorskip("mediapipe.tasks.python.metadata.metadata_writers.metadata_writer").MetadataWriter
    modules, folder = Path(mediapipe.__file__).parent / "modules", tmp_path_factory.mktemp("bundles")

    def with_metadata(name: str, mean: float, sd: float) -> bytes:
        return bytes(
            writer.create(bytearray((modules / name).read_bytes())).add_image_input([mean], [sd]).populate()[0]
        )

    with zipfile.ZipFile(folder / "pose_landmarker.task", "w") as archive:
        archive.writestr("pose_detector.tflite", with_metadata("pose_detection/pose_detection.tflite", 127.5, 127.5))
        archive.writestr(
            "pose_landmarks_detector.tflite", with_metadata("pose_landmark/pose_landmark_full.tflite", 0, 255)
        )
    with zipfile.ZipFile(folder / "hand_landmarker.task", "w") as archive:
        archive.write(modules / "palm_detection/palm_detection_full.tflite", "hand_detector.tflite")
        archive.write(modules / "hand_landmark/hand_landmark_full.tflite", "hand_landmarks_detector.tflite")
    (folder / "face_landmarker.task").symlink_to(shared / "mediapipe/face_landmarker.task")
    return folder


def test_task_files_find_the_same_person(shared, bundles):
    pictures = read(shared / "photos/fake_human.png")
    (wheel,) = detect(pictures, BODY)
    (tasks,) = detect(pictures, DetectorOptions(parts="body", task_file=bundles))
    both = (wheel.confidence[0] > 0.5) & (tasks.confidence[0] > 0.5)
    groups = HOLISTIC135.groups
    assert all(both[list(groups[part])].mean() > 0.9 for part in ("left_hand", "right_hand", "face", "head"))
    far = np.linalg.norm(wheel.keypoints[0] - tasks.keypoints[0], axis=-1)[both]
    assert np.median(far) < 0.01 * pictures.image_sizes[0].max() and far.max() < 0.06 * pictures.image_sizes[0].max()
