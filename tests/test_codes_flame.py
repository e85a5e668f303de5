"""Readers of FLAME codes against files made from the formats' descriptions; cameras by projection, to 0.01 pixels.

Each case says in plain numpy where its program would draw a point of the mesh; Keyfit must draw it there too.
"""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from made_clips import FLOAT64
from made_codes import flame_shelf, made_clip, rotation
from made_files import fake_chumpy, python2_pickle, with_state

from fitting import bodies, codes
from fitting.cli import main
from fitting.codes import CodesOptions
from fitting.codes.crops import crop_to_weak, weak_to_crop
from fitting.track import filled, parameters_of
from fitting.types import InputError
from fitting.worlds import placed, settled

FRAMES, HEIGHT, WIDTH = 4, 480, 640
FLIP = np.diag([1.0, -1.0, -1.0])
ROTATIONS = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


@pytest.fixture(scope="module")
def flame(tmp_path_factory):
    """FLAME 2020, 300 + 100 coefficients, float64."""
    folder = tmp_path_factory.mktemp("models")
    flame_shelf(folder)
    return bodies.load("flame", folder=folder).to(FLOAT64)


@dataclass
class Truth:
    """What the files are made of: FLAME's own parameters, all different from zero."""

    betas: np.ndarray
    expression: np.ndarray
    poses: dict[str, np.ndarray] = field(default_factory=dict)

    def mesh(self, body, **changes: np.ndarray) -> np.ndarray:
        """(frames, V, 3) as FLAME gives it, before any camera; a pose that is not named in `changes` is this one's."""
        rows = {"betas": self.betas, "expression": self.expression, **self.poses, **changes}
        return mesh_of(body, rows)


def mesh_of(body, rows: dict[str, np.ndarray]) -> np.ndarray:
    track = codes.frames.stack(
        [codes.frames.Frame({n: v[k] for n, v in rows.items()}) for k in range(len(rows["betas"]))],
        [str(k) for k in range(len(rows["betas"]))],
        "flame2020",
        "made",
    )
    with torch.no_grad():
        return body.pose(parameters_of(body, track, slice(0, len(track)))).points[:, 0, ::97].numpy()


@pytest.fixture(scope="module")
def truth() -> Truth:
    clip = made_clip(FRAMES, seed=4, betas=100, expressions=50)
    rng = np.random.default_rng(9)
    poses = {name: rng.normal(0, 0.1, (FRAMES, 3)) for name in ROTATIONS}
    return Truth(clip.betas, clip.expression, poses)


def seen(track, body) -> np.ndarray:
    """Pixels of the mesh as Keyfit draws it: posed in the world, K applied."""
    track = settled(track, body)
    x, y, z = np.moveaxis(mesh_of(body, dict(track.values)) * [1, -1, -1], -1, 0)
    K = track.codes.K[:, None]
    return np.stack([K[..., 0, 0] * x / z + K[..., 0, 2], K[..., 1, 1] * y / z + K[..., 1, 2]], axis=-1)


def near(a: np.ndarray, b: np.ndarray) -> None:
    assert np.isfinite(a).all() and np.abs(a - b).max() < 0.01, np.abs(a - b).max()


# ------------------------------------------------------------------ DECA


CAMERAS = np.array([[8.1, 0.02, -0.03], [7.5, -0.01, 0.05], [9.0, 0.0, 0.0], [6.7, 0.04, 0.01]])
CROPS = np.array([[300.0, 220.0, 250.0], [310.5, 222.0, 243.0], [280.0, 260.0, 191.0], [400.0, 100.0, 310.0]])


def deca_pixels(mesh: np.ndarray) -> np.ndarray:
    """DECA's own way: orthographic in the crop, y turned down, 224 pixels, and back through the warp of 223."""
    s, tx, ty = CAMERAS.T[..., None]
    x, y = s * (mesh[..., 0] + tx), -(s * (mesh[..., 1] + ty))
    crop = np.stack([112 * (x + 1), 112 * (y + 1)], axis=-1)
    return np.stack([crop_to_image(k, crop[k]) for k in range(len(mesh))])


def tform(k: int) -> np.ndarray:
    """The similarity that takes the square's corners to 0 and 223."""
    cx, cy, side = CROPS[k]
    scale = 223 / side
    return np.array([[scale, 0, -scale * (cx - side / 2)], [0, scale, -scale * (cy - side / 2)], [0, 0, 1]])


def crop_to_image(k: int, points: np.ndarray) -> np.ndarray:
    return (np.concatenate([points, np.ones((len(points), 1))], axis=1) @ np.linalg.inv(tform(k)).T)[:, :2]


def deca_codes(truth: Truth) -> dict[str, np.ndarray]:
    pose = np.concatenate([truth.poses["global_orient"], truth.poses["jaw_pose"]], axis=1)
    return {
        "shape": truth.betas.astype(np.float32),
        "exp": truth.expression.astype(np.float32),
        "pose": pose.astype(np.float32),
        "cam": CAMERAS.astype(np.float32),
        "tex": np.ones((FRAMES, 50), np.float32),
        "light": np.ones((FRAMES, 9, 3), np.float32),
        "tform": np.stack([tform(k) for k in range(FRAMES)]),
    }


def write_deca(path: Path, content: dict[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".npy":
        np.save(path, np.array(content, dtype=object), allow_pickle=True)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, content)
    else:
        path.write_bytes(pickle.dumps({k: torch.from_numpy(np.array(v)) for k, v in content.items()}))


def deca_mesh(truth: Truth, body) -> np.ndarray:
    zero = np.zeros((FRAMES, 3))
    return truth.mesh(body, neck_pose=zero, leye_pose=zero, reye_pose=zero)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mat", ".pkl"])
def test_deca_codes_and_camera(truth, flame, tmp_path, suffix):
    write_deca(tmp_path / f"codes{suffix}", deca_codes(truth))
    (track,) = codes.read(tmp_path / f"codes{suffix}")
    assert track.codes.model == "flame2020" and track.valid.all() and len(track) == FRAMES
    np.testing.assert_allclose(track.values["jaw_pose"], truth.poses["jaw_pose"], atol=1e-6)
    np.testing.assert_allclose(track.extras["light"], np.ones((FRAMES, 27)))
    mesh = deca_mesh(truth, flame)
    # The focal length of a lens that sees no perspective: every point lands on its pixel.
    K = np.tile([[1e8, 0, 319.5], [0, 1e8, 239.5], [0, 0, 1]], (FRAMES, 1, 1))
    near(seen(placed(track, K), flame), deca_pixels(mesh))


def test_deca_camera_at_any_focal_length(truth, flame, tmp_path):
    """With an ordinary lens the points of one plane are exact: that of the origin, or any other that is asked for."""
    np.savez(tmp_path / "codes.npz", **deca_codes(truth))
    (track,) = codes.read(tmp_path / "codes.npz")
    K = np.tile([[800.0, 0, 300], [0, 800, 250], [0, 0, 1]], (FRAMES, 1, 1))
    for front in (0.0, 0.07):
        found = placed(track, K, np.full(FRAMES, front)).values["transl"]
        points = np.random.default_rng(0).normal(0, 0.1, (FRAMES, 20, 3)) * [1, 1, 0] + [0, 0, front]
        x, y, z = np.moveaxis((points + found[:, None]) * [1, -1, -1], -1, 0)
        near(np.stack([800 * x / z + 300, 800 * y / z + 250], axis=-1), deca_pixels(points))


def test_the_crop_camera_both_ways():
    near(weak_to_crop(crop_to_weak(CAMERAS, CROPS), CROPS) * 1e3, CAMERAS * 1e3)


def test_deca_s_own_inverted_tform(truth, tmp_path):
    content = deca_codes(truth)
    np.savez(tmp_path / "a.npz", **content)
    content["tform"] = np.linalg.inv(content["tform"]).transpose(0, 2, 1)
    np.savez(tmp_path / "b.npz", **content)
    near(codes.read(tmp_path / "a.npz")[0].weak, codes.read(tmp_path / "b.npz")[0].weak)


@pytest.mark.parametrize("folders", [False, True])
def test_deca_one_file_per_image(truth, tmp_path, folders):
    whole = deca_codes(truth)
    for k in range(FRAMES):
        one = {name: value[k : k + 1] for name, value in whole.items()}
        path = tmp_path / (f"img{k}/codes.npy" if folders else f"img{k}.npy")
        path.parent.mkdir(exist_ok=True)
        write_deca(path, one)
    (track,) = codes.read(tmp_path)
    assert track.names == tuple(f"img{k}" for k in range(FRAMES)) and track.match == "name"
    np.testing.assert_allclose(track.values["expression"], truth.expression, atol=1e-6)
    assert track.weak is not None


def test_chumpy_inside_a_deca_pickle(truth, tmp_path):
    """As the model's own tensors leave it when codes are pickled together with arrays of FLAME's file."""
    with fake_chumpy() as chumpy:
        content = {
            "shape": with_state(chumpy.Ch, x=truth.betas, _dirty_vars=set(), _itr=None),
            "exp": truth.expression,
            "pose": np.concatenate([truth.poses["global_orient"], truth.poses["jaw_pose"]], axis=1),
        }
        (tmp_path / "codes.pkl").write_bytes(python2_pickle(content))
    (track,) = codes.read(tmp_path / "codes.pkl")
    np.testing.assert_allclose(track.values["betas"], truth.betas)


def test_deca_s_decoded_mat_has_no_codes(tmp_path):
    scipy.io.savemat(tmp_path / "img.mat", {"verts": np.zeros((1, 5, 3)), "landmarks2d": np.zeros((1, 68, 2)),
                                            "displacement_map": np.zeros((1, 4, 4))})  # fmt: skip
    with pytest.raises(InputError, match="codes are not in it"):
        codes.read(tmp_path / "img.mat")


# ------------------------------------------------------------------ IMavatar


def test_imavatar_codes(truth, tmp_path):
    pose = np.concatenate([truth.poses["global_orient"], truth.poses["jaw_pose"]], axis=1)
    entries = {
        str(k + 1): {
            "shape": [truth.betas[k].tolist()],
            "exp": [truth.expression[k].tolist()],
            "pose": [pose[k].tolist()],
        }
        for k in (0, 1, 3)
    }
    (tmp_path / "code.json").write_text(json.dumps(entries))
    (track,) = codes.read(tmp_path / "code.json")
    assert track.valid.tolist() == [True, True, False, True] and track.match == "number"
    np.testing.assert_allclose(track.values["global_orient"][3], truth.poses["global_orient"][3])


def test_imavatar_parameters(truth, flame, tmp_path):
    size, fx, fy, cx, cy = 512, 1500.0, 1490.0, 250.0, 260.0
    place = np.array([0.1, -0.2, -4.0])
    pose = np.concatenate([truth.poses[name] for name in ROTATIONS], axis=1)
    content = {
        "frames": [
            {"file_path": f"./image/{k + 1}", "world_mat": np.c_[np.eye(3), place].tolist(), "pose": pose[k].tolist(),
             "expression": truth.expression[k].tolist(), "bbox": [0] * 4, "flame_keypoints": []}
            for k in range(FRAMES)
        ],
        "intrinsics": [-fx / size, fy / size, cx / size, cy / size],
        "shape_params": truth.betas[0].tolist(),
    }  # fmt: skip
    (tmp_path / "flame_params.json").write_text(json.dumps(content))
    (track,) = codes.read(tmp_path / "flame_params.json", CodesOptions(image_size=(size, size)))
    x, y, z = np.moveaxis(4 * truth.mesh(flame, betas=truth.betas[:1].repeat(FRAMES, 0)) + place, -1, 0)
    near(seen(track, flame), np.stack([x / z * -fx + cx, y / z * fy + cy], axis=-1))


# ------------------------------------------------------------------ VHAP and GaussianAvatars


def vhap_arrays(truth: Truth, place: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "rotation": truth.poses["global_orient"],
        "translation": place,
        "neck_pose": truth.poses["neck_pose"],
        "jaw_pose": truth.poses["jaw_pose"],
        "eyes_pose": np.concatenate([truth.poses["leye_pose"], truth.poses["reye_pose"]], axis=1),
        "shape": np.pad(truth.betas[0], (0, 200)),
        "expr": np.pad(truth.expression, ((0, 0), (0, 50))),
    }


PLACE = np.array([[0.01, 0.02, 0.03], [0.0, -0.03, 0.05], [0.04, 0.0, -0.02], [-0.02, 0.01, 0.0]])


def test_vhap(truth, flame, tmp_path):
    arrays = vhap_arrays(truth, PLACE)
    np.savez(
        tmp_path / "tracked_flame_params_30.npz", **arrays, focal_length=[1.5], image_size=[HEIGHT, WIDTH],
        timestep_id=[f"{k:05d}" for k in range(FRAMES)], n_processed_frames=FRAMES,
        static_offset=np.zeros((1, 5143, 3), np.float32), tex_extra=np.zeros((3, 8, 8)),
    )  # fmt: skip
    np.savez(tmp_path / "tracked_flame_params_3.npz", **{**arrays, "shape": np.zeros(300)})
    (track,) = codes.read(tmp_path)
    assert track.codes.model == "flame2023" and "static_offset" in track.notes[0]
    mesh = truth.mesh(flame, betas=np.tile(arrays["shape"], (FRAMES, 1))) + PLACE[:, None]
    near(seen(track, flame), opengl_pixels(mesh + [0, 0, -1.0], 1.5 * WIDTH))


def opengl_pixels(points: np.ndarray, focal: float) -> np.ndarray:
    """A camera that looks down -z; normalised device coordinates of -1..1 over the picture's edges."""
    x, y, z = np.moveaxis(points, -1, 0)
    ndc = np.stack([2 * focal / WIDTH * x / -z, 2 * focal / HEIGHT * y / -z], axis=-1)
    edge = (ndc * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]
    return edge - 0.5  # the first pixel's centre is half a pixel from the edge


def test_gaussian_avatars(truth, flame, tmp_path):
    arrays = vhap_arrays(truth, PLACE)
    (tmp_path / "flame_param").mkdir()
    shared = ("shape",)
    frames, focal = [], 700.0
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = rotation(np.array([0.1, -0.2, 0.05])), [0.05, 0.02, 1.1]
    for k in range(FRAMES):
        one = {name: value if name in shared else value[k : k + 1] for name, value in arrays.items()}
        np.savez(tmp_path / "flame_param" / f"{k:05d}.npz", **one, static_offset=np.zeros((1, 5143, 3)))
        for camera in (1, 0):
            frames.append(
                {"timestep_index": k, "camera_index": camera, "w": WIDTH, "h": HEIGHT,
                 "cx": WIDTH / 2, "cy": HEIGHT / 2,
                 "fl_x": focal, "fl_y": focal, "flame_param_path": f"flame_param/{k:05d}.npz",
                 "transform_matrix": (c2w if camera == 0 else np.eye(4)).tolist()}
            )  # fmt: skip
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    (track,) = codes.read(tmp_path)
    mesh = truth.mesh(flame, betas=np.tile(arrays["shape"], (FRAMES, 1))) + PLACE[:, None]
    w2c = np.linalg.inv(c2w)
    near(seen(track, flame), opengl_pixels(mesh @ w2c[:3, :3].T + w2c[:3, 3], focal))


# ------------------------------------------------------------------ torch's .frame files


def sixd(matrix: np.ndarray) -> np.ndarray:
    return matrix[:2].reshape(-1)


def test_metrical_tracker(truth, flame, tmp_path):
    R, t = rotation(np.array([3.0, 0.1, -0.1])), np.array([0.02, -0.05, 0.9])
    K = np.array([[1800.0, 0, 330], [0, 1790, 250], [0, 0, 1]])
    (tmp_path / "checkpoint").mkdir()
    for k in (0, 1, 3):
        frame = {
            "flame": {
                "exp": np.pad(truth.expression[k], (0, 50))[None].astype(np.float32),
                "shape": np.pad(truth.betas[k], (0, 200))[None].astype(np.float32),
                "tex": np.zeros((1, 140), np.float32),
                "sh": np.zeros((1, 9, 3), np.float32),
                "eyes": np.concatenate([sixd(rotation(truth.poses[n][k])) for n in ("leye_pose", "reye_pose")])[None],
                "eyelids": np.zeros((1, 2), np.float32),
                "jaw": sixd(rotation(truth.poses["jaw_pose"][k]))[None],
            },
            "camera": {"R": np.zeros((1, 6)), "t": np.zeros((1, 3)), "fl": np.ones((1, 1)), "pp": np.zeros((1, 2))},
            "opencv": {"R": R[None], "t": t[None], "K": K[None]},
            "img_size": np.array([HEIGHT, WIDTH]),
            "frame_id": f"{k:05d}",
            "global_step": k,
        }
        torch.save(frame, tmp_path / "checkpoint" / f"{k:05d}.frame")
    (track,) = codes.read(tmp_path)
    assert track.valid.tolist() == [True, True, False, True] and track.image_sizes[0].tolist() == [WIDTH, HEIGHT]
    zero = np.zeros((FRAMES, 3))
    mesh = truth.mesh(flame, global_orient=zero, neck_pose=zero)
    camera = mesh @ R.T + t
    expected = camera[..., :2] / camera[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    near(seen(track, flame)[track.valid], expected[track.valid])


def test_pixel3dmm(truth, flame, tmp_path):
    size, fl, pp = 512, 2.1, np.array([0.02, -0.01])
    R, t = rotation(np.array([0.1, 0.3, -0.1])), np.array([0.01, 0.02, 0.03])
    base_R, base_t = rotation(np.array([0.02, -0.05, 0.01])), np.array([0.0, 0.01, -0.8])
    for k in range(FRAMES):
        frame = {
            "flame": {
                "exp": np.pad(truth.expression[k], (0, 50))[None],
                "shape": np.pad(truth.betas[k], (0, 200))[None],
                "eyes": np.concatenate([sixd(rotation(truth.poses[n][k])) for n in ("leye_pose", "reye_pose")])[None],
                "eyelids": np.zeros((1, 2)),
                "jaw": sixd(rotation(truth.poses["jaw_pose"][k]))[None],
                "neck": sixd(rotation(truth.poses["neck_pose"][k]))[None],
                "R": sixd(R)[None],
                "R_rotation_matrix": R[None],
                "t": t[None],
            },
            "camera": {"R_base_0": base_R[None], "t_base_0": base_t[None], "fl": np.array([[fl]]), "pp": pp[None]},
            "img_size": np.array([size, size]),
            "frame_id": k,
            "global_step": 0,
            "joint_transforms": np.zeros((1, 5, 4, 4)),
        }
        torch.save(frame, tmp_path / f"{k:05d}.frame")
    (track,) = codes.read(tmp_path)
    assert track.codes.model == "flame"
    mesh = truth.mesh(flame, global_orient=np.zeros((FRAMES, 3)))
    camera = (mesh @ R.T + t) @ base_R.T + base_t
    # The tracker's own steps: intrinsics with a mirrored centre, both axes negated, x mirrored back.
    K = np.array([[fl * size, 0, 0], [0, fl * size, 0], [0, 0, 1]])
    K[:2, 2] = size / 2 + 0.5 + pp * (size / 2 + 0.5)
    K[0, 2] = size - K[0, 2]
    screen = -((camera / -camera[..., 2:]) @ K.T)[..., :2]
    screen[..., 0] = size - 1 - screen[..., 0]
    near(seen(track, flame), screen)


class Foreign:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_frame_with_foreign_classes(tmp_path, capsys):
    torch.save({"flame": {"exp": np.zeros(3)}, "opencv": Foreign()}, tmp_path / "00000.frame")
    with pytest.raises(InputError, match=r"00000\.frame.*builtins\.print") as raised:
        codes.read(tmp_path)
    assert "\n" not in str(raised.value) and "never run" not in capsys.readouterr().out


# ------------------------------------------------------------------ the other trackers


def test_flame_head_tracker(truth, flame, tmp_path):
    yaw, pitch, roll, place, fov = 0.2, -0.1, 0.05, np.array([0.03, -0.02, 1.0]), 20.0
    turn = rotation(np.array([0, 0, roll])) @ rotation(np.array([0, yaw, 0])) @ rotation(np.array([pitch, 0, 0]))
    f = 0.5 * 256 / np.tan(np.radians(fov) / 2)
    K = np.array([[f, 0, 128.0], [0, f, 128.0], [0, 0, 1]])
    for k in (0, 1, 3):
        np.savez_compressed(
            tmp_path / f"{k}.npz",
            shape=np.pad(truth.betas[k], (0, 200))[None], exp=np.pad(truth.expression[k], (0, 50))[None],
            head_pose=np.zeros((1, 3)), jaw_pose=truth.poses["jaw_pose"][k : k + 1],
            neck_pose=truth.poses["neck_pose"][k : k + 1],
            eye_pose=np.concatenate([truth.poses["leye_pose"][k], truth.poses["reye_pose"][k]])[None],
            tex=np.zeros((1, 50)), light=np.zeros((1, 9, 3)), cam=np.r_[yaw, pitch, roll, place][None],
            fov=np.array([fov]), K=K[None], img=np.zeros((1, 8, 8, 3), np.uint8), lmks_68=np.zeros((1, 68, 2)),
        )  # fmt: skip
    (track,) = codes.read(tmp_path)
    assert track.valid.tolist() == [True, True, False, True]
    mesh = truth.mesh(flame, global_orient=np.zeros((FRAMES, 3)))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, place
    pose[:, 1:3] *= -1  # its axes: the camera's y and z are turned over
    view = np.linalg.inv(pose)
    camera = mesh @ view[:3, :3].T + view[:3, 3]
    ndc = camera[..., :2] / camera[..., 2:] * 2 * f / 256
    near(seen(track, flame)[track.valid], ((ndc / 2 + 0.5) * 256 - 0.5)[track.valid])


def test_gagavatar(truth, flame, tmp_path):
    R, T = rotation(np.array([0.1, 3.0, 0.2])), np.array([0.1, 0.2, 12.0])
    entries = {}
    for k in (0, 2, 3):
        entries[f"clip_{k}"] = {
            "bbox": np.array([0.1, 0.1, 0.9, 0.9]),
            "shapecode": np.pad(truth.betas[k], (0, 200)).astype(np.float32),
            "expcode": np.pad(truth.expression[k], (0, 50)).astype(np.float32),
            "posecode": np.r_[np.zeros(3), truth.poses["jaw_pose"][k]].astype(np.float32),
            "eyecode": np.r_[truth.poses["leye_pose"][k], truth.poses["reye_pose"][k]].astype(np.float32),
            "transform_matrix": np.c_[R, T].astype(np.float32),
        }
    (tmp_path / "optim.pkl").write_bytes(pickle.dumps(entries))
    (track,) = codes.read(tmp_path / "optim.pkl")
    assert track.valid.tolist() == [True, False, True, True]
    zero = np.zeros((FRAMES, 3))
    view = 5 * truth.mesh(flame, global_orient=zero, neck_pose=zero) @ R + T  # rows times matrices, x left, y up
    edge = 256 - 12.0 * 256 * view[..., :2] / view[..., 2:]
    near(seen(track, flame)[track.valid], (edge - 0.5)[track.valid])


def test_emica_with_its_crops(truth, flame, tmp_path):
    from made_codes import write_bboxes

    results = tmp_path / "video" / "results" / "EMICA"
    for k in range(FRAMES):
        folder = results / f"{k + 1:06d}_000"
        folder.mkdir(parents=True)
        for name, value in {
            "shape": np.pad(truth.betas[k], (0, 200)), "exp": np.pad(truth.expression[k], (0, 50)),
            "jawpose": truth.poses["jaw_pose"][k], "globalpose": truth.poses["global_orient"][k],
            "cam": CAMERAS[k], "tex": np.zeros(50), "lightcode": np.zeros((9, 3)),
        }.items():  # fmt: skip
            np.save(folder / f"{name}.npy", value.astype(np.float32))
    write_bboxes(tmp_path / "video" / "detections" / "bboxes.pkl", [[tuple(crop)] for crop in CROPS])
    (track,) = codes.read(tmp_path / "video")
    assert track.format == "EMICA folder" and track.values["betas"].shape == (FRAMES, 300)
    K = np.tile([[1e8, 0, 319.5], [0, 1e8, 239.5], [0, 0, 1]], (FRAMES, 1, 1))
    near(seen(placed(track, K), flame), deca_pixels(deca_mesh(truth, flame)))


def test_smirk(truth, tmp_path):
    arrays = {
        "pose_params": truth.poses["global_orient"], "cam": CAMERAS, "jaw_params": truth.poses["jaw_pose"],
        "shape_params": np.pad(truth.betas, ((0, 0), (0, 200))), "expression_params": truth.expression,
        "eyelid_params": np.full((FRAMES, 2), 0.3),
    }  # fmt: skip
    torch.save({name: torch.from_numpy(value) for name, value in arrays.items()}, tmp_path / "smirk.pt")
    np.savez(tmp_path / "smirk.npz", **arrays)
    for name in ("smirk.pt", "smirk.npz"):
        (track,) = codes.read(tmp_path / name)
        np.testing.assert_allclose(track.values["jaw_pose"], truth.poses["jaw_pose"])
        assert track.values["betas"].shape == (FRAMES, 300) and track.extras["eyelids"].shape == (FRAMES, 2)
        assert "eyelid" in track.notes[0]


def test_smirk_with_its_crop(truth, flame, tmp_path):
    """As DECA's camera, where the file says which square its network saw."""
    arrays = {
        "pose_params": truth.poses["global_orient"], "cam": CAMERAS, "jaw_params": truth.poses["jaw_pose"],
        "shape_params": np.pad(truth.betas, ((0, 0), (0, 200))), "expression_params": truth.expression,
    }  # fmt: skip
    np.savez(tmp_path / "tform.npz", **arrays, tform=np.stack([tform(k) for k in range(FRAMES)]))
    np.savez(tmp_path / "crop.npz", **arrays, crop=CROPS)
    K = np.tile([[1e8, 0, 319.5], [0, 1e8, 239.5], [0, 0, 1]], (FRAMES, 1, 1))
    for name in ("tform.npz", "crop.npz"):
        (track,) = codes.read(tmp_path / name)
        near(seen(placed(track, K), flame), deca_pixels(deca_mesh(truth, flame)))


def test_mica(tmp_path):
    identity = np.random.default_rng(0).normal(size=300).astype(np.float32)
    np.save(tmp_path / "identity.npy", identity)
    for path in (tmp_path, tmp_path / "identity.npy"):
        (track,) = codes.read(path)
        assert track.match == "every"
        np.testing.assert_array_equal(track.values["betas"][0].astype(np.float32), identity)


def test_track_params(tmp_path):
    euler = np.array([[0.1, -0.2, 0.05], [0.3, 0.2, -0.1]])
    torch.save(
        {"id": torch.zeros(1, 100), "exp": torch.zeros(2, 79), "euler": torch.tensor(euler).float(),
         "trans": torch.tensor([[0.0, 0.1, -7.0]] * 2), "focal": torch.tensor([1200.0])},
        tmp_path / "track_params.pt",
    )  # fmt: skip
    (track,) = codes.read(tmp_path, CodesOptions(image_size=(512, 512)))
    for k, (theta, phi, psi) in enumerate(euler):
        x, y, z = np.eye(3)
        expected = rotation(-theta * x) @ rotation(-phi * y) @ rotation(psi * z)
        np.testing.assert_allclose(rotation(track.values["global_orient"][k]), expected, atol=1e-6)
    assert set(track.values) == {"global_orient"} and "Basel" in track.notes[0]
    assert track.codes.K[0].tolist() == [[1200, 0, 255.5], [0, 1200, 255.5], [0, 0, 1]]  # 256 from the edge


# ------------------------------------------------------------------ flame_params.npy


def test_flame_params_in_both_orders(truth, tmp_path):
    head, jaw = truth.poses["global_orient"] * 3, np.abs(truth.poses["jaw_pose"]) * [2, 0.05, 0.05] + [0.1, 0, 0]
    np.save(tmp_path / "a.npy", np.concatenate([truth.expression, head, jaw], axis=1))
    np.save(tmp_path / "b.npy", np.concatenate([truth.expression, jaw, head], axis=1))
    (first,) = codes.read(tmp_path / "a.npy")
    np.testing.assert_allclose(first.values["jaw_pose"], jaw)
    assert first.codes.model == "flame" and "no sidecar" in first.notes[0]
    with pytest.raises(InputError, match="--order"):
        codes.read(tmp_path / "b.npy")
    (second,) = codes.read(tmp_path / "b.npy", CodesOptions(order="expression,jaw,global", model="flame2020"))
    np.testing.assert_allclose(second.values["jaw_pose"], jaw)
    np.testing.assert_allclose(second.values["global_orient"], head)
    assert second.codes.model == "flame2020"


def test_flame_params_with_a_sidecar(truth, tmp_path):
    packed = np.concatenate([truth.poses["jaw_pose"], truth.expression, truth.poses["global_orient"]], axis=1)
    np.save(tmp_path / "x.npy", packed)
    order = [{"name": "jaw", "columns": [0, 3]}, {"name": "expression", "columns": [3, 53]},
             {"name": "global_rotation", "columns": [53, 56]}]  # fmt: skip
    content = {"order": order, "model": "flame2023", "valid": [True, False, True, True], "shape": [FRAMES, 56]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    (track,) = codes.read(tmp_path / "x.npy")
    np.testing.assert_allclose(track.values["jaw_pose"], truth.poses["jaw_pose"])
    assert track.codes.model == "flame2023" and track.valid.tolist() == content["valid"]
    (tmp_path / "x.json").write_text(json.dumps({**content, "shape": [7, 56]}))
    with pytest.raises(InputError, match="older"):
        codes.read(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("flame_params.npy", np.zeros((5, 55)), "(frames, 56)"),
        ("flame_params.npy", np.full((5, 56), np.nan), "row 0 is not finite"),
        ("codes.npz", {"shape": np.zeros((2, 100)), "exp": np.zeros((2, 49)), "pose": np.zeros((2, 6))}, "exp: 50"),
        ("codes.npz", {"shape": np.zeros((2, 100)), "exp": np.zeros((3, 50)), "pose": np.zeros((3, 6))}, "3 rows"),
        ("other.npz", {"apples": np.zeros(3)}, "no reader"),
    ],
)
def test_wrong_numbers_get_one_line(tmp_path, name, content, says):
    path = tmp_path / name
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    with pytest.raises(InputError) as raised:
        codes.read(path)
    assert says in str(raised.value) and "\n" not in str(raised.value) and name in str(raised.value)


def test_a_table_of_another_tool(tmp_path, capsys):
    (tmp_path / "table.csv").write_text("time,temperature\n1,20\n")
    np.savez(tmp_path / "codes.npz", shape=np.zeros((1, 100)), exp=np.zeros((1, 50)), pose=np.zeros((1, 6)))
    with pytest.raises(InputError, match=r"table\.csv: no reader knows these codes"):
        codes.read(tmp_path / "table.csv")
    assert main(["--config", "fit_flame.yaml", "--input", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 3
    text = capsys.readouterr().err
    assert "table.csv" in text and text.count("\n") == 1


def test_gaps_are_filled_and_marked(truth, tmp_path):
    entries = {
        str(n): {"shape": [truth.betas[0].tolist()], "exp": [[float(n)] * 50], "pose": [[0.1 * n] * 6]} for n in (2, 5)
    }
    (tmp_path / "code.json").write_text(json.dumps(entries))
    track = filled(codes.read(tmp_path / "code.json")[0])
    assert track.source == ("held", "fitted", "interpolated", "interpolated", "fitted")
    np.testing.assert_allclose(track.values["expression"][:, 0], [2, 2, 3, 4, 5])
