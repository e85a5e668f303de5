"""What is written for trainers of heads: read by plain numpy as they read it, drawn where they draw it, read back."""

import csv
import json

import numpy as np
import pytest
import scipy.io
import torch
from made_clips import FLOAT64
from made_codes import flame_shelf, made_clip, rotation
from PIL import Image
from test_codes_flame import FRAMES, ROTATIONS, mesh_of, near, opengl_pixels, seen

from fitting import bodies, codes, exports
from fitting.cli import main
from fitting.codes import CodesOptions
from fitting.exports import Target
from fitting.exports.decoded import head_motion, to_pixels
from fitting.track import Track
from fitting.types import Codes, OutputError

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    flame_shelf(folder, "FLAME2020/generic_model.pkl")
    flame_shelf(folder, "FLAME2023/flame2023.pkl")
    return folder


@pytest.fixture(scope="module")
def flame(shelf):
    return bodies.load("flame2020", folder=shelf).to(FLOAT64)


def made_track(model: str, size=(WIDTH, HEIGHT), missing=()) -> Track:
    clip = made_clip(FRAMES, seed=2)
    rng = np.random.default_rng(1)
    values = {"betas": clip.betas, "expression": clip.expression, "transl": clip.transl}
    values |= {name: rng.normal(0, 0.1, (FRAMES, 3)) for name in ROTATIONS}
    middle = [(size[0] - 1) / 2, (size[1] - 1) / 2]
    K = np.tile([[900.0, 0, middle[0]], [0, 900, middle[1]], [0, 0, 1]], (FRAMES, 1, 1))
    valid = ~np.isin(np.arange(FRAMES), missing)
    source = tuple("fitted" if v else "interpolated" for v in valid)
    return Track(
        Codes(values, model, valid, K), tuple(f"{k:06d}" for k in range(FRAMES)), "made",
        image_sizes=np.tile(size, (FRAMES, 1)), fps=25.0, source=source,
    )  # fmt: skip


def same_values(track: Track, back: Track, names=None) -> None:
    for name in names or track.values:
        count = track.values[name].shape[1]
        np.testing.assert_allclose(back.values[name][:, :count], track.values[name], atol=3e-6, err_msg=name)


# ------------------------------------------------------------------ VHAP, GaussianAvatars


def test_vhap(tmp_path, flame):
    track = made_track("flame2023")
    (path,) = exports.EXPORTS["vhap"].write(track, Target(tmp_path))
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["shape"].shape == (300,) and arrays["expr"].shape == (FRAMES, 100)
    assert arrays["eyes_pose"].shape == (FRAMES, 6) and arrays["image_size"].tolist() == [HEIGHT, WIDTH]
    rows = {
        "betas": np.tile(arrays["shape"], (FRAMES, 1)), "expression": arrays["expr"],
        "global_orient": arrays["rotation"], "neck_pose": arrays["neck_pose"], "jaw_pose": arrays["jaw_pose"],
        "leye_pose": arrays["eyes_pose"][:, :3], "reye_pose": arrays["eyes_pose"][:, 3:],
        "transl": arrays["translation"],
    }  # fmt: skip
    drawn = opengl_pixels(mesh_of(flame, rows) - [0, 0, 1], float(arrays["focal_length"][0]) * max(WIDTH, HEIGHT))
    near(drawn, seen(track, flame))
    (back,) = codes.read(tmp_path)
    settled_back = seen(back, flame)
    near(settled_back, seen(track, flame))
    same_values(track, back, ["betas", "expression", *ROTATIONS])


def test_gaussian_avatars(tmp_path, flame):
    track = made_track("flame2023", missing=[2])
    exports.EXPORTS["gaussian_avatars"].write(track, Target(tmp_path))
    content = json.loads((tmp_path / "transforms.json").read_text())
    assert [entry["timestep_index"] for entry in content["frames"]] == [0, 1, 3]
    places = []
    for entry in content["frames"]:
        with np.load(tmp_path / entry["flame_param_path"]) as file:
            one = dict(file)
        places.append(one["translation"])
        rows = {"betas": one["shape"][None], "expression": one["expr"], "global_orient": one["rotation"],
                "neck_pose": one["neck_pose"], "jaw_pose": one["jaw_pose"], "leye_pose": one["eyes_pose"][:, :3],
                "reye_pose": one["eyes_pose"][:, 3:], "transl": one["translation"]}  # fmt: skip
        w2c = np.linalg.inv(np.array(entry["transform_matrix"]))
        mesh = mesh_of(flame, rows) @ w2c[:3, :3].T + w2c[:3, 3]
        near(opengl_pixels(mesh, entry["fl_x"])[0], seen(track, flame)[entry["timestep_index"]])
    every = [np.load(tmp_path / "flame_param" / f"{k:05d}.npz")["translation"] for k in range(FRAMES)]
    assert np.abs(np.mean(every, axis=0)).max() < 1e-6
    with np.load(tmp_path / "canonical_flame_param.npz") as file:
        np.testing.assert_allclose(file["jaw_pose"], [[0.3, 0, 0]])
        assert not file["expr"].any()


def test_gaussian_avatars_read_back(tmp_path, flame):
    track = made_track("flame2023")
    exports.EXPORTS["gaussian_avatars"].write(track, Target(tmp_path))
    (back,) = codes.read(tmp_path)
    near(seen(back, flame), seen(track, flame))


# ------------------------------------------------------------------ IMavatar


def test_imavatar(tmp_path, flame):
    size = 512
    track = made_track("flame2020", (size, size))
    exports.EXPORTS["imavatar"].write(track, Target(tmp_path, flame))
    content = json.loads((tmp_path / "flame_params.json").read_text())
    fx, fy, cx, cy = (n * size for n in content["intrinsics"])
    for k, entry in enumerate(content["frames"]):
        assert entry["file_path"] == f"./image/{k + 1}" and len(entry["pose"]) == 15 and len(entry["expression"]) == 50
        pose = np.array(entry["pose"]).reshape(5, 1, 3)
        rows = {"betas": np.array([content["shape_params"]]), "expression": np.array([entry["expression"]])}
        mesh = mesh_of(flame, {**rows, **dict(zip(ROTATIONS, pose, strict=True))})[0]
        x, y, z = (4 * mesh + np.array(entry["world_mat"])[:, 3]).T
        near(np.stack([x / z * fx + cx, y / z * fy + cy], axis=1), seen(track, flame)[k])
        points = np.array(entry["flame_keypoints"])
        assert points.shape == (68, 2)
        np.testing.assert_allclose(entry["bbox"], [*points.min(axis=0), *points.max(axis=0)])
    codes_only = json.loads((tmp_path / "code.json").read_text())
    assert list(codes_only) == [str(k + 1) for k in range(FRAMES)]
    (back,) = codes.read(tmp_path / "flame_params.json")
    near(seen(back, flame), seen(track, flame))
    (again,) = codes.read(tmp_path / "code.json")
    same_values(track, again, ["betas", "expression", "global_orient", "jaw_pose"])


def test_imavatar_wants_squares(tmp_path, flame):
    with pytest.raises(OutputError, match="square"):
        exports.EXPORTS["imavatar"].write(made_track("flame2020"), Target(tmp_path, flame))


# ------------------------------------------------------------------ AD-NeRF, TalkingGaussian


def test_talking_gaussian(tmp_path, flame):
    track = made_track("flame2020", missing=[1])
    rigid = track.with_values({name: None for name in ("expression", "jaw_pose", "leye_pose", "reye_pose")})
    exports.EXPORTS["talking_gaussian"].write(track, Target(tmp_path, flame))
    params = torch.load(tmp_path / "track_params.pt", weights_only=True)
    assert params["id"].shape == (1, 100) and params["exp"].shape == (FRAMES, 79) and params["focal"].shape == (1,)
    x, y, z = np.eye(3)
    focal = float(params["focal"][0])
    # The head at rest, counted from the middle of its face, moved as the trainer moves its own model.
    mesh = mesh_of(flame, {"betas": track.values["betas"][:1], "expression": np.zeros((1, 50))})[0]
    centre = head_motion(flame, track).centre
    assert (mesh.min(axis=0) < centre).all() and (centre < mesh.max(axis=0)).all() and centre[2] > mesh[:, 2].mean()
    skull = flame.skinning[::97, 1].numpy() > 0.9999
    assert skull.sum() > 20
    for k in range(FRAMES):
        theta, phi, psi = params["euler"][k].double().numpy()
        R = rotation(-theta * x) @ rotation(-phi * y) @ rotation(psi * z)
        X = (mesh - centre)[skull] @ R.T * 10 + params["trans"][k].double().numpy()
        u = np.stack([-focal * X[:, 0] / X[:, 2] + WIDTH / 2, focal * X[:, 1] / X[:, 2] + HEIGHT / 2], axis=1)
        near(u - 0.5, seen(rigid, flame)[k][skull])  # its pixels count from the picture's edge
    shown = []
    for name in ("train", "val"):
        content = json.loads((tmp_path / f"transforms_{name}.json").read_text())
        assert content["cx"] == WIDTH / 2 and content["focal_len"] == pytest.approx(focal)
        for entry in content["frames"]:
            k = entry["img_id"]
            shown.append(k)
            matrix = np.linalg.inv(np.array(entry["transform_matrix"]))
            theta, phi, psi = params["euler"][k].double().numpy()
            R = rotation(-theta * x) @ rotation(-phi * y) @ rotation(psi * z)
            np.testing.assert_allclose(matrix[:3, :3], R, atol=1e-6)
            np.testing.assert_allclose(matrix[:3, 3], params["trans"][k].numpy() / 10, atol=1e-6)
            left, top, width, height = entry["face_rect"]
            assert 0 <= left < left + width <= WIDTH and 0 <= top < top + height <= HEIGHT
    assert shown == [0, 2, 3]  # the frame without a fit is left out, and no number is shifted
    (back,) = codes.read(tmp_path, CodesOptions(image_size=(WIDTH, HEIGHT)))
    np.testing.assert_allclose(back.codes.K, track.codes.K, rtol=1e-6)


def test_the_middle_of_the_face_lands_exactly(tmp_path, flame):
    """Even where the format cannot hold the camera: a principal point elsewhere, a focal length of each frame."""
    track, told = made_track("flame2020"), []
    track.codes.K[:, 1, 2] += 30
    track.codes.K[1, 0, 0] = track.codes.K[1, 1, 1] = 950
    exports.EXPORTS["talking_gaussian"].write(track, Target(tmp_path, flame, note=told.append))
    assert "pixels off" in told[0]
    params = torch.load(tmp_path / "track_params.pt", weights_only=True)
    X, f = params["trans"].double().numpy(), float(params["focal"][0])
    u = np.stack([-f * X[:, 0] / X[:, 2] + WIDTH / 2, f * X[:, 1] / X[:, 2] + HEIGHT / 2], axis=1)
    near(u - 0.5, to_pixels(head_motion(flame, track).place[:, None], track.codes.K)[:, 0])


OPENFACE = """frame, face_id, timestamp, confidence, success, AU01_r, AU25_r, AU45_r, AU45_c
1, 0, 0.00, 0.98, 1, 0.50, 1.00, 0.00, 0
2, 0, 0.04, 0.98, 1, 1.50, 2.00, 1.00, 1
4, 0, 0.12, 0.98, 1, 2.50, 4.00, 2.00, 1
"""


def test_au_csv_has_the_blanks_that_trainers_need(tmp_path, flame):
    (tmp_path / "openface.csv").write_text(OPENFACE)
    exports.EXPORTS["talking_gaussian"].write(
        made_track("flame2020"), Target(tmp_path, flame, action_units=tmp_path / "openface.csv")
    )
    with (tmp_path / "au.csv").open() as stream:
        rows = list(csv.DictReader(stream))  # as pandas: names keep their blank
    assert [float(row[" AU45_r"]) for row in rows] == [0, 1, 1.5, 2] and len(rows) == FRAMES
    assert [int(row[" success"]) for row in rows] == [1, 1, 0, 1]


def test_au_csv_from_a_body_whose_actions_have_names(tmp_path, open_head):
    expression = np.zeros((2, 76))
    expression[1, open_head.expression_names.index("eyeBlinkLeft")] = 1.0
    expression[1, open_head.expression_names.index("eyeBlinkRight")] = 1.0
    zero = np.zeros((2, 3))
    K = np.tile([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]], (2, 1, 1))
    values = {"expression": expression, "global_orient": zero, "jaw_pose": zero, "transl": zero - [0, 0, 0.9]}
    track = Track(Codes(values, "open_head", np.ones(2, bool), K), ("0", "1"), "made", source=("fitted",) * 2,
                  image_sizes=np.tile([640, 480], (2, 1)))  # fmt: skip
    exports.EXPORTS["talking_gaussian"].write(track, Target(tmp_path, open_head))
    header, *lines = [line.split(",") for line in (tmp_path / "au.csv").read_text().splitlines()]
    column = header.index(" AU45_r")
    assert [float(line[column]) for line in lines] == [0.0, 5.0] and " AU25_r" in header


# ------------------------------------------------------------------ DECA


def test_deca_set(tmp_path, flame):
    track = made_track("flame2020", missing=[3])
    neutral = track.with_values({"neck_pose": None, "leye_pose": None, "reye_pose": None})
    exports.EXPORTS["deca"].write(neutral, Target(tmp_path, flame))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000", "000001", "000002"]
    folder = tmp_path / "000001"
    mat = scipy.io.loadmat(folder / "000001.mat")
    obj = np.array([line.split()[1:] for line in (folder / "000001.obj").read_text().splitlines() if line[:2] == "v "])
    np.testing.assert_allclose(obj.astype(float), mat["verts"][0], atol=1e-6)
    kpt2d, kpt3d = (np.loadtxt(folder / f"000001_kpt{d}d.txt") for d in (2, 3))
    assert kpt2d.shape == (68, 2) and kpt3d.shape == (68, 4) and set(kpt3d[:, 3]) == {0.0, 1.0}
    np.testing.assert_allclose(kpt3d[:, :2], kpt2d)
    assert np.abs(kpt2d).max() < 1 and kpt3d[27:36, 3].mean() > 0.8  # inside the crop; the nose is seen
    with np.load(folder / "000001_codes.npz") as file:
        found = dict(file)
    s, tx, ty = found["cam"][0]
    np.testing.assert_allclose(mat["trans_verts"][0], s * (mat["verts"][0] + [tx, ty, 0]) * [1, -1, -1], atol=1e-6)
    # Back in the full image, DECA's landmarks lie on the pinhole camera's, but for perspective.
    crop = 112 * (kpt2d + 1)
    image = (np.c_[crop, np.ones(68)] @ np.linalg.inv(found["tform"][0]).T)[:, :2]
    points = exports.deca.landmarks(flame, neutral, "ibug68")
    expected = to_pixels(points, track.codes.K)[1]
    assert np.linalg.norm(image - expected, axis=1).mean() < 0.03 * np.ptp(expected, axis=0).mean()
    depth = np.asarray(Image.open(folder / "000001_depth.jpg"))
    assert depth.shape == (224, 224) and depth.max() > 230 and (depth == 0).mean() > 0.05
    nose = (112 * (kpt2d[30] + 1)).round().astype(int)
    assert depth[nose[1], nose[0]] > 200  # the nose is nearest
    (back,) = codes.read(tmp_path)
    same_values(neutral.take(np.arange(3)), back, ["betas", "expression", "global_orient", "jaw_pose"])
    assert back.weak is not None


def test_deca_s_camera_is_exact_in_the_plane_of_the_landmarks(tmp_path, flame):
    """Any point as far away as the landmarks are on average: the crop's orthographic camera and the pinhole agree."""
    track = made_track("flame2020")
    exports.EXPORTS["deca"].write(track, Target(tmp_path, flame))
    posed = track.with_values({"transl": None})
    points = exports.deca.landmarks(flame, posed, "ibug68")
    for k in range(FRAMES):
        with np.load(tmp_path / f"{k:06d}" / f"{k:06d}_codes.npz") as file:
            (s, tx, ty), tform = file["cam"][0].astype(float), file["tform"][0].astype(float)
        plane = np.concatenate([points[k, :, :2], np.full((68, 1), points[k, :, 2].mean())], axis=1)
        crop = 112 * (1 + s * (plane[:, :2] + [tx, ty]) * [1, -1])
        image = (np.c_[crop, np.ones(68)] @ np.linalg.inv(tform).T)[:, :2]
        near(image, to_pixels(plane[None] + track.values["transl"][k], track.codes.K[k : k + 1])[0])


@pytest.mark.parametrize(("aside", "zoom"), [(0.0, 1.0), (25.0, 1.0), (0.0, 1.1)])
def test_vhap_of_a_camera_that_it_cannot_hold(tmp_path, flame, aside, zoom):
    """Nothing is said where the camera fits; else how far points of the mesh are off, and that is true."""
    track, told = made_track("flame2023"), []
    track.codes.K[:, 0, 2] += aside
    track.codes.K[2, 0, 0] *= zoom
    track.codes.K[2, 1, 1] *= zoom
    exports.EXPORTS["vhap"].write(track, Target(tmp_path, flame, note=told.append))
    (back,) = codes.read(tmp_path)
    off = np.linalg.norm(seen(back, flame) - seen(track, flame), axis=-1).max()
    if aside == 0 and zoom == 1:
        assert told == [] and off < 0.01
    else:
        said = float(told[0].split("up to ")[1].split()[0])
        assert 0.1 < off <= said + 0.01 < 1.7 * off + 0.1  # `seen` looks at one vertex of 97


def test_deca_codes_keep_their_camera(tmp_path, shelf):
    """codes -> set -> codes: the same crop and camera, since the source has both."""
    clip = made_clip(2)
    tform = np.tile([[0.8, 0, -100.0], [0, 0.8, -50.0], [0, 0, 1]], (2, 1, 1))
    cam = np.array([[8.0, 0.01, 0.02], [7.0, 0.0, -0.01]], np.float32)
    np.savez(tmp_path / "in.npz", shape=clip.betas, exp=clip.expression, cam=cam, tform=tform,
             pose=np.concatenate([clip.global_orient, clip.jaw_pose], axis=1))  # fmt: skip
    words = ["convert", str(tmp_path / "in.npz"), str(tmp_path / "out"), "--to", "deca", "--quiet"]
    words += ["--image_size", "[640, 480]", "--body", "flame2020", "--body_folder", str(shelf)]
    assert main(words) == 0
    (back,) = codes.read(tmp_path / "out")
    np.testing.assert_allclose(back.extras["cam"], cam, atol=1e-6)
    np.testing.assert_allclose(back.crops, codes.read(tmp_path / "in.npz")[0].crops, atol=1e-3)


# ------------------------------------------------------------------ versions


def test_another_flame_is_refused(tmp_path, shelf, capsys):
    clip = made_clip(3)
    np.savez(tmp_path / "in.npz", shape=clip.betas, exp=clip.expression,
             pose=np.concatenate([clip.global_orient, clip.jaw_pose], axis=1))  # fmt: skip
    words = ["convert", str(tmp_path / "in.npz"), str(tmp_path / "out"), "--body_folder", str(shelf), "--to", "deca"]
    assert main([*words, "--body", "flame2023"]) == 5
    assert "belong to flame2020" in capsys.readouterr().err
    track = made_track("flame2020")
    with pytest.raises(OutputError, match=r"decode with flame2023.*belong to flame2020.*--convert_model"):
        exports.EXPORTS["vhap"].check("vhap", track)


def test_codes_without_a_camera_say_so(tmp_path, shelf, capsys):
    clip = made_clip(3)
    np.savez(tmp_path / "in.npz", shape=clip.betas, exp=clip.expression,
             pose=np.concatenate([clip.global_orient, clip.jaw_pose], axis=1))  # fmt: skip
    words = ["convert", str(tmp_path / "in.npz"), str(tmp_path / "out"), "--to", "vhap", "--codes_model", "flame2023"]
    assert main(words) == 6
    assert "no transl" in capsys.readouterr().err


def test_unknown_formats_and_options(tmp_path, capsys):
    np.savez(tmp_path / "in.npz", shape=np.zeros((1, 100)), exp=np.zeros((1, 50)), pose=np.zeros((1, 6)))
    assert main(["convert", str(tmp_path / "in.npz"), "--to", "vhapp"]) == 2 and "vhap" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "in.npz"), "--too", "vhap"]) == 2 and "'to'" in capsys.readouterr().err
    assert main(["convert"]) == 2
