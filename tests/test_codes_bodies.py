"""Readers of bodies' codes against files made from the formats' descriptions; cameras by projection to 0.01 px."""

import io
import json
import pickle
import zlib

import numpy as np
import pytest
import torch
from made_clips import FLOAT64
from made_codes import rotation
from made_smpl import smpl_arrays, write_npz, write_pkl

from fitting import bodies, codes
from fitting.codes import CodesOptions
from fitting.codes.frames import Frame, stack
from fitting.track import Track, parameters_of
from fitting.types import InputError
from fitting.worlds import placed, settled, with_fingers

FRAMES, WIDTH, HEIGHT = 3, 640, 480
SMPLX = {"global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15, "jaw_pose": 1,
         "leye_pose": 1, "reye_pose": 1}  # fmt: skip
PLACE = np.array([[0.1, 0.2, 4.0], [0.0, -0.1, 5.0], [-0.3, 0.1, 3.5]])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for family, name in (("smplx", "smplx/SMPLX_NEUTRAL.npz"), ("smpl", "smpl/SMPL_NEUTRAL.pkl")):
        (folder / name).parent.mkdir()
        (write_npz if name.endswith("npz") else write_pkl)(folder / name, smpl_arrays(family))
    return folder


@pytest.fixture(scope="module")
def smplx(shelf):
    return bodies.load("smplx", folder=shelf, flat_hand_mean=True).to(FLOAT64)


@pytest.fixture(scope="module")
def smpl(shelf):
    return bodies.load("smpl", folder=shelf).to(FLOAT64)


def made(family: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of FRAMES bodies, all different from zero, in whatever frame."""
    rng = np.random.default_rng(seed)
    blocks = SMPLX if family == "smplx" else {"global_orient": 1, "body_pose": 23}
    values = {name: rng.normal(0, 0.2, (FRAMES, 3 * joints)) for name, joints in blocks.items()}
    values["betas"] = rng.normal(0, 1, (FRAMES, 10))
    if family == "smplx":
        values["expression"] = rng.normal(0, 1, (FRAMES, 10))
    return values


def mesh(body, values: dict[str, np.ndarray]) -> np.ndarray:
    """(frames, V, 3) by the family's own forward pass: hands are whole rotations, the root turns about the pelvis."""
    frames = [Frame({n: v[k] for n, v in values.items()}) for k in range(len(values["betas"]))]
    track = stack(frames, [str(k) for k in range(len(frames))], body.name, "made")
    with torch.no_grad():
        return body.pose(parameters_of(body, track, slice(0, len(track)))).points[:, 0].numpy()


def with_mean_hands(body, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What flat_hand_mean False makes of hands: the mean is added."""
    mean = body.hands.mean.numpy()
    hands = {f"{side}_hand_pose": values[f"{side}_hand_pose"] + mean[k] for k, side in enumerate(("left", "right"))}
    return {**values, **hands}


def opencv_pixels(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    K = np.broadcast_to(K, (len(points), 3, 3))[:, None]
    return np.stack([K[..., 0, 0] * x / z + K[..., 0, 2], K[..., 1, 1] * y / z + K[..., 1, 2]], axis=-1)


def seen(track: Track, body) -> np.ndarray:
    """Pixels of the mesh as Keyfit draws it."""
    track = with_fingers(settled(track, body), body)
    return opencv_pixels(mesh(body, dict(track.values)) * [1, -1, -1], track.codes.K)


def near(a: np.ndarray, b: np.ndarray) -> None:
    assert np.isfinite(a).all() and np.abs(a - b).max() < 0.01, np.abs(a - b).max()


def matrices(rows: np.ndarray) -> np.ndarray:
    return np.array([[rotation(v) for v in row.reshape(-1, 3)] for row in rows])


def K_of(focal: float, cx: float = (WIDTH - 1) / 2, cy: float = (HEIGHT - 1) / 2) -> np.ndarray:
    """The middle of a picture is (width / 2, height / 2) from its edge, where its sources begin to count."""
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])


# ------------------------------------------------------------------ SMPLify-X


def write_smplifyx(folder, values: dict[str, np.ndarray], **changes) -> None:
    for k in range(FRAMES):
        (folder / "results" / f"img{k}").mkdir(parents=True)
        content = {n: v[k : k + 1].astype(np.float32) for n, v in {**values, **changes}.items()}
        content |= {"camera_rotation": np.eye(3)[None], "camera_translation": PLACE[k : k + 1]}
        (folder / "results" / f"img{k}" / "000.pkl").write_bytes(pickle.dumps(content, 2))


def test_smplifyx_with_hand_components(smplx, tmp_path):
    values = made("smplx")
    rng = np.random.default_rng(3)
    coefficients = {f"{side}_hand_pose": rng.normal(0, 1, (FRAMES, 12)) for side in ("left", "right")}
    write_smplifyx(tmp_path, values, **coefficients)
    (track,) = codes.read(tmp_path, CodesOptions(image_size=(WIDTH, HEIGHT)))
    assert track.codes.model == "smplx" and track.names == ("img0", "img1", "img2") and track.hands_from_mean
    hands = {name: c @ smplx.hands.components[k, :12].numpy() for k, (name, c) in enumerate(coefficients.items())}
    whole = mesh(smplx, with_mean_hands(smplx, {**values, **hands}))
    near(seen(track, smplx), opencv_pixels(whole + PLACE[:, None], K_of(5000)))


def test_smplifyx_of_smpl(smpl, tmp_path):
    values = made("smpl")
    write_smplifyx(tmp_path, values)
    (track,) = codes.read(tmp_path / "results", CodesOptions(image_size=(WIDTH, HEIGHT), focal=1200.0))
    assert track.codes.model == "smpl" and track.values["body_pose"].shape == (FRAMES, 69)
    near(seen(track, smpl), opencv_pixels(mesh(smpl, values) + PLACE[:, None], K_of(1200)))


def test_smplifyx_with_vposer_s_code(tmp_path):
    write_smplifyx(tmp_path, made("smplx"), body_pose=np.ones((FRAMES, 32)))
    (track,) = codes.read(tmp_path)
    assert track.values["pose_embedding"].shape == (FRAMES, 32) and "--vposer" in track.notes[0]
    assert "body_pose" not in track.values and track.codes.K is None


def test_smplifyx_with_another_size(tmp_path):
    write_smplifyx(tmp_path, made("smplx"), body_pose=np.ones((FRAMES, 60)))
    with pytest.raises(InputError, match=r"000\.pkl: body_pose: 63 or 69 numbers"):
        codes.read(tmp_path)


# ------------------------------------------------------------------ PHALP, HMR2


class JoblibPickler(pickle._Pickler):
    """As joblib writes: where an array stands, a NumpyArrayWrapper, and after it one byte that says how much padding
    follows, the padding to 16, and the array's bytes."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=4)
        self.stream = stream

    def save(self, value, save_persistent_id=True):
        if type(value) is not np.ndarray:
            return super().save(value, save_persistent_id)
        wrapper = Wrapper()
        wrapper.__dict__ = {"subclass": np.ndarray, "shape": value.shape, "order": "C", "dtype": value.dtype,
                            "allow_mmap": True, "numpy_array_alignment_bytes": 16}  # fmt: skip
        super().save(wrapper, save_persistent_id)
        self.framer.commit_frame(force=True)
        padding = 16 - (self.stream.tell() + 1) % 16
        self.stream.write(bytes([padding]) + b"\xff" * padding + value.tobytes())


class Wrapper:
    """Named NumpyArrayWrapper of joblib.numpy_pickle in the file."""

    __module__, __qualname__ = "joblib.numpy_pickle", "NumpyArrayWrapper"


def joblib_bytes(value, monkeypatch) -> bytes:
    import sys
    import types

    module = types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = Wrapper
    monkeypatch.setitem(sys.modules, "joblib", types.ModuleType("joblib"))
    monkeypatch.setitem(sys.modules, "joblib.numpy_pickle", module)
    stream = io.BytesIO()
    JoblibPickler(stream).dump(value)
    return stream.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
def test_phalp(smpl, tmp_path, monkeypatch, compressed):
    values = made("smpl")
    root, pose = matrices(values["global_orient"]), matrices(values["body_pose"])
    entries = {}
    for k in range(FRAMES):
        one = {"betas": values["betas"][k], "body_pose": pose[k], "global_orient": root[k]}
        ghost = {**one, "betas": np.zeros(10)}
        entries[f"_DEMO/v/img/{k + 1:06d}.jpg"] = {
            "smpl": [ghost, one], "camera": [np.zeros(3), PLACE[k] * 10], "tid": [7, 3],
            "tracked_time": [0 if k == 1 else 2, 0], "size": [[HEIGHT, WIDTH], [HEIGHT, WIDTH]],
            "tracked_ids": [3], "time": k, "shot": 0, "mask": [{"size": [1, 1], "counts": b"x"}],
        }  # fmt: skip
    content = joblib_bytes(entries, monkeypatch)
    (tmp_path / "demo.pkl").write_bytes(zlib.compress(content, 3) if compressed else content)
    (track,) = codes.read(tmp_path / "demo.pkl")  # 7 is there once, which is no track
    assert track.codes.model == "smpl" and track.names == ("000001", "000002", "000003") and track.valid.all()
    near(seen(track, smpl), opencv_pixels(mesh(smpl, values) + 10 * PLACE[:, None], K_of(5000 * WIDTH / 256)))


def test_hmr2(smpl, tmp_path):
    values = made("smpl")
    smpl_params = {name: matrices(values[name]) for name in ("global_orient", "body_pose")} | {"betas": values["betas"]}
    content = {
        "pred_smpl_params": {name: torch.from_numpy(v) for name, v in smpl_params.items()},
        "pred_cam_t_full": torch.from_numpy(PLACE * 10),
    }
    torch.save(content, tmp_path / "hmr2.pt")
    (track,) = codes.read(tmp_path / "hmr2.pt", CodesOptions(image_size=(WIDTH, HEIGHT)))
    near(seen(track, smpl), opencv_pixels(mesh(smpl, values) + 10 * PLACE[:, None], K_of(5000 * WIDTH / 256)))


# ------------------------------------------------------------------ SMPLer-X, PIXIE, ExPose


def test_smplerx(smplx, tmp_path):
    values = made("smplx")
    for folder in ("smplx", "meta"):
        (tmp_path / folder).mkdir()
    for k in (0, 2):
        content = {n: v[k].reshape(-1, 3) if n in SMPLX else v[k : k + 1] for n, v in values.items()}
        np.savez(tmp_path / "smplx" / f"{k + 1:05d}_0.npz", **content, transl=PLACE[k : k + 1])
        meta = {"focal": [5000 / 192 * 80, 5000 / 256 * 110], "princpt": [300.0 + k, 200.0], "bbox": [1, 2, 3, 4]}
        (tmp_path / "meta" / f"{k + 1:05d}_0.json").write_text(json.dumps(meta))
    (track,) = codes.read(tmp_path)
    assert track.valid.tolist() == [True, False, True] and track.match == "number"
    K = np.stack([[[5000 / 192 * 80, 0, 300.0 + k], [0, 5000 / 256 * 110, 200], [0, 0, 1]] for k in range(FRAMES)])
    expected = opencv_pixels(mesh(smplx, with_mean_hands(smplx, values)) + PLACE[:, None], K)
    near(seen(track, smplx)[[0, 2]], expected[[0, 2]])


def test_pixie(smplx, tmp_path):
    values = made("smplx")
    for k in range(FRAMES):
        content = {
            "shape": np.pad(values["betas"][k], (0, 190)), "exp": np.pad(values["expression"][k], (0, 40)),
            "global_pose": matrices(values["global_orient"])[k], "partbody_pose": np.zeros((17, 3, 3)),
            **{n: matrices(values[n])[k] for n in ("body_pose", "jaw_pose", "left_hand_pose", "right_hand_pose")},
            "body_cam": np.array([5.0, 0, 0]), "tex": np.zeros(50), "light": np.zeros((9, 3)),
        }  # fmt: skip
        (tmp_path / f"img{k}").mkdir()
        (tmp_path / f"img{k}" / f"img{k}_param.pkl").write_bytes(pickle.dumps(content, 2))
    (track,) = codes.read(tmp_path)
    track = settled(track, smplx)
    assert track.names == ("img0", "img1", "img2") and track.values["betas"].shape == (FRAMES, 200)
    assert "transl" not in track.values and not track.hands_from_mean
    flip = np.diag([1.0, -1, -1])  # the crop's camera has y down
    for k in range(FRAMES):
        np.testing.assert_allclose(
            rotation(track.values["global_orient"][k]), flip @ rotation(values["global_orient"][k]), atol=1e-6
        )
    np.testing.assert_allclose(matrices(track.values["body_pose"]), matrices(values["body_pose"]), atol=1e-6)


def test_expose(smplx, tmp_path):
    values = made("smplx")
    for k in range(FRAMES):
        content = {n: matrices(v)[k] for n, v in values.items() if n in SMPLX and "eye" not in n}
        np.savez_compressed(
            tmp_path / f"img{k}.jpg_params.npz", **content, betas=values["betas"][k],
            expression=values["expression"][k], transl=PLACE[k] * 10, focal_length_in_px=5000.0,
            focal_length_in_mm=1.0, center=[300.0, 250.0], shift_x=0.0, shift_y=0.0, sensor_width=36,
            fname=f"img{k}.jpg", vertices=np.zeros((2, 3)),
        )  # fmt: skip
    (track,) = codes.read(tmp_path)
    assert track.names == ("img0", "img1", "img2")
    no_eyes = {n: v for n, v in values.items() if "eye" not in n}
    near(seen(track, smplx), opencv_pixels(mesh(smplx, no_eyes) + 10 * PLACE[:, None], K_of(5000, 300, 250)))


# ------------------------------------------------------------------ EasyMocap, SPIN, HumanData


def test_easymocap_turns_about_the_origin(smplx, tmp_path):
    values = made("smplx")
    turn = np.random.default_rng(5).normal(0, 1, (FRAMES, 3))
    few = {
        f"{side}_hand_pose": np.random.default_rng(k).normal(0, 1, (FRAMES, 6))
        for k, side in enumerate(("left", "right"))
    }
    face = [values[name] for name in ("jaw_pose", "leye_pose", "reye_pose")]
    poses = np.concatenate([np.zeros((FRAMES, 3)), values["body_pose"], *few.values(), *face], axis=1)
    for k in range(FRAMES):
        person = {"id": 0, "Rh": [turn[k].tolist()], "Th": [PLACE[k].tolist()],
                  "poses": [poses[k].tolist()],
                  "expression": [values["expression"][k].tolist()], 
                  "shapes": [values["betas"][k].tolist()]}  # fmt: skip
        (tmp_path / f"{k:06d}.json").write_text(json.dumps([person]))
    (track,) = codes.read(tmp_path)
    assert track.codes.model == "smplx" and track.valid.all()
    hands = {name: c @ smplx.hands.components[k, :6].numpy() for k, (name, c) in enumerate(few.items())}
    rest = with_mean_hands(smplx, {**values, **hands, "global_orient": np.zeros((FRAMES, 3))})
    points = np.einsum("fij,fvj->fvi", np.stack([rotation(v) for v in turn]), mesh(smplx, rest)) + PLACE[:, None]
    moved = with_fingers(settled(track, smplx), smplx)
    np.testing.assert_allclose(mesh(smplx, dict(moved.values)) * [1, -1, -1], points, atol=1e-6)


def test_spin(smpl, tmp_path):
    values = made("smpl")
    pose = np.concatenate([values["global_orient"], values["body_pose"]], axis=1)
    np.save(tmp_path / "fits.npy", np.concatenate([pose, values["betas"]], axis=1))
    np.savez(tmp_path / "set.npz", pose=pose, shape=values["betas"], has_smpl=[1, 0, 1], center=np.zeros((3, 2)),
             imgname=["a/1.jpg", "a/2.jpg", "a/3.jpg"], scale=np.ones(3), gender=["m"] * 3)  # fmt: skip
    for name, valid in (("fits.npy", [True] * 3), ("set.npz", [True, False, True])):
        (track,) = codes.read(tmp_path / name)
        assert track.codes.model == "smpl" and track.valid.tolist() == valid
        track = settled(track, smpl)
        assert "transl" not in track.values
        flip = np.diag([1.0, -1, -1])
        expected = flip @ rotation(values["global_orient"][0])
        np.testing.assert_allclose(rotation(track.values["global_orient"][0]), expected, atol=1e-6)
        np.testing.assert_allclose(track.values["body_pose"], values["body_pose"])


def test_eft(smpl, tmp_path):
    """Weak perspective in a box; two people in the first picture."""
    values, rng = made("smpl"), np.random.default_rng(1)
    cam = np.array([[0.9, 0.05, 0.1], [0.8, -0.1, 0.2], [1.1, 0.0, -0.1]])
    centre, scale = rng.uniform(100, 300, (FRAMES, 2)), np.array([1.3, 0.9, 2.0])
    whole = np.concatenate([values["global_orient"], values["body_pose"]], axis=1)
    entries = [
        {"parm_pose": matrices(whole)[k].tolist(), "parm_shape": values["betas"][k].tolist(),
         "parm_cam": cam[k].tolist(), "bbox_scale": scale[k], "bbox_center": centre[k].tolist(), "smpltype": "smpl",
         "annotId": [k], "imageName": f"COCO_{k}.jpg", "joint_validity_openpose18": [1] * 18}
        for k in (0, 1, 2, 0)
    ]  # fmt: skip
    (tmp_path / "COCO2014-Part-ver01.json").write_text(json.dumps({"ver": 0.1, "data": entries}))
    first, second = codes.read(tmp_path / "COCO2014-Part-ver01.json")
    assert first.codes.model == "smpl" and first.names == ("COCO_0", "COCO_1", "COCO_2")
    assert first.valid.all() and second.valid.tolist() == [True, False, False] and second.person == "001"
    mesh_of = mesh(smpl, values)
    crop = 224 / 2 * (cam[:, None, :1] * (mesh_of[..., :2] + cam[:, None, 1:]) + 1)  # its own picture of 224 pixels
    expected = crop * (200 * scale / 224)[:, None, None] + (centre - 100 * scale[:, None])[:, None]
    K = np.tile(K_of(1e8), (FRAMES, 1, 1))  # a lens that sees no perspective
    near(seen(placed(first, K), smpl), expected)


@pytest.mark.parametrize("columns", [156, 165])
def test_amass(smplx, tmp_path, columns):
    values = made("smplx")
    names = ["global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose", "right_hand_pose"]
    kept = [name for name in names if columns == 165 or "jaw" not in name and "eye" not in name]
    poses = np.concatenate([values[name] for name in kept], axis=1)
    extra = {"surface_model_type": "smplx"} if columns == 165 else {}
    np.savez(tmp_path / "poses.npz", poses=poses, trans=PLACE, betas=values["betas"][0], gender="male",
             mocap_framerate=np.array(120.0), dmpls=np.zeros((FRAMES, 8)), **extra)  # fmt: skip
    (track,) = codes.read(tmp_path / "poses.npz")
    assert track.codes.model == ("smplx" if columns == 165 else "smplh") and track.fps == 120 and not track.has_camera
    rows = {name: values[name] for name in kept} | {"betas": np.tile(values["betas"][0], (FRAMES, 1))}
    x, y, z = np.moveaxis(mesh(smplx, rows) + PLACE[:, None], -1, 0)  # z up
    found = mesh(smplx, dict(settled(track, smplx).values))
    np.testing.assert_allclose(found, np.stack([x, z, -y], axis=-1), atol=1e-6)


@pytest.mark.parametrize("flat", [True, False])
def test_humandata(smplx, tmp_path, flat):
    values = made("smplx")
    body = {n: v.reshape(FRAMES, -1, 3) if SMPLX.get(n, 1) > 1 else v for n, v in values.items()}
    np.savez_compressed(
        tmp_path / "h.npz", allow_pickle=True, smplx={**body, "transl": PLACE}, image_path=[f"x/{k}.png" for k in
        range(3)], bbox_xywh=np.zeros((3, 5)), keypoints2d=np.zeros((3, 190, 3)), keypoints2d_mask=np.ones(190,
        np.uint8), meta={"height": np.full(3, HEIGHT), "width": np.full(3, WIDTH), "focal_length": np.full((3, 2),
        900.0)}, misc={"flat_hand_mean": flat, "focal_length": 5.0}, config="made",
    )  # fmt: skip
    (track,) = codes.read(tmp_path / "h.npz")
    assert track.codes.model == "smplx" and track.names == ("0", "1", "2")
    whole = values if flat else with_mean_hands(smplx, values)
    near(seen(track, smplx), opencv_pixels(mesh(smplx, whole) + PLACE[:, None], K_of(900)))


def test_several_people_of_one_picture(tmp_path):
    """Entries whose picture comes again are other people; pictures of the same name in other folders are others."""
    pose = np.zeros((5, 72))
    pose[:, 0] = np.arange(5)
    names = ["a/1.jpg", "a/1.jpg", "a/2.jpg", "b/1.jpg", "a/1.jpg"]
    np.savez(tmp_path / "set.npz", pose=pose, shape=np.zeros((5, 10)), imgname=names)
    body = {"body_pose": np.zeros((5, 69)), "global_orient": pose[:, :3], "betas": np.zeros((5, 10))}
    np.savez(tmp_path / "human.npz", smpl=body, image_path=names)
    for file in ("set.npz", "human.npz"):
        first, second, third = codes.read(tmp_path / file)
        assert first.names == ("1", "2", "1") and [t.person for t in (first, second, third)] == ["000", "001", "002"]
        assert first.values["global_orient"][:, 0].tolist() == [0, 2, 3] and first.valid.all()
        assert second.values["global_orient"][0, 0] == 1 and second.valid.tolist() == [True, False, False]
        assert third.values["global_orient"][0, 0] == 4


def test_a_humandata_with_code_in_it(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("never",))

    np.savez(tmp_path / "h.npz", smplx={"body_pose": Hostile()}, image_path=["a"])
    with pytest.raises(InputError, match=r"h\.npz.*builtins\.print"):
        codes.read(tmp_path / "h.npz")
