"""Layouts of bodies: their tools' own orders, made-up points, sides, parts put together, who is who."""

from __future__ import annotations

import re
from itertools import chain

import numpy as np
import pytest

from fitting import layouts
from fitting.layouts import FACE70, HOLISTIC135, LAYOUTS, MEDIAPIPE33, MEDIAPIPE478, OPENPOSE137, with_midpoints
from fitting.layouts.convert import to_layout
from fitting.layouts.mediapipe_parts import FACE70_IN_478, in_picture, join_parts
from fitting.layouts.persons import bodies_in_clip, body_boxes, persons_by_number
from fitting.layouts.sides import other_side, swapped
from fitting.types import Observations

BODIES = [layout for layout in LAYOUTS if "body" in layout.groups]
every_body = pytest.mark.parametrize("layout", BODIES, ids=lambda layout: layout.name)

# The labels in the tools' own documentation, in their order.
OPENPOSE_FEET = "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
COCO = "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle RAnkle"
OWN_LABELS = {
    "body25": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar " + OPENPOSE_FEET,
    "body25b": COCO + " UpperNeck HeadTop " + OPENPOSE_FEET,
    "coco18": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar",
    "coco19": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar",
    "coco17": COCO,
    "coco23": COCO + " " + OPENPOSE_FEET,
    "halpe26": COCO + " HeadTop Neck MidHip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel",
}
STARTS = {  # where the parts of the large ones begin
    "openpose137": {"left_hand_root": 25, "right_hand_root": 46, "right_jaw_0": 67, "right_pupil": 135},
    "openpose137b": {"upper_neck": 17, "left_hand_root": 25, "right_pinky_4": 66, "left_pupil": 136},
    "wholebody133": {"left_big_toe": 17, "right_jaw_0": 23, "left_hand_root": 91, "right_hand_root": 112},
    "halpe136": {"right_jaw_0": 26, "left_hand_root": 94, "right_hand_root": 115, "right_pinky_4": 135},
    "mediapipe33": {"left_eye": 2, "left_ear": 7, "right_mouth_corner": 10, "left_shoulder": 11, "left_pinky_1": 17,
                    "right_thumb_2": 22, "left_hip": 23, "left_heel": 29, "right_big_toe": 32},
}  # fmt: skip


def from_label(label: str) -> str:
    """'LBigToe' -> 'left_big_toe'"""
    side = {"L": "left_", "R": "right_"}.get(label[0], "") if label[1].isupper() else ""
    return side + re.sub(r"(?<!^)([A-Z])", r"_\1", label[1:] if side else label).lower()


def named(layout: layouts.Layout, **places: tuple[float, float, float]) -> np.ndarray:
    points = np.zeros((len(layout), 3))
    for name, place in places.items():
        points[layout.point_names.index(name)] = place
    return points


# ------------------------------------------------------------------ the tables


@pytest.mark.parametrize("name", OWN_LABELS)
def test_points_come_in_the_tools_own_order(name):
    (layout,) = (layout for layout in LAYOUTS if layout.name == name)
    assert layout.point_names == tuple(map(from_label, OWN_LABELS[name].split()))


@pytest.mark.parametrize("name", STARTS)
def test_parts_begin_where_the_tools_begin_them(name):
    (layout,) = (layout for layout in LAYOUTS if layout.name == name)
    assert {point: layout.point_names.index(point) for point in STARTS[name]} == STARTS[name]


@every_body
def test_coarse_groups_part_the_points_and_fine_ones_part_them(layout):
    def together(*groups: str) -> list[int]:
        return sorted(chain(*(layout.groups[g] for g in groups)))

    assert together("body", "left_hand", "right_hand", "face", "contour") == list(range(len(layout)))
    assert together("torso", "limbs", "feet", "head", "midline") == list(layout.groups["body"])
    assert together("brows", "lids", "irises", "lips", "nose", "skin") == list(layout.groups["face"])
    assert layout.groups.keys() == BODIES[0].groups.keys() and layout.distances.keys() == FACE70.distances.keys()


@every_body
def test_the_yard_stick_runs_from_the_shoulders_to_the_hips(layout):
    ends = [sorted(layout.point_names[k] for k in end) for end in layout.size_pair]
    assert ends == [["left_shoulder", "right_shoulder"], ["left_hip", "right_hip"]]


@every_body
def test_openings_of_the_face_are_the_faces_own(layout):
    for part, pairs in layout.distances.items():
        own = [{FACE70.point_names[k] for k in pair} for pair in FACE70.distances[part]]
        assert [{layout.point_names[k] for k in pair} for pair in pairs] == [
            p for p in own if p <= set(layout.point_names)
        ]


# ------------------------------------------------------------------ from one to the other


def test_made_up_points_are_as_sure_as_the_less_sure_parent():
    layout = layouts.COCO17
    points = named(
        layout, left_shoulder=(10, 20, 0.9), right_shoulder=(30, 40, 0.4), left_hip=(5, 5, 1.0), nose=(1, 2, 0.7)
    )
    found = to_layout(points[None], layout, with_midpoints(layout))[0]
    np.testing.assert_allclose(found[:17], points)
    np.testing.assert_allclose(found[17], (20, 30, 0.4))
    assert found[18, 2] == 0  # one hip was not seen: no middle
    assert with_midpoints(layout).point_names[17:] == ("neck", "mid_hip")
    assert with_midpoints(OPENPOSE137) is OPENPOSE137


def test_points_keep_their_names_between_layouts():
    rng = np.random.default_rng(0)
    points = rng.uniform(1, 99, (3, 2, 18, 3))
    found = to_layout(points, layouts.COCO18, OPENPOSE137)
    back = to_layout(found, OPENPOSE137, layouts.COCO18)
    np.testing.assert_array_equal(back, points)
    assert (found[..., 25:, 2] == 0).all() and (found[..., 19:25, 2] == 0).all()


def observations(layout: layouts.Layout, frames: int = 4) -> Observations:
    rng = np.random.default_rng(1)
    return Observations(
        person="000", layout=layout, keypoints=rng.uniform(0, 99, (frames, len(layout), 2)),
        confidence=rng.uniform(0, 1, (frames, len(layout))), names=tuple(map(str, range(frames))),
        image_sizes=np.tile([99, 99], (frames, 1)), is_clip=True,
    )  # fmt: skip


@every_body
def test_sides_change_places_in_the_chosen_frames_only(layout):
    before, frames = observations(layout), np.array([True, False, True, False])
    after = swapped(before, frames)
    for k, name in enumerate(layout.point_names):
        other = name.replace("left_", "RIGHT_").replace("right_", "left_").replace("RIGHT_", "right_")
        np.testing.assert_array_equal(
            after.keypoints[frames, layout.point_names.index(other)], before.keypoints[frames, k]
        )
    np.testing.assert_array_equal(after.keypoints[~frames], before.keypoints[~frames])
    np.testing.assert_array_equal(swapped(swapped(before)).confidence, before.confidence)
    assert swapped(before).layout is layout


# ------------------------------------------------------------------ MediaPipe's parts


def test_the_68_of_the_478_are_mirrored_as_the_68_are():
    twins = other_side(MEDIAPIPE478)
    assert [twins[k] for k in FACE70_IN_478] == [FACE70_IN_478[k] for k in other_side(FACE70)]
    assert len(set(FACE70_IN_478)) == 70


def test_parts_are_put_together_and_the_pose_stands_in_for_a_missing_one():
    rng = np.random.default_rng(2)
    pose, hands, face = (rng.uniform(0.1, 0.9, shape) for shape in ((2, 33, 3), (2, 2, 21, 3), (2, 478, 3)))
    hands[0, 1], face[1] = np.nan, np.nan
    found = join_parts(pose, (hands[0], hands[1]), face)
    place = {name: k for k, name in enumerate(HOLISTIC135.point_names)}
    left, right = (list(HOLISTIC135.groups[f"{side}_hand"]) for side in ("left", "right"))
    np.testing.assert_array_equal(found[0, left], hands[0, 0])
    np.testing.assert_array_equal(found[:, right], hands[1])
    np.testing.assert_array_equal(found[1, place["left_index_1"]], pose[1, 19] * [1, 1, 0.5])
    assert (found[1, left, 2] > 0).sum() == 3
    np.testing.assert_array_equal(found[0, place["left_pupil"]], face[0, 473])
    np.testing.assert_array_equal(found[1, place["left_mouth_corner"]], pose[1, 9] * [1, 1, 0.5])
    np.testing.assert_array_equal(found[0, place["left_mouth_corner"]], face[0, 291])
    np.testing.assert_allclose(found[:, place["mid_hip"], 2], pose[:, 23:25, 2].min(axis=1))
    missing = join_parts(np.full((1, 33, 3), np.nan), (hands[0, :1], hands[1, :1]), face[:1, :468])
    assert missing[0, place["nose"], 2] == 0 and missing[0, place["left_pupil"], 2] == 0 < missing[0, left, 2].min()


def test_what_lies_outside_of_the_picture_is_not_believed():
    points = np.array([(0.5, 0.5, 0.9), (1.01, 0.5, 0.9), (0.5, -0.01, 0.9), (0.0, 1.0, 0.3)])
    assert in_picture(points).tolist() == [0.9, 0.0, 0.0, 0.3]


# ------------------------------------------------------------------ who is who


def walkers(frames: int, starts: tuple[float, ...], speeds: tuple[float, ...]) -> np.ndarray:
    """(people, frames, 33, 3) of people who cross the picture, 100 pixels tall."""
    rng = np.random.default_rng(3)
    shape = rng.uniform((0, 0), (40, 100), (len(MEDIAPIPE33), 2))
    x = np.array(starts)[:, None] + np.array(speeds)[:, None] * np.arange(frames)
    points = shape + np.stack([x, np.zeros_like(x)], axis=-1)[:, :, None]
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)


def test_people_are_followed_whatever_their_order_in_the_frames():
    rng = np.random.default_rng(4)
    people = walkers(30, (0.0, 200.0, 420.0), (3.0, 0.0, -1.0))
    orders = [rng.permutation(3) for _ in range(30)]
    rows = bodies_in_clip([people[order, k] for k, order in enumerate(orders)])
    expected = [[int(np.flatnonzero(order == person)[0]) for order in orders] for person in range(3)]
    assert rows.tolist() == expected


def test_a_body_is_the_same_with_other_limbs_in_sight():
    """Boxes would say no: the upper half is seen, then all, then the lower half."""
    people = walkers(9, (0.0,), (1.0,))
    high = people[0, 0, :, 1] < 50
    people[:, :3, ~high, 2] = 0
    people[:, 6:, high, 2] = 0
    rows = bodies_in_clip([people[:, k] for k in range(9)])
    assert rows.tolist() == [[0] * 9]


def test_a_person_gone_too_long_is_another_and_numbers_go_before_places():
    people = walkers(12, (0.0, 300.0), (0.0, 0.0))
    frames = [people[:, k] if k in (0, 1, 10, 11) else people[1:, k] for k in range(12)]
    assert len(bodies_in_clip(frames, max_gap=5)) == 3 and len(bodies_in_clip(frames)) == 2
    numbers = [np.array([7, 3])] * 12
    assert persons_by_number(numbers, [people[:, k] for k in range(12)]).tolist() == [[0] * 12, [1] * 12]


def test_a_box_is_that_of_the_seen_points():
    people = walkers(1, (50.0,), (0.0,))[:, 0]
    people[0, 5] = (1e6, -1e6, 0.0)
    low, high = np.delete(people[0], 5, axis=0)[:, :2].min(axis=0), np.delete(people[0], 5, axis=0)[:, :2].max(axis=0)
    np.testing.assert_array_equal(body_boxes(people), [[*low, *high]])
