"""What is written for those who train bodies: read by plain numpy and pickle, drawn as they draw it, and read back."""

import pickle

import numpy as np
import pytest
from made_codes import rotation
from test_codes_bodies import (
    FRAMES,
    HEIGHT,
    PLACE,
    WIDTH,
    K_of,
    made,
    mesh,
    near,
    opencv_pixels,
    seen,
    shelf,
    smpl,
    smplx,
    write_smplifyx,
)

from fitting import codes, exports
from fitting.cli import main
from fitting.exports import Target
from fitting.exports.human_data_points import BODY
from fitting.layouts import BODY25, COCO17, IBUG68, OPENPOSE137
from fitting.track import Track
from fitting.types import Codes, Layout, Observations, OutputError
from fitting.worlds import settled

__all__ = ["shelf", "smpl", "smplx"]  # fixtures
THEIRS = {*BODY, *BODY25.point_names, *IBUG68.point_names, *(n for n in OPENPOSE137.point_names if n[-1] in "1234")}
FLIP = np.diag([1.0, -1.0, -1.0])


def made_track(family: str, missing=()) -> Track:
    values = made(family, seed=2)
    values["betas"] = np.tile(values["betas"][:1], (FRAMES, 1))
    values["transl"] = PLACE * [1, -1, -1]
    valid = ~np.isin(np.arange(FRAMES), missing)
    return Track(
        Codes(values, family, valid, np.tile(K_of(1000.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2), (FRAMES, 1, 1))),
        tuple(f"{k:06d}" for k in range(FRAMES)), "made", image_sizes=np.tile((WIDTH, HEIGHT), (FRAMES, 1)), fps=30.0,
        source=tuple("fitted" if v else "interpolated" for v in valid),
    )  # fmt: skip


def whole_hands(body, content: dict) -> dict[str, np.ndarray]:
    """Components about the mean hand, as axis-angle."""
    found = {}
    for k, name in enumerate(("left_hand_pose", "right_hand_pose")):
        found[name] = body.hands.mean[k].numpy() + content[name] @ body.hands.components[k, :12].numpy()
    return found


def test_smplifyx(tmp_path, smplx):
    """Hands lie in the space of the twelve components, so that nothing is lost."""
    track = made_track("smplx", missing=[1])
    rng = np.random.default_rng(0)
    inside = {f"{side}_hand_pose": rng.normal(0, 0.3, (FRAMES, 12)) for side in ("left", "right")}
    track = track.with_values(whole_hands(smplx, inside))
    exports.EXPORTS["smplifyx"].write(track, Target(tmp_path, smplx))
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["000000", "000002"]
    for k in (0, 2):
        content = pickle.loads((tmp_path / "results" / f"{k:06d}" / "000.pkl").read_bytes())
        assert content["body_pose"].shape == (1, 63) and content["left_hand_pose"].shape == (1, 12)
        assert content["betas"].shape == (1, 10) and content["camera_rotation"].shape == (1, 3, 3)
        rows = {n: v for n, v in content.items() if n in track.values}
        points = mesh(smplx, {**rows, **whole_hands(smplx, content)}) + content["camera_translation"]
        K = K_of(content["focal_length"][0], WIDTH / 2, HEIGHT / 2)
        near(opencv_pixels(points, K)[0] - 0.5, seen(track, smplx)[k])  # its pixels count from the picture's edge
    (back,) = codes.read(tmp_path)
    assert back.names == ("000000", "000002")
    near(seen(back, smplx), seen(track, smplx)[[0, 2]])


def test_a_fit_of_another_body_is_told_before_it_begins():
    """With what the command takes: a model that its users have, or the other outputs."""
    smplifyx = exports.EXPORTS["smplifyx"]
    with pytest.raises(
        OutputError, match=r"of open_body.*--body.model smplx, or leave smplifyx out: --outputs params,obj"
    ):
        smplifyx.check_fit("smplifyx", "open_body", ("params", "smplifyx", "obj"))
    smplifyx.check_fit("smplifyx", "smplx", ("params", "smplifyx", "obj"))


@pytest.mark.parametrize("aside", [0.0, 40.0])
def test_smplifyx_of_a_camera_that_looks_aside(tmp_path, smplx, aside):
    """The format has no principal point: where the camera's is elsewhere, what that costs is told, and true."""
    track, told = made_track("smplx"), []
    inside = {f"{side}_hand_pose": np.zeros((FRAMES, 12)) for side in ("left", "right")}
    track = track.with_values(whole_hands(smplx, inside))
    track.codes.K[:, 0, 2] += aside
    exports.EXPORTS["smplifyx"].write(track, Target(tmp_path, smplx, note=told.append))
    (back,) = codes.read(tmp_path)
    off = np.linalg.norm(seen(back, smplx) - seen(track, smplx), axis=-1).max()
    if not aside:
        assert told == [] and off < 0.01
    else:
        assert off > 1 and f"up to {off:.1f}" in told[0][: told[0].index(" pixels") - 1]


def test_spin(tmp_path, smpl):
    track = made_track("smpl", missing=[0])
    (path,) = exports.EXPORTS["spin"].write(track, Target(tmp_path, smpl))
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    assert found["pose"].shape == (2, 72) and found["shape"].shape == (2, 10) and found["openpose"].shape == (2, 25, 3)
    assert found["imgname"].tolist() == ["000001.jpg", "000002.jpg"]
    pixels = seen(track, smpl)[1:]
    size = np.ptp(pixels, axis=1).max(axis=1)
    np.testing.assert_allclose(found["scale"] * 200, 1.2 * size, rtol=1e-6)
    np.testing.assert_allclose(found["center"], (pixels.min(axis=1) + pixels.max(axis=1)) / 2, atol=1e-3)
    expected = FLIP @ rotation(track.values["global_orient"][1])
    np.testing.assert_allclose(rotation(found["pose"][0, :3].astype(float)), expected, atol=1e-6)
    (back,) = codes.read(path)
    np.testing.assert_allclose(back.values["body_pose"], track.values["body_pose"][1:], atol=1e-6)


@pytest.mark.parametrize("aside", [0.0, 40.0])
def test_humandata(tmp_path, smplx, aside):
    track = made_track("smplx")
    track.codes.K[:, 0, 2] += aside
    (path,) = exports.EXPORTS["humandata"].write(track, Target(tmp_path, smplx))
    with np.load(path, allow_pickle=True) as file:
        found = {name: file[name] for name in file.files}
    body, meta = found["smplx"].item(), found["meta"].item()
    assert body["left_hand_pose"].shape == (FRAMES, 15, 3) and body["body_pose"].shape == (FRAMES, 21, 3)
    assert found["bbox_xywh"].shape == (FRAMES, 5) and not found["misc"].item()["flat_hand_mean"]
    rows = {name: value.reshape(FRAMES, -1) for name, value in body.items() if name != "transl"}
    mean = {
        f"{s}_hand_pose": smplx.hands.mean[k].numpy() + rows[f"{s}_hand_pose"] for k, s in enumerate(("left", "right"))
    }
    points = mesh(smplx, {**rows, **mean}) + body["transl"][:, None]
    K = K_of(meta["focal_length"][0, 0], *meta["principal_point"][0])
    near(opencv_pixels(points, K), seen(track, smplx))
    (back,) = codes.read(path)
    near(seen(back, smplx), seen(track, smplx))


def observed(layout: Layout) -> Observations:
    """Every point at its own place; the second unseen."""
    points = 10.0 * np.arange(len(layout))[None, :, None] + np.arange(FRAMES)[:, None, None] + [0, 0.5]
    confidence = np.full((FRAMES, len(layout)), 0.8)
    confidence[:, 1] = 0
    return Observations("000", layout, points, confidence, tuple(f"{k:06d}" for k in range(FRAMES)),
                        np.tile((WIDTH, HEIGHT), (FRAMES, 1)), is_clip=True)  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "checks"),
    [  # a point's name here, its number in HumanData
        (OPENPOSE137, {"nose": 153, "right_wrist": 157, "right_heel": 177, "left_index_4": 67, "left_pinky_1": 31,
                       "right_thumb_3": 54, IBUG68.point_names[0]: 127, IBUG68.point_names[17]: 76,
                       IBUG68.point_names[67]: 126}),
        (COCO17, {"nose": 55, "right_wrist": 21, "left_hip": 1}),
    ],
)  # fmt: skip
def test_humandata_has_what_was_detected(tmp_path, smplx, layout, checks):
    seen_points = observed(layout)
    (path,) = exports.EXPORTS["humandata"].write(made_track("smplx", [1]), Target(tmp_path, smplx, seen_points))
    with np.load(path, allow_pickle=True) as file:
        points, mask = file["keypoints2d"], file["keypoints2d_mask"]
    assert points.shape == (2, 190, 3) and mask.shape == (190,) and mask.dtype == np.uint8
    for name, index in checks.items():
        k = layout.point_names.index(name)
        np.testing.assert_allclose(points[1, index], [*seen_points.keypoints[2, k], 0.8])
        assert mask[index] == 1
    assert (points[:, mask == 0] == 0).all() and mask.sum() == sum(n in THEIRS for n in layout.point_names)
    assert len(codes.read(path)[0]) == 2


@pytest.mark.parametrize("layout", [BODY25, COCO17])
def test_spin_has_openpose_s_points(tmp_path, smpl, layout):
    seen_points = observed(layout)
    (path,) = exports.EXPORTS["spin"].write(made_track("smpl"), Target(tmp_path, smpl, seen_points))
    with np.load(path) as file:
        found = file["openpose"]
    for index, name in ((0, "nose"), (4, "right_wrist"), (14, "left_ankle")):
        np.testing.assert_allclose(found[2, index], [*seen_points.keypoints[2, layout.point_names.index(name)], 0.8])
    assert not found[:, 1].any()  # the neck: unseen, or not there


def test_amass_stands_upright(tmp_path, smplx):
    track = made_track("smplx", missing=[1])
    (path,) = exports.EXPORTS["amass"].write(track, Target(tmp_path, smplx))
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    poses = found["poses"]
    assert (
        poses.shape == (FRAMES, 165) and float(found["mocap_frame_rate"]) == 30 and found["valid"].tolist() == [1, 0, 1]
    )
    parts = {"global_orient": (0, 3), "body_pose": (3, 66), "jaw_pose": (66, 69), "leye_pose": (69, 72),
             "reye_pose": (72, 75), "left_hand_pose": (75, 120), "right_hand_pose": (120, 165)}  # fmt: skip
    rows = {name: poses[:, a:b] for name, (a, b) in parts.items()}
    # The expression has no place in it; it moves the joints of this made-up model.
    still = track.with_values({"expression": None})
    exports.EXPORTS["amass"].write(still, Target(tmp_path, smplx))
    with np.load(path) as file:
        trans = file["trans"]
    points = mesh(smplx, {**rows, "betas": np.tile(found["betas"], (FRAMES, 1))}) + trans[:, None]
    world = mesh(smplx, dict(still.values))
    np.testing.assert_allclose(points, np.stack([world[..., 0], -world[..., 2], world[..., 1]], axis=-1), atol=1e-5)
    (back,) = codes.read(path)
    assert back.valid.tolist() == [True, False, True] and back.fps == 30
    np.testing.assert_allclose(mesh(smplx, dict(settled(back, smplx).values)), world, atol=1e-5)


def test_smplx_is_no_spin(smplx):
    with pytest.raises(OutputError, match="decode with smpl"):
        exports.EXPORTS["spin"].check("spin", made_track("smplx"))


def test_convert_a_body_s_results(tmp_path, shelf, smpl):
    values = made("smpl")
    write_smplifyx(tmp_path / "in", values)
    words = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "humandata", "--quiet"]
    words += ["--image_size", f"[{WIDTH}, {HEIGHT}]", "--body_folder", str(shelf), "--focal", "1500"]
    assert main(words) == 0
    (back,) = codes.read(tmp_path / "out" / "humandata.npz")
    expected = opencv_pixels(mesh(smpl, values) + PLACE[:, None], K_of(1500))
    near(seen(back, smpl), expected)


def test_vposer_s_code_wants_its_checkpoint(tmp_path, shelf, capsys):
    write_smplifyx(tmp_path / "in", made("smplx"), body_pose=np.ones((FRAMES, 32)))
    words = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "amass", "--body_folder", str(shelf)]
    assert main(words) == 5
    assert "--vposer" in capsys.readouterr().err.splitlines()[-1]
