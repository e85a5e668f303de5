"""Readers of bodies: every format written by hand from its description, every way a file can be wrong, real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from fitting import bodies, layouts
from fitting.config import FitConfig
from fitting.layouts.convert import to_layout
from fitting.pipeline import Silence, most_seen, observe, parts_wanted
from fitting.readers import ReadOptions, read
from fitting.readers.openpose_body import is_25b
from fitting.types import InputError, NoPersonError

RNG = np.random.default_rng(0)
# A person who stands and waves, pixels.
PLACES = {
    "nose": (200, 60), "left_eye": (207, 52), "right_eye": (193, 52), "left_ear": (218, 58), "right_ear": (182, 58),
    "left_shoulder": (240, 110), "right_shoulder": (160, 112), "left_elbow": (270, 60), "right_elbow": (140, 170),
    "left_wrist": (260, 10), "right_wrist": (150, 225), "left_hip": (222, 230), "right_hip": (178, 231),
    "left_knee": (225, 310), "right_knee": (176, 312), "left_ankle": (228, 390), "right_ankle": (172, 392),
    "neck": (200, 111), "mid_hip": (200, 230), "upper_neck": (200, 92), "head_top": (200, 20),
    "left_big_toe": (240, 405), "left_small_toe": (248, 402), "left_heel": (224, 400),
    "right_big_toe": (160, 407), "right_small_toe": (152, 404), "right_heel": (176, 402),
}  # fmt: skip


def body(layout: layouts.Layout, shift: float = 0.0, confidence: float = 0.8) -> np.ndarray:
    """(points, 3)"""
    return np.array([(*np.add(PLACES[name], (shift, 0)), confidence) for name in layout.point_names])


def part(count: int, centre: tuple[float, float], confidence: float = 0.7) -> np.ndarray:
    return np.column_stack([RNG.uniform(-9, 9, (count, 2)) + centre, np.full(count, confidence)])


def openpose_person(points: np.ndarray, number: int = -1, **parts: np.ndarray) -> dict[str, object]:
    lists = {f"{name}_keypoints_2d": array.ravel().tolist() for name, array in parts.items()}
    empty = {f"{name}_keypoints_2d": [] for name in ("face", "hand_left", "hand_right")}
    return {
        "person_id": [number],
        "pose_keypoints_2d": points.ravel().tolist(),
        **empty,
        **lists,
        "pose_keypoints_3d": [],
    }


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def openpose_file(folder: Path, frame: int | str, *people: dict[str, object]) -> Path:
    name = f"walk_{frame:012d}" if isinstance(frame, int) else frame
    return write(folder / f"{name}_keypoints.json", {"version": 1.3, "people": list(people)})


def save_image(path: Path, size: tuple[int, int] = (400, 420)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def place(found, name: str, row: int = 0) -> np.ndarray:
    k = found.layout.point_names.index(name)
    return np.array([*found.keypoints[row, k], found.confidence[row, k]])


# ------------------------------------------------------------------ OpenPose


@pytest.mark.parametrize(
    ("layout", "name"), [(layouts.BODY25, "body25"), (layouts.COCO18, "coco19"), (layouts.COCO19, "coco19")]
)
def test_openposes_bodies_are_told_by_their_count(tmp_path, layout, name):
    (found,) = read(openpose_file(tmp_path, "me", openpose_person(body(layout))))
    assert found.layout.name == name and found.names == ("me",) and not found.is_clip
    assert all(place(found, name)[:2].tolist() == list(PLACES[name]) for name in layout.point_names)


def test_body_25b_is_not_taken_for_body_25(tmp_path):
    (found,) = read(openpose_file(tmp_path, 0, openpose_person(body(layouts.BODY25B, confidence=0.6))))
    assert found.layout.name == "body25b"
    np.testing.assert_allclose(place(found, "left_knee"), (*PLACES["left_knee"], 0.6 * 1.4))
    np.testing.assert_allclose(place(found, "upper_neck")[:2], PLACES["upper_neck"])


@pytest.mark.parametrize("seen", [1.0, 0.6, 0.4])
def test_the_two_kinds_of_25_are_told_apart_in_any_posture(seen):
    """Random poses of a jointed figure seen from all sides, with points missing at random: five people are enough."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(100):
        figures = [jointed_figure(rng) for _ in range(5)]
        gone = rng.random((5, 27)) > seen
        for layout, expected in ((layouts.BODY25, False), (layouts.BODY25B, True)):
            names = list(PLACES)
            people = np.array([[(*f[n], 0.0 if gone[k, names.index(n)] else 0.9) for n in layout.point_names]
                               for k, f in enumerate(figures)])  # fmt: skip
            wrong += is_25b(people) != expected
    assert wrong == 0


def jointed_figure(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A figure of bones with random directions of the limbs, turned and seen from afar; pixels."""

    def unit(spread: float, about: tuple[float, float, float]) -> np.ndarray:
        v = np.array(about) + rng.normal(0, spread, 3)
        return v / np.linalg.norm(v)

    p = {"mid_hip": np.zeros(3)}
    p["neck"] = p["mid_hip"] + 0.5 * unit(0.25, (0, 1, 0))
    p["upper_neck"] = p["neck"] + 0.08 * unit(0.2, (0, 1, 0))
    head = p["upper_neck"] + 0.1 * unit(0.2, (0, 1, 0.2))
    p |= {"head_top": head + (0, 0.15, 0), "nose": head + (0, 0, 0.1)}
    for side, x in (("left", 1), ("right", -1)):
        p[f"{side}_eye"], p[f"{side}_ear"] = head + (0.033 * x, 0.035, 0.08), head + (0.075 * x, 0.01, 0)
        p[f"{side}_shoulder"], p[f"{side}_hip"] = p["neck"] + (0.18 * x, 0, 0), p["mid_hip"] + (0.11 * x, 0, 0)
        p[f"{side}_elbow"] = p[f"{side}_shoulder"] + 0.29 * unit(0.8, (0.2 * x, -1, 0))
        p[f"{side}_wrist"] = p[f"{side}_elbow"] + 0.26 * unit(0.8, (0, -0.5, 0.5))
        p[f"{side}_knee"] = p[f"{side}_hip"] + 0.42 * unit(0.4, (0, -1, 0.3))
        p[f"{side}_ankle"] = p[f"{side}_knee"] + 0.41 * unit(0.4, (0, -1, -0.2))
        p[f"{side}_heel"] = p[f"{side}_ankle"] + (0, -0.06, -0.05)
        p[f"{side}_big_toe"] = p[f"{side}_ankle"] + (0, -0.07, 0.18)
        p[f"{side}_small_toe"] = p[f"{side}_ankle"] + (0.06 * x, -0.07, 0.15)
    turn = rng.uniform(0, 2 * np.pi)
    across = np.array([np.cos(turn), 0, np.sin(turn)])
    scale = rng.uniform(50, 400)
    return {
        name: 500 + scale * np.array([v @ across, -v[1]]) + rng.normal(0, 0.005 * scale, 2) for name, v in p.items()
    }


def test_hands_and_face_come_with_the_body_in_one_layout(tmp_path):
    hands, face = part(21, (260, 10)), part(70, (200, 60))
    openpose_file(tmp_path, 0, openpose_person(body(layouts.BODY25), hand_left=hands, face=face))
    openpose_file(tmp_path, 1, openpose_person(body(layouts.BODY25)))
    (found,) = read(tmp_path)
    assert found.layout.name == "openpose137" and found.is_clip and found.confidence.shape == (2, 137)
    left, right = (list(found.layout.groups[f"{side}_hand"]) for side in ("left", "right"))
    np.testing.assert_allclose(found.keypoints[0, left], hands[:, :2])
    np.testing.assert_allclose(place(found, "right_pupil"), face[68])
    np.testing.assert_allclose(found.keypoints[0, list(found.layout.groups["contour"])], face[:17, :2])
    assert not found.confidence[0, right].any() and not found.confidence[1, left].any()


def test_coco_18_with_hands_gets_a_mid_hip_as_sure_as_its_surer_half_is_not(tmp_path):
    points = body(layouts.COCO18)
    points[layouts.COCO18.point_names.index("left_hip"), 2] = 0.3
    (found,) = read(openpose_file(tmp_path, 0, openpose_person(points, hand_right=part(21, (150, 225)))))
    assert found.layout.name == "openpose137"
    np.testing.assert_allclose(place(found, "mid_hip"), (200, 230.5, 0.3))


def test_people_of_a_clip_are_followed_not_counted(tmp_path):
    """The file lists them in another order in every second frame, one leaves for a while, a ghost appears."""
    for k in range(8):
        near, far = openpose_person(body(layouts.BODY25, 2.0 * k)), openpose_person(body(layouts.BODY25, 500 - k))
        people = [near, far] if k % 2 else [far, near]
        openpose_file(tmp_path, k, *(people if k not in (3, 4) else [near]))
    openpose_file(tmp_path, 8)
    near, far = read(tmp_path)
    assert near.valid.tolist() == [True] * 8 + [False] and np.flatnonzero(~far.valid).tolist() == [3, 4, 8]
    np.testing.assert_allclose(near.keypoints[:8, 0, 0], 200 + 2.0 * np.arange(8))
    assert (near.person, far.person) == ("000", "001") and far.keypoints[7, 0, 0] == 693


def test_real_person_ids_are_believed_and_minus_one_is_none(tmp_path):
    for k in range(4):  # two who change places at once: only a tracker can know
        a, b = (0.0, 300.0) if k < 2 else (300.0, 0.0)
        openpose_file(
            tmp_path / "ids",
            k,
            openpose_person(body(layouts.BODY25, a), 4),
            openpose_person(body(layouts.BODY25, b), 9),
        )
        openpose_file(
            tmp_path / "none", k, openpose_person(body(layouts.BODY25, a)), openpose_person(body(layouts.BODY25, b))
        )
    tracked, untracked = read(tmp_path / "ids"), read(tmp_path / "none")
    assert sorted(p.keypoints[:, 0, 0].tolist() for p in tracked) == [[200, 200, 500, 500], [500, 500, 200, 200]]
    assert sorted(p.keypoints[:, 0, 0].tolist() for p in untracked) == [[200] * 4, [500] * 4]


def test_frame_k_stays_frame_k(tmp_path):
    for k in (0, 1, 2, 5, 6):
        openpose_file(tmp_path, k, *([openpose_person(body(layouts.BODY25, k))] if k != 2 else []))
    (found,) = read(tmp_path, ReadOptions(fps=25.0))
    assert len(found) == 7 and np.flatnonzero(found.valid).tolist() == [0, 1, 5, 6]
    assert found.names[5] == "walk_000000000005" and found.timestamps[5] == pytest.approx(0.2)
    assert not found.size_known and (found.image_sizes[0] > [270, 410]).all()


def test_smplify_xs_data_folder(tmp_path):
    """Every picture is a row; a keypoint file of a picture that was taken out is passed over, as there."""
    for k, size in ((1, (640, 480)), (2, (640, 480)), (10, (500, 600))):
        save_image(tmp_path / f"images/img_{k}.jpg", size)
        if k != 2:
            openpose_file(tmp_path / "keypoints", f"img_{k}", openpose_person(body(layouts.BODY25, k)))
    openpose_file(tmp_path / "keypoints", "img_99", openpose_person(body(layouts.BODY25)))
    (found,) = read(tmp_path)
    assert found.names == ("img_1", "img_2", "img_10") and found.valid.tolist() == [True, False, True]
    assert found.image_sizes.tolist() == [[640, 480], [640, 480], [500, 600]] and found.size_known
    assert not found.is_clip and place(found, "nose", 2)[0] == 210 and len(found.pictures) == 3


def test_photos_number_their_people_from_the_left(tmp_path):
    people = [openpose_person(body(layouts.BODY25, x)) for x in (300, 0, 600)]
    openpose_file(tmp_path, "a", *people)
    openpose_file(tmp_path, "b", people[0])
    found = read(tmp_path)
    assert [p.keypoints[0, 0, 0] for p in found] == [200, 500, 800] and not found[0].is_clip
    assert [p.valid.tolist() for p in found] == [[True, True], [True, False], [True, False]]


def test_a_real_clip_of_openpose(shared):
    (found,) = read(shared / "keypoints/openpose_signer")
    assert found.layout.name == "openpose137" and len(found) == 93 and found.valid.all() and found.is_clip
    assert not found.confidence[:, list(found.layout.groups["feet"])].any() and not found.size_known
    file = json.loads((shared / "keypoints/openpose_signer/openpose_000000000007_keypoints.json").read_text())
    pose = np.array(file["people"][0]["pose_keypoints_2d"]).reshape(25, 3)
    np.testing.assert_allclose(place(found, "left_wrist", 7), pose[7])
    # The left hand hangs at the left wrist, where both are seen.
    both = (found.confidence[:, list(found.layout.groups["left_hand"])] > 0).all(axis=1)
    wrists = [
        np.array([place(found, name, k)[:2] for k in np.flatnonzero(both)]) for name in ("left_hand_root", "left_wrist")
    ]
    assert 40 < both.sum() < 60 and np.median(np.linalg.norm(wrists[0] - wrists[1], axis=1)) < 15


def test_the_real_clip_in_the_other_order_is_known_for_what_it_is(shared, tmp_path):
    """Its upper body alone, rewritten as BODY_25B."""
    for k in range(0, 93, 8):
        file = json.loads((shared / f"keypoints/openpose_signer/openpose_{k:012d}_keypoints.json").read_text())
        points = np.array(file["people"][0]["pose_keypoints_2d"]).reshape(25, 3)
        other = to_layout(points, layouts.BODY25, layouts.BODY25B)
        openpose_file(tmp_path, k // 8, openpose_person(other))
    (found,) = read(tmp_path)
    assert found.layout.name == "body25b"


# ------------------------------------------------------------------ COCO and its kin


def coco(images: list[tuple[int, str, int, int]], *annotations: dict[str, object]) -> dict[str, object]:
    return {
        "images": [{"id": i, "file_name": n, "width": w, "height": h} for i, n, w, h in images],
        "annotations": [{"id": k, "category_id": 1, "iscrowd": 0, **a} for k, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "person"}],
    }


def annotation(image: int, shift: float = 0.0) -> dict[str, object]:
    points = body(layouts.COCO17, shift)
    points[:, 2] = 2
    points[9] = 0  # left wrist not labelled
    points[12, 2] = 1  # right hip hidden
    return {"image_id": image, "keypoints": points.astype(int).ravel().tolist(), "num_keypoints": 16}


def test_coco_annotations(tmp_path):
    nobody = {"image_id": 12, "keypoints": [0] * 51, "num_keypoints": 0}
    crowd = {**annotation(7, 900.0), "iscrowd": 1}
    content = coco([(12, "000000000012.jpg", 640, 480), (7, "000000000007.jpg", 500, 300)],
                   annotation(7, 300.0), annotation(7), annotation(12, 5.0), nobody, crowd)  # fmt: skip
    first, second = read(write(tmp_path / "person_keypoints.json", content))
    assert first.layout.name == "coco17_mid" and first.names == ("000000000012", "000000000007")
    assert first.image_sizes.tolist() == [[640, 480], [500, 300]] and first.size_known and not first.is_clip
    assert first.keypoints[:, 0, 0].tolist() == [205, 200] and second.valid.tolist() == [False, True]
    assert place(first, "left_wrist")[2] == 0 and place(first, "right_hip")[2] == 0.5
    np.testing.assert_allclose(place(first, "mid_hip"), (205, 230.5, 0.5))
    np.testing.assert_allclose(place(first, "neck"), (205, 111, 1.0))


def test_annotations_meet_their_pictures_by_name(tmp_path):
    """Pictures come in the order of their names, annotations in another."""
    for name in ("000000000007", "000000000009", "000000000012"):
        save_image(tmp_path / f"val/{name}.jpg", (640, 480))
    content = coco(
        [(12, "000000000012.jpg", 640, 480), (7, "000000000007.jpg", 640, 480)], annotation(7), annotation(12, 5.0)
    )
    (found,) = read(write(tmp_path / "a.json", content), ReadOptions(pictures=tmp_path / "val"))
    assert found.valid.tolist() == [True, False, True] and found.keypoints[[0, 2], 0, 0].tolist() == [200, 205]
    results = [
        {"image_id": n, "category_id": 1, "keypoints": body(layouts.COCO17, n).ravel().tolist(), "score": 1.0}
        for n in (12, 7)
    ]
    (found,) = read(write(tmp_path / "r.json", results), ReadOptions(pictures=tmp_path / "val"))
    assert found.valid.tolist() == [True, False, True] and found.keypoints[[0, 2], 0, 0].tolist() == [207, 212]


def test_coco_wholebody_annotations(tmp_path):
    feet, face, left, right = (
        part(n, c, 1.0) for n, c in ((6, (200, 400)), (68, (200, 60)), (21, (260, 10)), (21, (150, 225)))
    )
    whole = {**annotation(1), "foot_kpts": feet.ravel().tolist(),
             "face_kpts": face.ravel().tolist(), "face_valid": True,
             "lefthand_kpts": left.ravel().tolist(), "lefthand_valid": True,
             "righthand_kpts": right.ravel().tolist(), "righthand_valid": False, "foot_valid": True}  # fmt: skip
    (found,) = read(write(tmp_path / "wholebody.json", coco([(1, "a.jpg", 400, 420)], whole)))
    assert found.layout.name == "wholebody133_mid"
    np.testing.assert_allclose(place(found, "right_heel"), (*feet[5, :2], 0.5))
    np.testing.assert_allclose(place(found, "chin"), (*face[8, :2], 1.0))
    np.testing.assert_allclose(place(found, "left_pinky_4"), (*left[20, :2], 1.0))
    assert not found.confidence[0, list(found.layout.groups["right_hand"])].any()


def test_a_real_coco_annotation_lies_in_its_photograph(shared):
    (found,) = read(shared / "keypoints/coco_785_keypoints.json", ReadOptions(pictures=shared / "photos/coco_785.jpg"))
    assert found.image_sizes.tolist() == [[640, 425]] and found.names == ("coco_785",) and len(found.pictures) == 1
    np.testing.assert_allclose(place(found, "right_wrist"), (309, 178, 1.0))
    np.testing.assert_allclose(place(found, "mid_hip"), (408.5, 208.5, 1.0))


@pytest.mark.parametrize(
    ("count", "name"),
    [(17, "coco17_mid"), (23, "coco23_mid"), (26, "halpe26"), (133, "wholebody133_mid"), (136, "halpe136")],
)
def test_results_are_told_by_their_count(tmp_path, count, name):
    points = np.column_stack([RNG.uniform(10, 300, (count, 2)), RNG.uniform(0.1, 3.0, count)])
    entry = {"image_id": "12.jpg", "category_id": 1, "keypoints": points.ravel().tolist(), "score": 2.9}
    (found,) = read(write(tmp_path / "alphapose-results.json", [entry]))
    assert found.layout.name == name and found.names == ("12",)
    np.testing.assert_allclose(found.keypoints[0, :count], points[:, :2])
    np.testing.assert_allclose(found.confidence[0, :count], points[:, 2].clip(0, 1))


def alphapose(frame: int, shift: float, idx: object) -> dict[str, object]:
    return {
        "image_id": f"{frame}.jpg",
        "category_id": 1,
        "keypoints": body(layouts.HALPE26, shift).ravel().tolist(),
        "idx": idx,
    }


def test_alphapose_leaves_frames_out_and_numbers_people_if_asked_to(tmp_path):
    swap = [
        alphapose(k, 0.0 if (k < 5) == (n == 1) else 300.0, [[float(n)]]) for k in (10, 9, 0, 1, 3, 8) for n in (1, 2)
    ]
    one, two = read(write(tmp_path / "tracked.json", swap))
    assert len(one) == 11 and np.flatnonzero(one.valid).tolist() == [0, 1, 3, 8, 9, 10] and one.is_clip
    assert one.names[10] == "10" and {one.keypoints[0, 0, 0], one.keypoints[10, 0, 0]} == {200, 500}
    zeros = [{**entry, "idx": 0} for entry in swap]
    one, two = read(write(tmp_path / "untracked.json", zeros))
    assert one.keypoints[one.valid, 0, 0].tolist() == [200] * 6 and two.keypoints[two.valid, 0, 0].tolist() == [500] * 6


def test_results_in_five_lists(tmp_path):
    """MMPose 0.x splits COCO-WholeBody as the annotations do, with scores for v."""
    entry = {"image_id": 3, "category_id": 1, "keypoints": body(layouts.COCO17, confidence=0.3).ravel().tolist(),
             "foot_kpts": part(6, (200, 400)).ravel().tolist(), "face_kpts": part(68, (200, 60), 0.4).ravel().tolist(),
             "lefthand_kpts": part(21, (260, 10)).ravel().tolist(), "righthand_kpts": []}  # fmt: skip
    (found,) = read(write(tmp_path / "results.json", [entry]))
    assert found.layout.name == "wholebody133_mid"
    assert place(found, "nose")[2] == pytest.approx(0.3) and place(found, "chin")[2] == pytest.approx(0.4)


def instance(shift: float = 0.0, count: int = 17) -> dict[str, object]:
    points = body(layouts.COCO17, shift) if count == 17 else part(count, (200, 200))
    return {
        "keypoints": points[:, :2].tolist(),
        "keypoint_scores": points[:, 2].tolist(),
        "bbox": [[0, 0, 9, 9]],
        "bbox_score": 1.0,
    }


@pytest.mark.parametrize("first", [0, 1])
def test_mmposes_frames_count_from_0_or_1(tmp_path, first):
    frames = [{"frame_id": first + k, "instances": [instance(2.0 * k)] if k != 2 else []} for k in range(5)]
    content = {"meta_info": {"dataset_name": "coco"}, "instance_info": frames}
    for file in (write(tmp_path / "demo.json", content), write(tmp_path / "inferencer.json", frames)):
        (found,) = read(file)
        assert (
            found.layout.name == "coco17_mid"
            and len(found) == 5
            and found.valid.tolist() == [True, True, False, True, True]
        )
        assert found.is_clip and found.keypoints[4, 0, 0] == 208 and place(found, "neck", 4)[2] == pytest.approx(0.8)


def test_mmposes_single_pictures_alone_and_in_a_folder(tmp_path):
    (found,) = read(write(tmp_path / "one.json", [instance(count=133)]))
    assert found.layout.name == "wholebody133_mid" and len(found) == 1
    for k in range(3):
        write(tmp_path / f"predictions/{k}.json", [instance(k), instance(300.0)] if k else [instance(k)])
    found = read(tmp_path / "predictions")
    assert [p.valid.tolist() for p in found] == [[True] * 3, [False, True, True]] and found[0].is_clip


# ------------------------------------------------------------------ MediaPipe's bodies


def mediapipe_point(x: float, y: float, visibility: float) -> dict[str, float]:
    return {"x": x / 400, "y": y / 420, "z": 0.1, "visibility": visibility}


def mediapipe_pose(shift: float = 0.0) -> list[dict[str, float]]:
    places = [PLACES.get(name, (200, 60)) for name in layouts.MEDIAPIPE33.point_names]
    return [mediapipe_point(x + shift, y, 0.9) for x, y in places]


def test_mediapipe_pose_json(tmp_path):
    frames = [{"pose_landmarks": mediapipe_pose(k)} if k != 1 else {"pose_landmarks": None} for k in range(3)]
    (found,) = read(write(tmp_path / "pose.json", {"image_size": [400, 420], "fps": 30, "frames": frames}))
    assert found.layout.name == "mediapipe33_mid" and found.valid.tolist() == [True, False, True] and found.is_clip
    np.testing.assert_allclose(place(found, "left_knee", 2), (PLACES["left_knee"][0] + 2 - 0.5, 310 - 0.5, 0.9))
    np.testing.assert_allclose(place(found, "neck")[:2], (200 - 0.5, 111 - 0.5))
    with pytest.raises(InputError, match="image_size"):
        read(write(tmp_path / "bare.json", frames))


def test_mediapipe_holistic_json_and_npz_agree(tmp_path):
    hand, face = RNG.uniform(0.3, 0.5, (2, 21, 3)), RNG.uniform(0.4, 0.6, (2, 478, 3))
    pose = np.array([[list(p.values()) for p in mediapipe_pose(s)] for s in (0.0, 250.0)])
    frames = [{"pose_landmarks": pose[k].tolist(), "right_hand_landmarks": hand[k].tolist() if k else None,
               "left_hand_landmarks": None, "face_landmarks": [dict(zip("xyz", p, strict=True)) for p in face[k]]}
              for k in range(2)]  # fmt: skip
    hand[0] = np.nan
    arrays = {"pose_landmarks": pose, "right_hand_landmarks": hand, "face_landmarks": face, "image_size": [400, 420]}
    np.savez(tmp_path / "holistic.npz", **arrays)
    (a,) = read(write(tmp_path / "holistic.json", frames), ReadOptions(image_size=(400, 420)))
    (b,) = read(tmp_path / "holistic.npz")
    assert a.layout.name == b.layout.name == "holistic135"
    np.testing.assert_allclose(a.keypoints, b.keypoints)
    np.testing.assert_allclose(a.confidence, b.confidence)
    right = list(a.layout.groups["right_hand"])
    assert (a.confidence[1, right] == 1).all() and (a.confidence[0, right] > 0).sum() == 3
    # The second frame stands 250 pixels further right: what is out of the picture is not believed.
    assert place(a, "left_elbow", 1)[2] == 0 < place(a, "right_elbow", 1)[2]


# ------------------------------------------------------------------ what is wrong is said


def test_nobody_anywhere_is_one_clear_line(tmp_path):
    for k in range(3):
        openpose_file(tmp_path / "op", k)
    zeros = openpose_person(np.zeros((25, 3)))
    openpose_file(tmp_path / "zeros", 0, zeros)
    empty = [tmp_path / "op", tmp_path / "zeros", write(tmp_path / "m.json", [{"frame_id": 0, "instances": []}]),
             write(tmp_path / "c.json", coco([(1, "a.jpg", 9, 9)])),
             write(tmp_path / "p.json", [{"pose_landmarks": None}])]  # fmt: skip
    for path in empty:
        with pytest.raises(NoPersonError, match=r"nobody") as caught:
            read(path, ReadOptions(image_size=(400, 400)))
        assert "\n" not in str(caught.value) and path.name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"people": [{"pose_keypoints_2d": [1.0] * 74}]}, "three numbers for a point"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 45}]}, "25, 19 or 18 body points, found 15"),
        ({"people": [{"pose_keypoints_2d": ["x"] * 75}]}, "expected numbers"),
        ({"people": [{"pose_keypoints_2d": [9.0] * 75, "face_keypoints_2d": [1.0] * 6}]}, "expected 70 points of face"),
        ({"people": [3]}, "expected a person"),
        ({"people": [{"pose_keypoints_2d": [0.1, 0.2, 0.9] * 25}]}, "expected pixels"),
        ({"shapes": [], "imagePath": "a.jpg"}, "'shapes', 'imagePath'"),
        ([1, 2, 3], r"found \[1, 2, 3\]"),
        ([{"image_id": 1, "keypoints": [1.0] * 42}], "14 keypoints is not known; known are 17"),
        ([{"image_id": 1, "keypoints": [5.0] * 51}, {"image_id": 1, "keypoints": [5.0] * 78}], "17 and of 26"),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 2, "keypoints": [5] * 51}]}, "image 2, which"),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 1, "keypoints": [5] * 48}]}, "17 points in `keypoints`"),
        ([{"keypoints": [[1, 2]], "keypoint_scores": [1, 2]}], "as many `keypoint_scores`"),
        ([{"pose_landmarks": [[0.1, 0.2, 0.3, 0.9]] * 32}], "expected 33 points"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(tmp_path, content, message):
    path = write(tmp_path / "wrong.json", content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, ReadOptions(image_size=(400, 400)))
    assert "wrong.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_cut_off_file_of_a_folder_is_named(tmp_path):
    for k in range(3):
        file = openpose_file(tmp_path, k, openpose_person(body(layouts.BODY25)))
    file.write_text(file.read_text()[:200])
    with pytest.raises(InputError, match=r"000000000002_keypoints\.json \(200 bytes\).*cut off"):
        read(tmp_path)
    write(file, {"shapes": []})
    with pytest.raises(InputError, match=r"000000000002_keypoints\.json.*`people`.*'shapes'"):
        read(tmp_path)


def test_two_kinds_of_bodies_do_not_mix(tmp_path):
    openpose_file(tmp_path, 0, openpose_person(body(layouts.BODY25)))
    openpose_file(tmp_path, 1, openpose_person(body(layouts.COCO18)))
    with pytest.raises(InputError, match="18 and of 25"):
        read(tmp_path)


def test_keypoints_without_their_picture_are_refused(tmp_path):
    for k in range(3):
        save_image(tmp_path / f"pictures/{k}.png")
    openpose_file(tmp_path / "k", "nine", openpose_person(body(layouts.BODY25)))
    with pytest.raises(InputError, match="no picture for nine"):
        read(tmp_path / "k", ReadOptions(pictures=tmp_path / "pictures"))
    (tmp_path / "D/keypoints").mkdir(parents=True)
    save_image(tmp_path / "D/images/a.png")
    with pytest.raises(InputError, match="_keypoints.json files, found none"):
        read(tmp_path / "D")


def test_the_frames_of_a_clip_have_one_size(tmp_path):
    for k in range(3):
        save_image(tmp_path / f"images/{k}.png", (400, 420 + 10 * (k == 2)))
        openpose_file(tmp_path / "keypoints", f"{k}", openpose_person(body(layouts.BODY25)))
    (found,) = read(tmp_path)
    assert not found.is_clip
    with pytest.raises(InputError, match=r"frame 0 is 400x420 and frame 2 400x430"):
        read(tmp_path, ReadOptions(sequence="clip"))


def test_files_of_two_tools_do_not_mix_and_images_with_other_json_stay_images(tmp_path):
    write(tmp_path / "mixed/0.json", [instance()])
    write(tmp_path / "mixed/1.json", {"people": [openpose_person(body(layouts.BODY25))]})
    with pytest.raises(InputError, match="OpenPose and of MMPose"):
        read(tmp_path / "mixed")
    save_image(tmp_path / "photos/a.png")
    write(tmp_path / "photos/a.json", {"shapes": []})
    assert len(read(tmp_path / "photos")) == 1


def test_frames_of_a_video_are_found_by_their_numbers(tmp_path):
    """OpenPose numbers the frames of a video; ours are named by number too."""
    for k in range(6):
        save_image(tmp_path / f"frames/{k:06d}.png")
        if k != 3:
            openpose_file(tmp_path / "k", k, openpose_person(body(layouts.BODY25, k)))
    (found,) = read(tmp_path / "k", ReadOptions(pictures=tmp_path / "frames"))
    assert found.names[0] == "000000" and found.valid.tolist() == [True, True, True, False, True, True]
    assert found.keypoints[4, 0, 0] == 204


def test_the_people_of_whom_most_is_seen_are_kept(tmp_path):
    ghost = openpose_person(body(layouts.BODY25, 100.0, confidence=0.1))
    for k in range(3):
        real = [openpose_person(body(layouts.BODY25, x)) for x in (1000.0, 400.0)]
        openpose_file(tmp_path, k, *real, ghost)
    found = read(tmp_path)
    assert [person.person for person in most_seen(found, 2)] == ["001", "002"] and len(found) == 3


def test_a_size_that_nobody_knows_is_said(tmp_path, open_head):
    class Listener(Silence):
        notes: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    file = openpose_file(tmp_path, 0, openpose_person(body(layouts.BODY25)))
    recipe = Path(__file__).resolve().parents[1] / "cfg_files/fit_flame.yaml"
    observe(FitConfig.load(recipe, [("input", str(file))]), open_head, Listener())
    assert len(Listener.notes) == 1 and "size of the pictures is not known" in Listener.notes[0]
    observe(FitConfig.load(recipe, [("input", str(file)), ("read.image_size", "[400, 420]")]), open_head, Listener())
    assert len(Listener.notes) == 1


def test_whole_people_are_looked_for_where_the_body_has_arms(open_head):
    recipe = Path(__file__).resolve().parents[1] / "cfg_files/fit_flame.yaml"
    config, chosen = FitConfig.load(recipe), FitConfig.load(recipe, [("detector.parts", "body")])
    assert parts_wanted(config, open_head) == "face" and parts_wanted(chosen, open_head) == "body"
    assert parts_wanted(config, bodies.load("open_body", betas=2)) == "body"
