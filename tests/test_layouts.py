"""Layouts: complete, mirrored, partitioned; the mesh's tables agree with MediaPipe's own."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from fitting.layouts import IBUG68, LAYOUTS, MEDIAPIPE105, MEDIAPIPE105_IN_478, MEDIAPIPE478
from fitting.layouts.persons import longest_lived, persons_in_clip, persons_in_photos

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
every_face = pytest.mark.parametrize(
    "layout", [layout for layout in LAYOUTS if "body" not in layout.groups], ids=lambda layout: layout.name
)


@pytest.fixture(scope="module")
def canonical_face(shared: Path) -> np.ndarray:
    mesh = shared / "mediapipe/face_model_with_iris.obj"
    rows = [line.split()[1:4] for line in mesh.read_text().splitlines() if line.startswith("v ")]
    return np.array(rows, dtype=float)


@every_layout
def test_names_are_unique_and_every_index_exists(layout):
    assert len(set(layout.point_names)) == len(layout)
    used = chain(chain(*layout.pairs), chain(*layout.groups.values()), chain(*layout.size_pair))
    used = {*used, *chain(*chain(*layout.distances.values()))}
    assert used <= set(range(len(layout)))


@every_face
def test_groups_part_the_points(layout):
    assert sorted(chain(*layout.groups.values())) == list(range(len(layout)))


@every_layout
def test_pairs_join_left_to_right_once(layout):
    assert len(set(chain(*layout.pairs))) == 2 * len(layout.pairs)
    for left, right in layout.pairs:
        assert layout.point_names[left].startswith("left_") and layout.point_names[right].startswith("right_")
    sides = sum(name.startswith(("left_", "right_")) for name in layout.point_names)
    assert sides == 2 * len(layout.pairs)


@every_layout
def test_groups_and_distances_are_symmetric(layout):
    other = {a: b for pair in layout.pairs for a, b in (pair, pair[::-1])}
    for group, points in layout.groups.items():
        twin = {"left_hand": "right_hand", "right_hand": "left_hand"}.get(group, group)
        assert {other.get(k, k) for k in points} == set(layout.groups[twin])
    for ends in layout.distances.values():
        mirrored = {frozenset(other.get(k, k) for k in pair) for pair in ends}
        assert mirrored == {frozenset(pair) for pair in ends}


@every_face
def test_the_yard_stick_runs_from_the_subjects_right_to_the_left(layout):
    (right,), (left,) = layout.size_pair
    assert (left, right) in layout.pairs


def test_counts():
    assert (len(IBUG68), len(MEDIAPIPE478), len(MEDIAPIPE105)) == (68, 478, 105)
    assert {name: len(points) for name, points in MEDIAPIPE478.groups.items()} == {
        **{"brows": 20, "lids": 32, "irises": 10, "lips": 40, "nose": 26, "contour": 36, "skin": 314},
    }
    assert len(MEDIAPIPE478.pairs) == 225 and len(IBUG68.pairs) == 29
    assert {name: len(points) for name, points in MEDIAPIPE105.groups.items() if points} == {
        **{"brows": 20, "lids": 32, "lips": 40, "nose": 13},
    }


def test_the_subset_keeps_its_points_names():
    assert MEDIAPIPE105.point_names == tuple(MEDIAPIPE478.point_names[k] for k in MEDIAPIPE105_IN_478)


def test_mesh_pairs_mirror_the_canonical_face(canonical_face):
    left, right = np.array(MEDIAPIPE478.pairs).T
    assert (canonical_face[left, 0] > 0).all()
    np.testing.assert_allclose(canonical_face[left] * [-1, 1, 1], canonical_face[right], atol=1e-4)
    midline = np.setdiff1d(np.arange(478), [left, right])
    np.testing.assert_allclose(canonical_face[midline, 0], 0, atol=1e-4)


def test_openings_run_from_the_upper_to_the_lower_point(canonical_face):
    for name in ("eyes", "lips", "outer_lips"):
        upper, lower = np.array(MEDIAPIPE478.distances[name]).T
        assert (canonical_face[upper, 1] > canonical_face[lower, 1]).all()
        assert np.abs(canonical_face[upper, 0] - canonical_face[lower, 0]).max() < 0.35  # cm: above each other


# ------------------------------------------------------------------ who is who


def boxes(*lefts: float) -> np.ndarray:
    return np.array([(x, 0, x + 10, 10) for x in lefts], dtype=float).reshape(-1, 4)


def test_photos_are_ordered_from_the_left():
    rows = persons_in_photos([boxes(50, 0), boxes(), boxes(7)])
    assert rows.tolist() == [[1, -1, 0], [0, -1, -1]]


def test_a_person_survives_a_gap_but_not_a_long_one():
    frames = [boxes(0, 50), boxes(51, 1), boxes(52), boxes(53), boxes(3, 54)]
    assert persons_in_clip(frames).tolist() == [[0, 1, -1, -1, 0], [1, 0, 0, 0, 1]]
    assert len(persons_in_clip(frames, max_gap=1)) == 3


def test_the_longest_lived_keep_their_order():
    rows = np.array([[0, -1, -1], [0, 0, -1], [0, 0, 0]])
    assert longest_lived(rows, 2).tolist() == rows[1:].tolist() and len(longest_lived(rows, 9)) == 3
