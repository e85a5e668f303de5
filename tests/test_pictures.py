"""What the writers that draw put into their files: overlays, maps, visibility, turntables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from made_solutions import FRAMES, FakeBody, FakePictures, some_solution
from PIL import Image

from fitting.types import Parameters, Solution
from fitting.writers import PICTURE_WRITERS, PictureOptions
from fitting.writers.picture_overlay import SHORT_CLIP, plan_crops, plan_looks, wants_files
from fitting.writers.posed import before_camera, ordered_map, posed_mesh


@pytest.fixture(scope="module")
def solution() -> Solution:
    return some_solution()


# ------------------------------------------------------------------ overlays


def test_overlay_files_of_a_clip(solution, tmp_path):
    import av

    video, *pictures = PICTURE_WRITERS["overlay"]([solution], tmp_path, PictureOptions())
    assert pictures == [tmp_path / "images" / f"{k:06d}" / "overlay.png" for k in range(FRAMES)]
    strips = [np.asarray(Image.open(path)).astype(int) for path in pictures]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(30000 / 1001)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == FRAMES
    width, height = plan_crops([solution], 512)[0].size
    for k, (frame, strip) in enumerate(zip(frames, strips, strict=True)):
        assert frame.shape == strip.shape == (height, 2 * width + max(width, height), 3)
        assert np.abs(strip[:, :width] - 40 * k).max() == 0  # frame k shows picture k
        assert np.abs(frame - strip).mean() < 6
    changed = [(strip[:, :width] != strip[:, width : 2 * width]).any() for strip in strips]
    assert changed == [True, True, False, True]  # nothing is drawn where there is nobody


@pytest.mark.parametrize(("degrees", "sign"), [(0, 1), (50, 1), (-50, -1)])
def test_the_side_view_never_shows_the_back_of_a_head(degrees, sign, solution):
    turn = trimesh.transformations.rotation_matrix(np.radians(degrees), [0, 1, 0])[:3, :3]
    turned = torch.as_tensor(turn, dtype=torch.float32).expand(1, FRAMES, 1, 3, 3)
    parameters = solution.parameters.replace({"global_orient": turned})
    looks = plan_looks([dataclasses.replace(solution, parameters=parameters)])
    assert [np.sign(look.side_degrees) for look in looks] == [sign] * FRAMES


def test_overlay_of_landmarks_only(tmp_path):
    paths = PICTURE_WRITERS["overlay"]([some_solution(is_clip=False, pictures=False)], tmp_path, PictureOptions())
    assert len(paths) == FRAMES and all(path.suffix == ".png" for path in paths)


def test_pictures_that_end_early_cost_no_row(tmp_path, solution):
    observations = dataclasses.replace(solution.observations, pictures=FakePictures(2))
    paths = PICTURE_WRITERS["overlay"](
        [dataclasses.replace(solution, observations=observations)], tmp_path, PictureOptions()
    )
    assert len(paths) == FRAMES + 1


def test_ordered_map_keeps_order_and_raises():
    assert list(ordered_map(lambda x: x * x, iter(range(50)), 3)) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 / x, [1, 0, 2], 2))


@pytest.mark.parametrize(("is_clip", "frames", "wanted"), [(False, 500, True), (True, 4, True), (True, 49, False)])
def test_long_clips_have_pictures_in_the_video_only(is_clip, frames, wanted, solution):
    assert SHORT_CLIP == 48

    names = tuple(map(str, range(frames)))
    seen = dataclasses.replace(solution.observations, is_clip=is_clip, names=names)
    assert wants_files(seen, PictureOptions()) is wanted
    assert wants_files(seen, PictureOptions(overlay_pictures="all"))
    assert not wants_files(seen, PictureOptions(overlay_pictures="none"))


# ------------------------------------------------------------------ several people


def beside(solution: Solution, shift: tuple[float, float, float], person: str = "001") -> Solution:
    """The same ball, moved, as another person."""
    moved = solution.parameters["transl"] + torch.tensor(shift)
    observations = dataclasses.replace(solution.observations, person=person)
    parameters = Parameters({**solution.parameters, "transl": moved})
    return dataclasses.replace(solution, observations=observations, parameters=parameters)


def picture(name: str, people: list[Solution], folder, frame: str = "000000") -> np.ndarray:
    PICTURE_WRITERS[name](people, folder, PictureOptions(panel=96))
    return np.asarray(Image.open(folder / "images" / frame / f"{name}.png"))


def test_the_mask_says_who_is_in_front(solution, tmp_path):
    nearer, farther = beside(solution, (0.05, 0.0, 0.3)), beside(solution, (-0.05, 0.0, -0.3), "002")
    for order in ([nearer, farther], [farther, nearer]):
        mask = picture("mask", order, tmp_path)
        alone = [picture("mask", [person], tmp_path / "one") > 0 for person in order]
        front = 1 + order.index(nearer)
        assert (mask[alone[front - 1]] == front).all()  # nothing hides the nearer one
        assert (mask[alone[2 - front] & ~alone[front - 1]] == 3 - front).all()
        assert (mask == 0).sum() == (~alone[0] & ~alone[1]).sum()
        assert (alone[0] & alone[1]).sum() > 50  # they do overlap


def test_depth_is_in_millimetres(tmp_path):
    """A sphere of 0.1 m a metre away, as fine as flat triangles go: its analytic depth to a thousandth."""
    solution = some_solution(body=FakeBody(ball=trimesh.creation.icosphere(6, 0.1)))
    depth = picture("depth", [solution], tmp_path)
    assert depth.dtype == np.uint16 and depth.shape == (90, 120)
    y, x = np.mgrid[:90, :120]
    ray = np.stack([(x - 59.5) / 150, (y - 44.5) / 150, np.ones(x.shape)], axis=-1)
    a, c = (ray**2).sum(-1), 1 - 0.1**2  # |s ray - centre| = 0.1, the nearer s
    hit = 1 - a * c > 0
    analytic = 1000 * (1 - np.sqrt(np.maximum(1 - a * c, 0))) / a
    assert ((depth > 0) == hit).mean() > 0.998
    both = hit & (depth > 0)
    error = np.abs(depth[both] / analytic[both] - 1)
    assert error.max() < 0.01 and np.quantile(error, 0.99) < 1e-3  # grazing rays at the rim meet a flat triangle late
    assert depth[0, 0] == 0 and picture("depth", [solution], tmp_path, "000002").max() == 0  # nobody in frame 2


def test_normals_point_to_the_viewer(solution, tmp_path):
    normals = picture("normals", [solution], tmp_path).astype(float) / 255 * 2 - 1
    np.testing.assert_allclose(normals[45, 60], [0, 0, 1], atol=0.1)
    assert normals[45, 70, 0] > 0.4 and normals[35, 60, 1] > 0.4  # right of the middle: to the right; above it: up
    assert (picture("normals", [solution], tmp_path)[0, 0] == 0).all()


def test_the_wireframe_lies_on_the_picture(solution, tmp_path):
    wires = picture("wireframe", [solution], tmp_path, "000001").astype(int)
    assert (wires[0, 0] == 40).all()  # FakePictures' second frame
    lit = (wires[..., 2] > 200).mean()
    assert 0.01 < lit < 0.2


def test_visibility_knows_the_far_side_and_the_person_in_front(solution, tmp_path):
    PICTURE_WRITERS["visibility"]([solution], tmp_path, PictureOptions())
    with np.load(tmp_path / "visibility.npz", allow_pickle=False) as file:
        alone = file["visible"]
    assert alone.shape == (FRAMES, len(solution.vertices(0))) and not alone[2].any()
    mesh = posed_mesh(solution, 0)
    # A vertex of a convex body is seen when one of the triangles round it is.
    front = np.einsum("ij,ij->i", mesh.facing, mesh.vertices[mesh.faces[:, 0]]) < 0
    np.testing.assert_array_equal(alone[0], np.isin(np.arange(alone.shape[1]), mesh.faces[front]))
    PICTURE_WRITERS["visibility"]([solution, beside(solution, (0.0, 0.0, 0.3))], tmp_path, PictureOptions())
    with np.load(tmp_path / "visibility.npz") as file, np.load(tmp_path / "visibility_001.npz") as other:
        assert not file["visible"][0].any()  # wholly behind the other ball, which is nearer
        assert other["visible"][0].sum() > 20


def test_another_focal_length_changes_neither_pixels_nor_depth(solution):
    own, K = np.array(solution.K[0]), np.array([[300.0, 0, 50], [0, 310.0, 40], [0, 0, 1]])
    mesh = posed_mesh(solution, 0)
    moved = before_camera(mesh, own, K)
    seen = [m.vertices @ k.T for m, k in ((mesh, own), (moved, K))]
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-9)
    np.testing.assert_allclose(mesh.vertices[:, 2], moved.vertices[:, 2], atol=1e-12)


# ------------------------------------------------------------------ turntable


def test_a_turntable_goes_once_round(tmp_path):
    import av

    from fitting.writers.turntable import STEPS

    body = FakeBody()
    vertices = some_solution(body=body).vertices(0) - some_solution(body=body).vertices(0).mean(axis=0)
    colours = np.where(vertices[:, 2:] > 0, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])  # red to the viewer, blue behind
    body.colours = colours
    (path,) = PICTURE_WRITERS["turntable"]([some_solution(body=body)], tmp_path, PictureOptions(panel=64))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    middle = np.array([frame[28:36, 28:36].mean(axis=(0, 1)) for frame in frames])
    assert len(frames) == STEPS
    assert middle[0, 0] > middle[0, 2] + 50 and middle[STEPS // 2, 2] > middle[STEPS // 2, 0] + 50
    assert all(np.abs(frame[0, 0] - frames[0][0, 0]).max() < 8 for frame in frames)  # the whole ball fits
