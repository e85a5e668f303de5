"""Bodies started from regressors' files, end to end: codes that are right land on their keypoints at once, shaky ones
come nearer; with VPoser's code on either side, on a file of SMPL-X's form and on the open body.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_clips import FLOAT64
from made_smpl import smpl_arrays, write_npz, write_pkl
from PIL import Image
from test_codes_bodies import K_of, matrices, opencv_pixels
from test_smplifyx_yaml import THEIRS
from torch import nn

from fitting import bodies
from fitting.bodies.vposer import read_vposer
from fitting.cli import main
from fitting.coded_pose import encoded
from fitting.layouts import OPENPOSE137
from fitting.track import Track, parameters_of
from fitting.types import Codes

FRAMES, SIZE, FOCAL = 3, (640, 480), 900.0
PLACE = np.array([[0.1, 0.3, 4.0], [-0.2, 0.2, 4.5], [0.3, 0.25, 3.8]])
FLIP = np.diag([1.0, -1.0, -1.0])
RECIPE = ["--config", "cfg_files/refine_smplx.yaml", "--outputs", "params", "--quiet", "--error_bars", "false"]
QUICK = ["--stages", "[{name: all, free: [rotation, translation, body_pose], iterations: 3}]"]
RECIPE += ["--read.image_size", str(list(SIZE)), "--read.sequence", "photos", "--detector.max_persons", "1"]


def write_vposer(folder: Path) -> Path:
    """Version 1's form; a code of 0 is the T-pose."""
    torch.manual_seed(3)
    net = nn.Module()
    for name, sizes in {"fc1": (32, 512), "fc2": (512, 512), "out": (512, 126)}.items():
        setattr(net, f"bodyprior_dec_{name}", nn.Linear(*sizes))
    with torch.no_grad():
        net.bodyprior_dec_out.bias.copy_(torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(21))
    (folder / "snapshots").mkdir(parents=True)
    torch.save(net.state_dict(), folder / "snapshots" / "TR00_E096.pt")
    return folder


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_npz(folder / "smplx" / "SMPLX_NEUTRAL.npz", smpl_arrays("smplx"))
    write_pkl(folder / "smpl" / "SMPL_NEUTRAL.pkl", smpl_arrays("smpl"))
    write_vposer(folder / "vposer_v1_0")
    return folder


@pytest.fixture(scope="module")
def vposer(shelf):
    return read_vposer(shelf / "vposer_v1_0")


def latents(scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(8).normal(0, 1, (FRAMES, 32)).astype(np.float32)


def poses(vposer, z: np.ndarray) -> np.ndarray:
    """What the codes decode to, axis-angle (frames, 63)."""
    import roma

    return roma.rotmat_to_rotvec(vposer.decode(torch.as_tensor(z)).double()).flatten(1).numpy()


def write_keypoints(folder: Path, pixels: np.ndarray, names: list[str]) -> Path:
    """OpenPose's files: BODY_25 and both hands, points that are there with confidence 1."""
    folder.mkdir()
    parts = {"pose_keypoints_2d": (0, 25), "hand_left_keypoints_2d": (25, 46), "hand_right_keypoints_2d": (46, 67)}
    for k, name in enumerate(names):
        seen = np.isfinite(pixels[k]).all(axis=-1, keepdims=True)
        rows = np.where(seen, np.c_[pixels[k], np.ones(len(seen))], 0.0)
        person = {part: rows[a:b].ravel().tolist() for part, (a, b) in parts.items()}
        (folder / f"{name}_keypoints.json").write_text(json.dumps({"people": [person]}))
    return folder


def keypoints(body, values: dict[str, np.ndarray], place: np.ndarray, K: np.ndarray) -> np.ndarray:
    """OpenPose's points of bodies in the camera's axes, drawn as their source draws them."""
    found = np.full((FRAMES, len(OPENPOSE137), 2), np.nan)
    track = Track(Codes(values, body.name, np.ones(FRAMES, bool)), ("",) * FRAMES, "made")
    embedding = body.embedding_of(OPENPOSE137)
    with torch.no_grad():
        posed = body.restrict(embedding).pose(parameters_of(body, track, slice(0, FRAMES))).points[:, 0].numpy()
    static = len(embedding.points)
    found[:, embedding.points.numpy()] = opencv_pixels(posed[:, :static] + place[:, None], K)
    return found


def made(seed: int = 0) -> dict[str, np.ndarray]:
    """Bodies of SMPL-X in the camera's axes: upright, that is turned over, and turned a little."""
    rng = np.random.default_rng(seed)
    values = {
        "betas": np.tile(rng.normal(0, 0.3, 10), (FRAMES, 1)), "expression": np.zeros((FRAMES, 10)),
        "body_pose": rng.normal(0, 0.1, (FRAMES, 63)), "jaw_pose": np.zeros((FRAMES, 3)),
        "leye_pose": np.zeros((FRAMES, 3)), "reye_pose": np.zeros((FRAMES, 3)),
        "left_hand_pose": rng.normal(0, 0.1, (FRAMES, 45)), "right_hand_pose": rng.normal(0, 0.1, (FRAMES, 45)),
    }  # fmt: skip
    return values | {"global_orient": np.array([[3.0, 0.1 * k, 0.05] for k in range(FRAMES)])}


def write_smplifyx(folder: Path, values: dict[str, np.ndarray], hands: dict[str, np.ndarray]) -> Path:
    for k in range(FRAMES):
        content = {n: v[k : k + 1].astype(np.float32) for n, v in {**values, **hands}.items()}
        content |= {"camera_rotation": np.eye(3)[None], "camera_translation": PLACE[k : k + 1]}
        (folder / "results" / f"img{k}").mkdir(parents=True)
        (folder / "results" / f"img{k}" / "000.pkl").write_bytes(pickle.dumps(content, 2))
    return folder


def errors(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """At the start and at the end, pixels, frame by frame."""
    with np.load(folder / "params.npz") as found:
        return found["start_error_px"], found["error_px"]


# ------------------------------------------------------------------ SMPLify-X


@pytest.fixture(scope="module")
def smplifyx(shelf, vposer, tmp_path_factory):
    """Results with VPoser's code and 12 hand components, and the keypoints they were made of."""
    folder, body = tmp_path_factory.mktemp("smplifyx"), bodies.load("smplx", folder=shelf, flat_hand_mean=True)
    rng, z = np.random.default_rng(1), latents()
    coefficients = {f"{side}_hand_pose": rng.normal(0, 0.3, (FRAMES, 12)) for side in ("left", "right")}
    basis = body.hands.components.double().numpy()
    whole = {n: body.hands.mean[k].numpy() + c @ basis[k, :12] for k, (n, c) in enumerate(coefficients.items())}
    values = {**made(), "body_pose": poses(vposer, z)}
    pixels = keypoints(body.to(FLOAT64), {**values, **whole}, PLACE, K_of(5000.0))
    write_keypoints(folder / "keypoints", pixels, [f"img{k}" for k in range(FRAMES)])
    write_smplifyx(folder / "coded", {**values, "body_pose": z}, coefficients)
    write_smplifyx(folder / "angles", values, coefficients)
    return folder


def fit(smplifyx: Path, shelf: Path, start: str, out: Path, *more: str) -> int:
    words = [*RECIPE, "--input", str(smplifyx / "keypoints"), "--start", str(smplifyx / start), "--output", str(out)]
    return main([*words, "--body.model", "smplx", "--body.folder", str(shelf), *more])


@pytest.mark.parametrize(
    ("start", "decoder", "near"),
    [("coded", True, 0.05), ("angles", False, 0.05), ("angles", True, 1.0), ("components", True, 0.05)],
)
def test_right_codes_land_on_their_keypoints(smplifyx, shelf, tmp_path, start, decoder, near):
    """VPoser's code on VPoser, joints as they are, and joints on VPoser, which finds the code. People here are 2,000
    pixels tall; beliefs about poses move them a little."""
    more = ["--vposer_ckpt", str(shelf / "vposer_v1_0")] if decoder else []
    more += ["--body.hand_pca", "12"] if start == "components" else []
    assert fit(smplifyx, shelf, start.replace("components", "coded"), tmp_path, *more, *QUICK) == 0
    began, ended = errors(tmp_path)
    assert began.max() < near, began
    assert ended.max() < 20
    with np.load(tmp_path / "params.npz") as found:
        assert found["body_pose"].shape == (FRAMES, 63) and found["left_hand_pose"].shape == (FRAMES, 45)
        assert ("pose_embedding" in found) == decoder and found["K"][0, 0, 0] == 5000


def test_vposer_s_code_without_vposer_is_refused(smplifyx, shelf, tmp_path, capsys):
    assert fit(smplifyx, shelf, "coded", tmp_path) == 3
    text = capsys.readouterr().err.splitlines()[-1]
    assert text.startswith("error: SMPLify-X results") and "32 numbers" in text and "--vposer_ckpt" in text


def test_another_vposer_does_not_read_it(smplifyx, shelf, tmp_path):
    """Rotations beside a code that does not decode to them win: it was another VPoser's."""
    other = write_vposer(tmp_path / "other")
    with torch.no_grad():
        file = other / "snapshots" / "TR00_E096.pt"
        weights = torch.load(file, weights_only=True)
        weights["bodyprior_dec_fc1.weight"] = weights["bodyprior_dec_fc1.weight"].flip(1)
        torch.save(weights, file)
    first = ["--vposer_ckpt", str(shelf / "vposer_v1_0"), *QUICK]
    assert fit(smplifyx, shelf, "coded", tmp_path / "first", *first) == 0
    words = [*RECIPE, *QUICK, "--input", str(smplifyx / "keypoints"), "--output", str(tmp_path / "second")]
    words += ["--body.model", "smplx", "--body.folder", str(shelf), "--vposer_ckpt", str(other)]
    assert main([*words, "--start", str(tmp_path / "first" / "params.npz")]) == 0
    assert errors(tmp_path / "second")[0].max() < errors(tmp_path / "first")[1].max() + 5.0


def test_a_fit_with_vposer_is_written_as_joints(smplifyx, shelf, tmp_path):
    """What trainers read has no code in it, whatever moved the joints in the fit."""
    more = ["--vposer_ckpt", str(shelf / "vposer_v1_0"), "--outputs", "params,smplifyx,humandata,amass"]
    assert fit(smplifyx, shelf, "coded", tmp_path, "--body.hand_pca", "12", *more, *QUICK) == 0
    content = pickle.loads((tmp_path / "smplifyx" / "results" / "img0" / "000.pkl").read_bytes())
    assert content["body_pose"].shape == (1, 63) and content["left_hand_pose"].shape == (1, 12)
    with np.load(tmp_path / "params.npz") as found:
        np.testing.assert_allclose(content["body_pose"][0], found["body_pose"][0], atol=1e-6)
        np.testing.assert_allclose(content["left_hand_pose"][0], found["left_hand_pca"][0], atol=1e-4)


def test_an_anchored_pose_stays_where_the_code_put_it(smplifyx, shelf, tmp_path):
    """The anchor holds joints to the start's, whatever moves them."""
    more = ["--vposer_ckpt", str(shelf / "vposer_v1_0")]
    moved = []
    for sigma in ("0.2", "0.0002"):
        out = tmp_path / sigma
        assert fit(smplifyx, shelf, "coded", out, *more, "--terms.anchor.blocks", f"{{body_pose: {sigma}}}") == 0
        with np.load(out / "params.npz") as found:
            moved.append(np.abs(found["body_pose"] - poses(read_vposer(shelf / "vposer_v1_0"), latents())).max())
    assert moved[1] < 0.005 < moved[0], moved


def test_smplifyx_s_own_command(shelf, vposer, tmp_path):
    """Its folders, flags and configuration in, its results out: two people, drawn as it draws them."""
    body, K = bodies.load("smplx", folder=shelf, flat_hand_mean=True), K_of(5000.0)
    values = {**made(), "body_pose": poses(vposer, latents(0.3))}
    pixels = keypoints(body.to(FLOAT64), values, PLACE * [3, 1, 3], K)
    write_keypoints(tmp_path / "keypoints", pixels[:1], ["img"])
    content = json.loads((tmp_path / "keypoints" / "img_keypoints.json").read_text())
    second = write_keypoints(tmp_path / "second", pixels[1:2], ["img"])
    content["people"] += json.loads((second / "img_keypoints.json").read_text())["people"]
    (tmp_path / "keypoints" / "img_keypoints.json").write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    Image.new("RGB", SIZE).save(tmp_path / "images" / "img.png")
    short = {key: value[-2:] if "weights" in key else value for key, value in yaml.safe_load(THEIRS).items()}
    (tmp_path / "fit_smplx.yaml").write_text(yaml.safe_dump(short))  # two stages of five
    words = ["--config", str(tmp_path / "fit_smplx.yaml"), "--data_folder", str(tmp_path), "--output_folder"]
    words += [str(tmp_path / "out"), "--visualize=False", "--gender", "neutral", "--model_folder", str(shelf)]
    words += ["--vposer_ckpt", str(shelf / "vposer_v1_0"), "--interpenetration", "False", "--error_bars", "false"]
    assert main([*words, "--quiet", "--search.facing", "[0.0]"]) == 0
    assert sorted(p.name for p in (tmp_path / "out" / "meshes" / "img").iterdir()) == ["000.obj", "001.obj"]
    for person in ("000", "001"):
        found = pickle.loads((tmp_path / "out" / "results" / "img" / f"{person}.pkl").read_bytes())
        assert found["camera_rotation"].shape == (1, 3, 3) and found["left_hand_pose"].shape == (1, 12)
        rows = {name: np.asarray(found[name], dtype=float) for name in values if "hand" not in name}
        sides = enumerate(("left", "right"))
        basis = body.hands.components[:, :12].double().numpy()
        rows |= {f"{s}_hand_pose": body.hands.mean[k].numpy() + found[f"{s}_hand_pose"] @ basis[k] for k, s in sides}
        drawn = keypoints(body, {n: np.tile(v, (FRAMES, 1)) for n, v in rows.items()}, np.tile(
            found["camera_translation"], (FRAMES, 1)), K)  # fmt: skip
        file = "params.npz" if person == "000" else "params_001.npz"
        with np.load(tmp_path / "out" / file) as params:
            kept = np.isfinite(drawn[0]).all(axis=-1) & np.isfinite(params["projected"][0]).all(axis=-1)
            off = np.linalg.norm(drawn[0] - params["projected"][0], axis=-1)[kept]
        assert kept.sum() > 40 and off.max() < 0.05, off.max()


# ------------------------------------------------------------------ SMPLer-X, HMR2


def test_smplerx_clip_is_refined(shelf, tmp_path):
    body = bodies.load("smplx", folder=shelf, flat_hand_mean=True)
    values, rng = made(2), np.random.default_rng(4)
    place = PLACE[0] + [[0.02 * k, 0, 0.01 * k] for k in range(FRAMES)]
    mean = {f"{s}_hand_pose": values[f"{s}_hand_pose"] - body.hands.mean[k].numpy() for k, s in
            enumerate(("left", "right"))}  # fmt: skip
    K = np.tile(K_of(FOCAL), (FRAMES, 1, 1))
    names = [f"{k:06d}" for k in range(FRAMES)]
    write_keypoints(tmp_path / "keypoints", keypoints(body.to(FLOAT64), values, place, K), names)
    shaky = {**values, **mean, "body_pose": values["body_pose"] + rng.normal(0, 0.1, (FRAMES, 63))}
    for right, content in ((True, {**values, **mean}), (False, shaky)):
        folder = tmp_path / f"codes_{right}"
        (folder / "smplx").mkdir(parents=True)
        (folder / "meta").mkdir()
        for k in range(FRAMES):
            one = {n: v[k].reshape(-1, 3) if v.shape[1] % 3 == 0 else v[k : k + 1] for n, v in content.items()}
            np.savez(folder / "smplx" / f"{k + 1:05d}_0.npz", **one, transl=place[k : k + 1])
            meta = {"focal": [FOCAL, FOCAL], "princpt": [(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2]}
            (folder / "meta" / f"{k + 1:05d}_0.json").write_text(json.dumps(meta))
        words = [*RECIPE, "--read.sequence", "clip", "--input", str(tmp_path / "keypoints"), "--start", str(folder)]
        words += ["--body.model", "smplx", "--body.folder", str(shelf), "--output", str(tmp_path / f"out_{right}")]
        assert main(words) == 0
    assert errors(tmp_path / "out_True")[0].max() < 0.05
    began, ended = errors(tmp_path / "out_False")
    assert began.min() > 3 and ended.max() < 0.4 * began.min(), (began, ended)


def test_hmr2_on_the_open_body(tmp_path, capsys):
    """SMPL's pose on another body: with its shape it is refused; without, it lands near and is refined."""
    body = bodies.load("open_body", betas=10)
    values = {n: v for n, v in made(3).items() if n in ("global_orient", "body_pose")}
    K = K_of(5000 * SIZE[0] / 256)
    still = {**values, "betas": np.zeros((FRAMES, 10))}
    pixels = keypoints(body.to(FLOAT64), still, PLACE * [1, 1, 14.0 / 4], K)
    write_keypoints(tmp_path / "keypoints", pixels, ["a", "b", "c"])
    rows = np.concatenate([values["body_pose"], np.zeros((FRAMES, 6))], axis=1)
    content = {
        "pred_smpl_params": {"global_orient": matrices(values["global_orient"]), "body_pose": matrices(rows),
                             "betas": np.ones((FRAMES, 10))},
        "pred_cam_t_full": PLACE * [1, 1, 14.0 / 4],
    }  # fmt: skip
    (tmp_path / "hmr2.pkl").write_bytes(pickle.dumps(content))
    words = [*RECIPE, "--input", str(tmp_path / "keypoints"), "--start", str(tmp_path / "hmr2.pkl")]
    words += ["--body.model", "open_body", "--output", str(tmp_path / "out")]
    assert main(words) == 3
    assert "codes.pose_only" in capsys.readouterr().err
    assert main([*words, "--codes.pose_only", "true"]) == 0
    began, ended = errors(tmp_path / "out")
    assert began.max() < 0.05 and ended.max() < 5, (began, ended)


# ------------------------------------------------------------------ codes from rotations


@pytest.mark.parametrize("joints", [21, 23])
def test_a_code_is_found_for_its_rotations(shelf, joints):
    decoder = read_vposer(shelf / "vposer_v1_0", joints)
    from fitting.bodies.body import moved

    decoder = moved(decoder, torch.zeros(0).double())
    z = torch.as_tensor(latents()).double()
    wanted = decoder.decode(z)
    found = torch.as_tensor(encoded(decoder, wanted))
    turn = torch.linalg.matrix_norm(decoder.decode(found) - wanted).max()
    assert turn < 0.05, float(turn)
    assert np.array_equal(encoded(decoder, wanted, z.numpy()), z.numpy())  # known ones are kept
    assert np.abs(encoded(decoder, wanted, -z.numpy()) - found.numpy()).max() < 1e-9  # unless they are others


def test_rotations_that_no_code_has(shelf):
    """The nearest are found: no small change of the code comes nearer."""
    decoder = read_vposer(shelf / "vposer_v1_0")
    from fitting.bodies.body import moved
    from fitting.coded_pose import costs, turns

    decoder = moved(decoder, torch.zeros(0).double())
    rng = np.random.default_rng(0)
    wanted = torch.as_tensor(matrices(rng.normal(0, 0.3, (2, 63))))
    found = torch.as_tensor(encoded(decoder, wanted))
    best = costs(turns(decoder, found, wanted), found)
    assert (best < costs(turns(decoder, found * 0, wanted), found * 0)).all()
    for _ in range(50):
        near = found + torch.as_tensor(rng.normal(0, 0.01, found.shape))
        assert (costs(turns(decoder, near, wanted), near) > 0.999 * best).all()
