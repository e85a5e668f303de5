"""Textures: from pictures of a painted ball back to the paint; and the files that carry them."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import trimesh
from made_solutions import FakeBody, some_solution
from PIL import Image

from fitting.bodies.uv_template import with_uv
from fitting.render import Camera, Mesh, View
from fitting.render.fill import complete, extend, with_gutter
from fitting.render.texels import Texels, texels_on
from fitting.render.texture import gather, robust_mean, weighted_median
from fitting.types import ModelError, OutputError, Solution
from fitting.writers import PICTURE_WRITERS, WRITERS, PictureOptions, surface_texture

K = np.array([[400.0, 0, 127.5], [0, 400.0, 127.5], [0, 0, 1]])
CAMERA = Camera(K, (256, 256))


def plate() -> tuple[Mesh, np.ndarray, np.ndarray]:
    """A square of 0.5 m that faces the camera a metre away, and its texture coordinates: u to the right, v up."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 4
    vertices = np.concatenate([corners, np.ones((4, 1))], axis=1)
    faces = np.array([[0, 2, 1], [0, 3, 2]])  # y is down in the camera: this order looks at the camera
    uv = np.stack([corners[:, 0] * 2 + 0.5, 0.5 - corners[:, 1] * 2], axis=-1)
    return Mesh(vertices, faces), uv, faces


def ramp() -> np.ndarray:
    """A picture whose red rises to the right and green downwards, by a grey level a pixel."""
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.meshgrid(np.arange(256), np.arange(256))
    return image


# ------------------------------------------------------------------ gathering


def test_texels_are_where_the_files_say():
    """Texel (row, column) has its centre at u = (column + 1/2) / size, v = 1 - (row + 1/2) / size, as in obj files."""
    uv = np.array([[0.0, 1.0], [0.5, 1.0], [0.0, 0.5]])
    one = Mesh(np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]]), np.array([[0, 1, 2]]))
    texels = texels_on(one, uv, np.array([[0, 1, 2]]), 8)
    rows, columns = np.divmod(texels.index, 8)
    assert rows.max() == 3 and columns.max() == 3 and (rows + columns <= 3).all() and len(rows) == 10
    places = np.einsum("tk,tkc->tc", texels.barycentrics, uv[[[0, 1, 2]]][np.zeros(len(rows), dtype=int)])
    np.testing.assert_allclose(places, np.stack([(columns + 0.5) / 8, 1 - (rows + 0.5) / 8], axis=-1), atol=1e-6)


def test_a_texel_takes_the_colour_behind_its_own_place():
    mesh, uv, faces = plate()
    texels = texels_on(mesh, uv, faces, 32)
    colours, weights = gather(mesh, CAMERA, ramp(), texels)
    assert len(texels.index) == 32 * 32
    row, column = np.divmod(texels.index, 32)
    expected = np.stack([127.5 + 400 * ((k + 0.5) / 32 - 0.5) / 2 for k in (column, row)], axis=-1)
    inner = weights > 0.5
    assert inner.mean() > 0.8
    assert np.abs(colours[inner, :2].astype(float) - expected[inner]).max() <= 1.01


def test_of_two_places_on_one_texel_the_open_one_wins():
    """A small ball inside a large one, both with the same texture coordinates."""
    ball = trimesh.creation.icosphere(1, 0.1)
    vertices, faces, count = np.array(ball.vertices), np.array(ball.faces), len(ball.vertices)
    both = Mesh(np.concatenate([0.8 * vertices, vertices]), np.concatenate([faces, faces + count]))
    uv = np.random.default_rng(0).random((3 * len(faces), 2))
    uv_faces = np.arange(3 * len(faces)).reshape(-1, 3)
    for order in (both, Mesh(both.vertices, both.faces[::-1])):
        texels = texels_on(order, uv, np.concatenate([uv_faces, uv_faces]), 64)
        assert (order.faces[texels.triangle] >= count).mean() > 0.99


def test_what_is_hidden_turned_away_or_outside_has_no_weight():
    mesh, uv, faces = plate()
    texels = texels_on(mesh, uv, faces, 32)
    row, column = np.divmod(texels.index, 32)
    # Before the left half hangs a screen.
    screen = np.array([[-0.3, -0.3, 0.8], [0, -0.3, 0.8], [0, 0.3, 0.8], [-0.3, 0.3, 0.8]])
    both = Mesh(np.concatenate([mesh.vertices, screen]), np.concatenate([faces, faces + 4]))
    weights = gather(both, CAMERA, ramp(), texels)[1]
    open_side = (column > 20) & (column < 27) & (row > 4) & (row < 27)
    assert weights[column < 13].max() == 0 and weights[open_side].min() > 0
    behind = Mesh(mesh.vertices, faces[:, ::-1])
    assert gather(behind, CAMERA, ramp(), texels)[1].max() == 0
    aside = Mesh(mesh.vertices + [5.0, 0, 0], faces)
    assert gather(aside, CAMERA, ramp(), texels)[1].max() == 0
    steep = Mesh(mesh.vertices * [1, 1, 0] + np.stack([0 * uv[:, 0], 0 * uv[:, 0], 1 + 4 * uv[:, 0]], -1), faces)
    assert gather(steep, CAMERA, ramp(), texels)[1].max() < 0.3  # seen at a grazing angle: it counts little


def test_the_robust_mean_leaves_out_what_hung_in_once():
    rng = np.random.default_rng(0)
    truth = rng.uniform(40, 200, (50, 3))
    colours = np.clip(truth + rng.normal(0, 3, (11, 50, 3)), 0, 255).astype(np.uint8)
    colours[3] = 255  # a hand
    weights = rng.uniform(0.2, 1, (11, 50)).astype(np.float32)
    weights[5:7] = 0
    colours[5:7] = 0
    assert np.abs(robust_mean(colours, weights) - truth).max() < 6
    assert (robust_mean(colours, np.zeros_like(weights)) >= 0).all()


def test_the_weighted_median_by_counting():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(7, 4, 2)), rng.integers(1, 5, (7, 4))
    slow = [[np.median(np.repeat(values[:, i, c], 2 * weights[:, i])) for c in range(2)] for i in range(4)]
    found = weighted_median(values, weights.astype(float))
    ties = np.array([[abs(found[i, c] - slow[i][c]) > 1e-9 for c in range(2)] for i in range(4)])
    for i, c in np.argwhere(ties):  # an even split: the lower of the two middle values
        assert (weights[values[:, i, c] <= found[i, c], i]).sum() * 2 == weights[:, i].sum()


# ------------------------------------------------------------------ holes


def test_holes_continue_what_is_round_them():
    """On a strip of triangles a harmonic function is a straight line between what is known."""
    n = 9
    low, high = np.arange(n), np.arange(n) + n
    faces = np.concatenate(
        [np.stack([low[:-1], low[1:], high[:-1]], -1), np.stack([high[:-1], low[1:], high[1:]], -1)]
    ).astype(np.int64)
    values, known = np.zeros((2 * n + 3, 3)), np.zeros(2 * n + 3, dtype=bool)
    known[[0, n, n - 1, 2 * n - 1]] = True
    values[[n - 1, 2 * n - 1]] = 80.0
    island = np.array([[2 * n, 2 * n + 1, 2 * n + 2]])
    otherwise = np.full((2 * n + 3, 3), 7.0)
    filled = extend(values, known, np.concatenate([faces, island]), otherwise)
    assert (filled[known] == values[known]).all() and (filled[2 * n :] == 7).all()
    assert filled[:n, 0].min() == 0 and (np.diff(filled[:n, 0]) > 0).all() and (np.diff(filled[n : 2 * n, 0]) > 0).all()
    for v in range(1, n - 1):  # the mean of its neighbours, by hand
        near = {int(u) for face in faces if v in face for u in face} - {v}
        assert filled[v, 0] == pytest.approx(np.mean([filled[u, 0] for u in near]))


def test_beside_the_surface_the_nearest_texel_is_repeated():
    picture = np.zeros((512, 512, 3))
    picture[100, 100], picture[300, 300] = 8.0, 2.0
    places = np.array([100 * 512 + 100, 300 * 512 + 300])
    spread = with_gutter(picture, Texels(512, places, np.zeros(2, int), np.zeros((2, 3))))
    assert (spread[97:104, 100] == 8).all() and (spread[300, 297:304] == 2).all()
    assert (spread[0, 511] == 5).all()  # far from both: their mean


def test_a_small_part_that_was_only_glimpsed_keeps_the_models_colours():
    skin, eye = trimesh.creation.icosphere(3, 0.1), trimesh.creation.icosphere(2, 0.02)
    faces = np.concatenate([np.array(skin.faces), np.array(eye.faces) + len(skin.vertices)])
    count, first = len(skin.vertices) + len(eye.vertices), len(skin.faces)
    index = np.arange(len(faces))
    texels = Texels(64, index, index, np.full((len(faces), 3), 1 / 3))
    weights = np.zeros(len(faces), dtype=np.float32)
    weights[:80] = 1  # a little of the skin is enough: it goes on
    weights[first : first + 20] = 1
    colours, own = np.full((len(faces), 3), 200.0), np.full((count, 3), 50.0)
    filled = complete(colours, weights, texels, faces, own).reshape(-1, 3)
    assert np.abs(filled[:first] - 200).max() < 1e-6 and np.abs(filled[first : len(faces)] - 50).max() < 1e-6


def test_a_painted_ball_seen_from_all_sides_gets_its_paint_back():
    """Rendered with known colours, from twelve sides, gathered and put together again."""
    ball = trimesh.creation.icosphere(4, 0.15)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)
    paint = 0.5 + 0.4 * np.sin(vertices @ np.array([[9.0, 4, 0], [0, 11, 5], [7, 0, 8]]))
    rng = np.random.default_rng(2)
    # Every triangle has a corner of its own in the map, as in an atlas of loose triangles.
    side = int(np.ceil(np.sqrt(len(faces))))
    row, column = np.divmod(np.arange(len(faces)), side)
    local = np.array([[0.08, 0.08], [0.92, 0.08], [0.08, 0.92]])
    uv = ((np.stack([column, row], axis=-1)[:, None] + local) / side).reshape(-1, 2)
    uv_faces = np.arange(3 * len(faces)).reshape(-1, 3)
    texels = texels_on(Mesh(vertices, faces), uv, uv_faces, 8 * side)
    found = []
    for k in range(12):
        axis = [0.3, 1, 0.2] if k % 2 else [1, 0.2, -0.3]
        turn = trimesh.transformations.rotation_matrix(2 * np.pi * k / 12, axis)[:3, :3]
        mesh = Mesh(vertices @ turn.T + [0, 0, 1], faces, paint)
        view = View([mesh], CAMERA)
        image = np.zeros((256, 256, 3), dtype=np.uint8)
        corners = paint[faces[view.triangle[view.mask]]]
        image[view.mask] = 255 * np.einsum("nk,nkc->nc", view.barycentrics[view.mask], corners)
        if k == 4:  # something before the lens
            image[100:150] = rng.integers(0, 255, (50, 256, 3))
        found.append(gather(mesh, CAMERA, image, texels))
    weights = np.stack([weight for _, weight in found])
    colours = robust_mean(np.stack([colour for colour, _ in found]), weights)
    picture = complete(colours, weights.sum(axis=0), texels, faces, np.full(vertices.shape, 128.0))
    truth = 255 * np.einsum("nk,nkc->nc", texels.barycentrics, paint[faces[texels.triangle]])
    error = np.abs(picture.reshape(-1, 3)[texels.index] - truth).mean(axis=1)
    assert np.median(error) < 2 and np.quantile(error, 0.95) < 8


# ------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def solution() -> Solution:
    return some_solution(body=FakeBody(textured=True))


def test_texture_files_show_the_same_surface(solution, tmp_path):
    paths = PICTURE_WRITERS["texture"]([solution], tmp_path, PictureOptions(texture=64))
    assert [path.name for path in paths] == ["000.png", "000.mtl", "000.obj", "000.glb", "000_views.png"]
    assert {path.parent for path in paths} == {tmp_path / "texture"}
    assert Image.open(paths[0]).size == (64, 64)
    loaded = trimesh.load(paths[2], process=False)
    assert np.asarray(loaded.visual.material.image).shape[:2] == (64, 64)
    scene = trimesh.load(io.BytesIO(paths[3].read_bytes()), file_type="glb", process=False)
    (mesh,) = scene.geometry.values()
    np.testing.assert_array_equal(
        np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")), np.asarray(Image.open(paths[0]))
    )
    # The glb splits vertices on seams; corner by corner it is the same surface with the same coordinates.
    body = solution.body
    rest = surface_texture.at_rest(solution, 0)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], rest[body.faces], atol=1e-6)
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], body.uv[body.uv_faces], atol=1e-6)
    # A ball is smooth over its seams too: its normals point away from the middle.
    outward = (rest - rest.mean(axis=0)) / np.linalg.norm(rest - rest.mean(axis=0), axis=1, keepdims=True)
    assert np.abs(mesh.vertex_normals[mesh.faces] - outward[body.faces]).max() < 0.05


def test_photos_have_a_texture_each(tmp_path):
    paths = PICTURE_WRITERS["texture"](
        [some_solution(is_clip=False, body=FakeBody(textured=True))], tmp_path, PictureOptions(texture=32)
    )
    assert {path.parent for path in paths} == {tmp_path / "texture" / "000000", tmp_path / "texture" / "000003"}


def test_nothing_to_paint_on_or_with_is_said_before_the_fit(solution):
    with pytest.raises(OutputError, match="--body.uv"):
        surface_texture.require(FakeBody(), solution.observations)
    with pytest.raises(OutputError, match="--read.pictures"):
        surface_texture.require(solution.body, dataclasses.replace(solution.observations, pictures=None))


def test_glb_of_every_frame_has_the_models_colours(tmp_path):
    body = FakeBody()
    body.colours = np.random.default_rng(0).random((len(body.rest), 3))
    solution = some_solution(body=body)
    paths = WRITERS["glb"](solution, tmp_path)
    assert paths == [tmp_path / "meshes" / f"{k:06d}" / "000.glb" for k in (0, 1, 3)]
    scene = trimesh.load(io.BytesIO(paths[2].read_bytes()), file_type="glb", process=False)
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, solution.vertices(3), atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, body.faces)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, body.colours, atol=0.003)


# ------------------------------------------------------------------ coordinates of licensed models


def write_obj(path, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, tail: str = "") -> None:
    """By hand, as the format's description says: indices from 1, `v/vt` or `v/vt/vn`."""
    lines = ["# made", *(f"v {k} 0 0" for k in range(faces.max() + 1)), *(f"vt {u} {v}" for u, v in uv)]
    lines += [
        "f " + " ".join(f"{a + 1}/{b + 1}{tail}" for a, b in zip(*pair, strict=True))
        for pair in zip(faces, uv_faces, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("tail", ["", "/1"])
def test_coordinates_from_an_obj_in_another_order(random_body, tmp_path, tail):
    """Triangles shuffled and turned, as exporters leave them: every corner still gets its own coordinates."""
    faces = np.unique(random_body.faces, axis=0)
    body = dataclasses.replace(random_body, faces=faces)
    rng = np.random.default_rng(0)
    uv, uv_faces = rng.random((50, 2)).round(6), rng.integers(0, 50, faces.shape)
    order, turn = rng.permutation(len(faces)), rng.integers(0, 3, len(faces))
    shuffled = [
        np.stack([np.roll(row, k) for row, k in zip(part[order], turn, strict=True)]) for part in (faces, uv_faces)
    ]
    write_obj(tmp_path / "template.obj", shuffled[0], uv, shuffled[1], tail)
    found = with_uv(body, tmp_path / "template.obj")
    np.testing.assert_array_equal(found.uv[found.uv_faces], uv[uv_faces])
    assert with_uv(body, None) is body


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("v 0 0 0\nf 1 2 3\n", "0 texture coordinates for 1 triangles"),
        ("vt 0 0\nf 1/1 2 3/1\n", "without texture coordinates"),
        ("vt 0 0\nf 1/1 2/1 3/2\n", "1 texture coordinates for 1 triangles"),
        ("vt 0 0\nf 1/1 2/1 3/1\n", "not among its 1"),
        ("", "0 texture coordinates"),
    ],
)
def test_an_obj_that_does_not_fit_is_refused(random_body, tmp_path, content, says):
    path = tmp_path / "template.obj"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelError, match=f"template.obj.*{says}.*body.uv"):
        with_uv(random_body, path)
