"""Rays, maps, shading and overlays against analytic truth."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import trimesh

from fitting.render import (
    RAYS,
    Camera,
    Mesh,
    Subject,
    View,
    composite,
    crop_round,
    depth_map,
    mask_map,
    normal_map,
    overlay,
    raycast,
)
from fitting.render import shade as shade_mesh
from fitting.render.marks import draw_dots, draw_lines
from fitting.render.mesh import join
from fitting.render.rasterise import Rasteriser, to_ndc
from fitting.render.shade import edges, shade_layer
from fitting.types import DependencyError

K = np.array([[400.0, 0, 63.5], [0, 400.0, 47.5], [0, 0, 1]])
SIZE = (128, 96)
RADIUS, DISTANCE = 0.1, 1.0


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    ball = trimesh.creation.icosphere(5, RADIUS)
    return Mesh(ball.vertices + [0, 0, DISTANCE], np.array(ball.faces))


def sphere_depth() -> np.ndarray:
    """Depth along z of the sphere at every pixel; inf beside it."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    ray = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(x.shape)], axis=-1)
    a, b, c = (ray**2).sum(-1), ray[..., 2] * DISTANCE, DISTANCE**2 - RADIUS**2
    inside = b**2 - a * c
    return np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)


def test_depth_of_a_sphere(sphere):
    hits = raycast(sphere.vertices, sphere.faces, K, SIZE)
    truth = sphere_depth()
    both = hits.mask & np.isfinite(truth)
    assert (hits.mask != np.isfinite(truth)).sum() <= 0.02 * both.sum()  # the mesh lies a little inside the sphere
    relative = np.abs(hits.depth[both] / truth[both] - 1)
    assert np.quantile(relative, 0.99) < 1e-3 and np.median(relative) < 1e-4


def test_maps_of_a_sphere(sphere):
    hits = raycast(sphere.vertices, sphere.faces, K, SIZE)
    depth, mask, normals = depth_map(hits), mask_map(hits), normal_map(hits, sphere.vertices, sphere.faces)
    assert depth[~mask].max() == 0 and depth[mask].min() == pytest.approx(DISTANCE - RADIUS, abs=1e-3)
    y, x = np.nonzero(mask)
    points = (
        np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(len(x))], axis=-1) * depth[mask][:, None]
    )
    outward = (points - [0, 0, DISTANCE]) / RADIUS
    assert np.abs(normals[mask] - outward).max() < 0.05
    assert np.abs(normals[~mask]).max() == 0


def test_barycentrics_give_the_hit_point(sphere):
    hits = raycast(sphere.vertices, sphere.faces, K, SIZE)
    corners = sphere.vertices[sphere.faces[hits.triangle[hits.mask]]]
    points = np.einsum("nk,nkc->nc", hits.barycentrics[hits.mask], corners)
    pixels = points @ K.T
    y, x = np.nonzero(hits.mask)
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], np.stack([x, y], axis=-1), atol=2e-3)
    np.testing.assert_allclose(points[:, 2], hits.depth[hits.mask], atol=1e-6)


def test_pixel_centres_are_at_integers():
    """A triangle whose corners project on pixel centres is hit there, and not one pixel further out."""
    pixels = np.array([[10, 20, 1], [30, 20, 1], [10, 40, 1]], dtype=float)
    vertices = pixels @ np.linalg.inv(np.array([[64.0, 0, 16], [0, 64.0, 16], [0, 0, 1]])).T
    mask = raycast(vertices, np.array([[0, 1, 2]]), np.array([[64.0, 0, 16], [0, 64.0, 16], [0, 0, 1]]), (48, 48)).mask
    assert mask[20, 10] and mask[20, 30] and mask[40, 10] and mask[30, 20] and mask[25, 15]
    assert not mask[19].any() and not mask[:, 9].any() and not mask[41].any() and not mask[:, 31].any()


def test_no_ray_slips_through_shared_edges():
    """Without robust traversal rays that meet an edge exactly find neither of its triangles."""
    ticks = np.linspace(-0.1, 0.1, 41)
    x, y = np.meshgrid(ticks, ticks)
    vertices = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=-1)
    corner = (np.arange(40)[:, None] * 41 + np.arange(40)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 42], 1), np.stack([corner, corner + 42, corner + 41], 1)]
    )
    K_grid = np.array([[400.0, 0, 50], [0, 400.0, 50], [0, 0, 1]])
    assert raycast(vertices, faces, K_grid, (101, 101)).mask[11:90, 11:90].all()


@pytest.mark.parametrize("shift", [[0, 0, -3.0], [5.0, 0, 0]])
def test_nothing_behind_the_camera_or_beside_the_picture(sphere, shift):
    assert not raycast(sphere.vertices + shift, sphere.faces, K, SIZE).mask.any()
    assert shade_mesh(Mesh(sphere.vertices + shift, sphere.faces), Camera(K, SIZE)).max() == 0


def test_a_mesh_round_the_camera_fills_the_picture(sphere):
    assert raycast(sphere.vertices - [0, 0, DISTANCE], sphere.faces, K, SIZE).mask.all()


def test_shading_is_smooth_lit_and_anti_aliased(sphere):
    rgba = shade_mesh(sphere, Camera(K, SIZE))
    assert rgba.shape == (96, 128, 4) and rgba.dtype == np.float32 and np.isfinite(rgba).all()
    assert 0 <= rgba.min() and rgba.max() <= 1
    cover = rgba[..., 3]
    assert ((cover > 0.1) & (cover < 0.9)).sum() > 50
    truth = np.isfinite(sphere_depth()).sum()
    assert cover.sum() == pytest.approx(truth, rel=0.01)
    assert rgba[30, 50, :3].sum() > rgba[70, 80, :3].sum() + 0.1  # the key light comes from above left
    np.testing.assert_array_equal(rgba, shade_mesh(Mesh(sphere.vertices, sphere.faces), Camera(K, SIZE)))


def test_colours_of_vertices_show(sphere):
    red = np.broadcast_to([1.0, 0.0, 0.0], sphere.vertices.shape)
    middle = shade_mesh(Mesh(sphere.vertices, sphere.faces, red), Camera(K, SIZE))[48, 64]
    assert middle[0] > 0.5 and middle[1] < 0.35


def test_the_nearer_mesh_covers_the_farther(sphere):
    red, blue = (np.broadcast_to(np.array(c, float), sphere.vertices.shape) for c in ((1, 0, 0), (0, 0, 1)))
    near, far = Mesh(sphere.vertices, sphere.faces, red), Mesh(sphere.vertices + [0.02, 0, 0.5], sphere.faces, blue)
    for order in ([near, far], [far, near]):
        middle = shade_mesh(join(order), Camera(K, SIZE))[48, 64]
        assert middle[0] > 2 * middle[2]


def test_turning_the_camera_equals_turning_the_mesh(sphere):
    box = trimesh.creation.box((0.05, 0.1, 0.15))
    vertices, faces = box.vertices + [0, 0, DISTANCE], np.array(box.faces)
    rotation = trimesh.transformations.rotation_matrix(0.7, [0.2, 1, 0.1])[:3, :3]
    translation = np.array([0, 0, DISTANCE]) - rotation @ [0, 0, DISTANCE]
    moved = shade_mesh(Mesh(vertices @ rotation.T + translation, faces), Camera(K, SIZE))
    seen = shade_mesh(Mesh(vertices, faces), Camera(K, SIZE, rotation, translation))
    assert np.quantile(np.abs(moved[..., 3] - seen[..., 3]), 0.999) < 0.2
    assert np.abs(moved - seen).mean() < 5e-3  # ambient rays depend on the axes


def test_edges_are_outlines_steps_and_creases():
    triangle = np.full((4, 6), 0)
    triangle[:, 4:] = -1
    triangle[:, 2] = 1
    depth = np.where(triangle >= 0, 1.0, np.inf)
    flat, bent = np.array([[0, 0, -1.0], [0, 0, -1.0]]), np.array([[0, 0, -1.0], [1.0, 0, 0]])
    assert edges(triangle, depth, flat, 1e-3).any(axis=0).tolist() == [False, False, False, True, True, False]
    assert edges(triangle, depth, bent, 1e-3).any(axis=0).tolist() == [False, True, True, True, True, False]


def test_composite_blends_by_opacity(sphere):
    layer = shade_layer(sphere, Camera(K, SIZE))
    background = np.full((96, 128, 3), 0.25, dtype=np.float32)
    full, half = composite(layer, background), composite(layer, background, 0.5)
    np.testing.assert_allclose(half[48, 64], (full[48, 64] + 0.25) / 2, atol=1e-6)
    assert (full[0, 0] == 0.25).all() and (background == 0.25).all()


# ------------------------------------------------------------------ crops and strips


def test_crop_adapts_the_camera_exactly():
    """What a point projects to in the picture, moved to the panel, is what it projects to with the panel's K."""
    crop = crop_round(np.array([[300.0, 200], [700, 500]]), (1920, 1080))
    point = np.array([0.05, -0.03, 1.2])
    K_large = np.array([[1500.0, 0, 959.5], [0, 1500.0, 539.5], [0, 0, 1]])
    pixel, panel = K_large @ point, crop.intrinsics(K_large) @ point
    np.testing.assert_allclose(panel[:2] / panel[2], crop.to_panel(pixel[:2] / pixel[2]), atol=1e-9)


def test_crop_is_where_the_resampling_puts_it():
    """A bright square of the picture is found in the panel where `to_panel` says."""
    image = np.zeros((600, 900, 3), dtype=np.uint8)
    image[300:310, 500:510] = 255
    crop = crop_round(np.array([[400.0, 200], [600, 400]]), (900, 600), 512)
    panel = crop.cut(image)[..., 0]
    y, x = np.mgrid[: panel.shape[0], : panel.shape[1]]
    centroid = np.array([(panel * x).sum(), (panel * y).sum()]) / panel.sum()
    np.testing.assert_allclose(centroid, crop.to_panel(np.array([504.5, 304.5])), atol=0.05)


@pytest.mark.parametrize("size", [(64, 64), (150, 225), (4000, 3000), (33, 517)])
def test_crop_lies_inside_and_has_even_size(size):
    points = np.array([[-20.0, 5], [size[0] * 0.4, size[1] * 0.7], [np.nan, 3]])
    for crop in (crop_round(points, size), crop_round(np.zeros((0, 2)), size)):
        assert crop.left >= 0 and crop.top >= 0
        assert crop.left + crop.width <= size[0] and crop.top + crop.height <= size[1]
        assert max(crop.size) == 512 and crop.size[0] % 2 == crop.size[1] % 2 == 0


def test_overlay_with_and_without_a_picture(sphere):
    image = np.full((96, 128, 3), 90, dtype=np.uint8)
    points = np.array([[60.0, 40], [70, 50], [np.nan, np.nan]])
    crop = crop_round(np.array([[20.0, 5], [105, 90]]), SIZE, 128)
    subject = Subject(sphere, points, points + 1)
    for picture in (image, None):
        strip = overlay(picture, [subject], K, crop)
        assert strip.dtype == np.uint8 and strip.shape == (crop.size[1], 2 * crop.size[0] + max(crop.size), 3)
        first, second, third = np.split(strip, [crop.size[0], 2 * crop.size[0]], axis=1)
        assert (first != second).any() and third.std() > 5
    assert (overlay(image, [subject], K, crop)[:, : crop.size[0]] == 90).all()


def test_overlay_without_anybody():
    strip = overlay(None, [Subject(None)], K, crop_round(np.zeros((0, 2)), SIZE, 64))
    assert strip.std(axis=(0, 1)).max() == 0


def test_side_view_has_the_same_scale(sphere):
    """A sphere off to one side is as large and as high beside itself, and stands in the middle."""
    moved = Mesh(sphere.vertices + [-0.03, 0.02, 0], sphere.faces)
    crop = crop_round(np.array([[0.0, 0], [127, 95]]), SIZE, 128)
    strip = overlay(None, [Subject(moved)], K, crop).astype(float)
    panels = strip[:, crop.size[0] : 2 * crop.size[0]], strip[:, 2 * crop.size[0] :]
    boxes = [np.argwhere(np.abs(panel - panel[0, 0]).sum(-1) > 8) for panel in panels]
    extents = [np.ptp(box, axis=0) for box in boxes]
    np.testing.assert_allclose(extents[0], extents[1], atol=3)
    middle = (boxes[1].min(axis=0) + boxes[1].max(axis=0)) / 2
    assert middle[0] == pytest.approx((boxes[0].min(axis=0) + boxes[0].max(axis=0))[0] / 2, abs=2)
    assert middle[1] == pytest.approx((panels[1].shape[1] - 1) / 2, abs=2)


def test_dots_and_lines_stay_where_they_belong():
    picture = np.zeros((20, 30, 3), dtype=np.float32)
    draw_dots(picture, np.array([[10.0, 5.0], [-40, 3], [np.nan, 1]]), 1.5, (1.0, 1.0, 1.0))
    assert picture[5, 10, 0] == 1 and picture[5, 15, 0] == 0
    y, x = np.mgrid[:20, :30]
    weight = picture[..., 0] / picture[..., 0].sum()
    assert ((weight * x).sum(), (weight * y).sum()) == pytest.approx((10, 5), abs=1e-5)
    draw_lines(picture, np.array([[2.0, 15.0]]), np.array([[27.0, 15.0]]), (0.0, 1.0, 0.0))
    assert picture[15, 2:28, 1].min() == 1 and picture[12, :, 1].max() == 0


# ------------------------------------------------------------------ one picture, whoever finds the surface


def test_a_view_has_everything_of_every_pixel(sphere):
    far = Mesh(sphere.vertices + [0.12, 0, 0.4], sphere.faces)
    view = View([far, sphere], Camera(K, SIZE))
    alone = View([sphere], Camera(K, SIZE))
    assert set(np.unique(view.who)) == {-1, 0, 1} and (view.who[alone.mask] == 1).all()
    np.testing.assert_array_equal(view.depth[alone.mask], alone.depth[alone.mask])
    corners = view.mesh.vertices[view.mesh.faces[view.triangle[view.mask]]]
    points = np.einsum("nk,nkc->nc", view.barycentrics[view.mask], corners)
    np.testing.assert_allclose(points[:, 2], view.depth[view.mask], atol=1e-6)
    assert (view.normals[view.mask, 2] < 0.1).all() and view.colour[view.mask, 3].min() > 0
    empty = View([], Camera(K, SIZE))
    assert not empty.mask.any() and empty.colour.max() == empty.normals.max() == empty.wires.max() == 0
    assert (empty.who == -1).all()


def test_rays_follow_a_camera_that_is_turned_and_moved(sphere):
    """The camera's own rotation and translation, against vertices that were moved beforehand."""
    turn = trimesh.transformations.rotation_matrix(0.3, [0.1, 1, 0.2])[:3, :3]
    camera = Camera(K, SIZE, turn, np.array([0.02, -0.01, 1.1]) - turn @ [0, 0, DISTANCE])
    moved = Mesh(camera.to_camera(sphere.vertices), sphere.faces)
    here, there = View([sphere], camera), View([moved], Camera(K, SIZE))
    assert (here.mask != there.mask).mean() < 1e-3
    both = here.mask & there.mask
    assert both.sum() > 1000
    np.testing.assert_allclose(here.depth[both], there.depth[both], rtol=2e-4)
    assert np.abs(here.normals[both] - there.normals[both]).max() < 0.05
    pixels = camera.to_pixels(sphere.vertices)
    np.testing.assert_allclose(pixels, Camera(K, SIZE).to_pixels(moved.vertices), atol=1e-9)


def test_wires_are_where_edges_project():
    vertices = np.array([[10, 10, 1], [50, 10, 1], [10, 40, 1]], dtype=float) @ np.linalg.inv(K).T
    mesh = Mesh(vertices, np.array([[0, 1, 2]]))
    wires = View([mesh], Camera(K, SIZE)).wires
    assert wires[10, 12:48].min() > 0.9 and wires[12:38, 10].min() > 0.9  # two of the edges lie on pixel centres
    assert wires[20, 20] == 0 and wires[60, 60] == 0


def test_where_pytorch3d_expects_pixels():
    """Its own words: x to the left, y up, the shorter side from -1 to 1, pixel centres half a step inside."""
    inverse = np.linalg.inv(K)
    corners = np.array([[0, 0, 1], [127, 95, 1], [63.5, 47.5, 1]]) @ inverse.T
    ndc = to_ndc(Mesh(corners, np.array([[0, 1, 2]])), Camera(K, SIZE))
    step = 1 / 48  # a pixel of the shorter side
    expected = [[128 / 96 - step / 2, 1 - step / 2], [-128 / 96 + step / 2, -1 + step / 2], [0, 0]]
    np.testing.assert_allclose(ndc[:, :2], expected, atol=1e-12)
    np.testing.assert_allclose(ndc[:, 2], 1.0)


def test_pytorch3d_draws_the_same_picture(sphere):
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed; it has no wheel")
    import torch

    rasteriser = Rasteriser("cuda" if torch.cuda.is_available() else "cpu")
    by_rays, other = (View([sphere], Camera(K, SIZE), renderer) for renderer in (RAYS, rasteriser))
    assert (by_rays.mask != other.mask).mean() < 2e-3
    both = by_rays.mask & other.mask
    np.testing.assert_allclose(by_rays.depth[both], other.depth[both], rtol=1e-4)
    assert np.abs(by_rays.colour - other.colour).mean() < 0.01


def test_pytorch3d_that_is_not_there_is_said(sphere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(DependencyError, match="render.renderer: rays"):
        Rasteriser().hits(sphere, Camera(K, SIZE))
