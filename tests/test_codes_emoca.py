"""EMOCA's folders: packed, refined, and what goes wrong with them."""

import json
import time

import numpy as np
import pytest
from made_clips import FLOAT64
from made_codes import FOCAL, SIZE, flame_shelf, made_clip, write_bboxes, write_emoca

from fitting import bodies, codes
from fitting.camera import intrinsics
from fitting.cli import main
from fitting.codes.crops import weak_to_crop
from fitting.crop_camera import posed_points, weak_from_crops
from fitting.samples import project
from fitting.track import Track, parameters_of
from fitting.types import Codes, InputError

FRAMES, MISSING, SECOND = 8732, 40, 100


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    flame_shelf(folder)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The folder of SYSTEMS.md, system 1: 8,732 frames, 40 of them without a face, 100 with two."""
    clip = made_clip(FRAMES)
    chosen = np.random.default_rng(5).permutation(np.arange(1, FRAMES - 1))
    missing, second = set(chosen[:MISSING].tolist()), set(chosen[MISSING : MISSING + SECOND].tolist())
    folder = tmp_path_factory.mktemp("emoca") / "output" / "emoca_may"
    write_emoca(folder / "EMOCA_v2_lr_mse_20", clip, missing, second)
    return folder, clip, missing, second


def test_a_long_video_is_packed(video, tmp_path, capsys):
    folder, clip, missing, _ = video
    began = time.process_time()
    assert main(["convert", str(folder), str(tmp_path), "--to", "flame_params", "--person", "000"]) == 0
    assert time.process_time() - began < 60  # 8 s when this was written; a runaway, not a benchmark
    assert f"{MISSING} of {FRAMES} frames have no codes ({min(missing)}, " in capsys.readouterr().err
    packed = np.load(tmp_path / "flame_params.npy")
    assert packed.shape == (FRAMES, 56) and packed.dtype == np.float32
    valid = ~np.isin(np.arange(FRAMES), list(missing))
    expected = np.concatenate([clip.expression, clip.global_orient, clip.jaw_pose], axis=1).astype(np.float32)
    np.testing.assert_allclose(packed[valid], expected[valid], atol=2e-6)
    sidecar = json.loads((tmp_path / "flame_params.json").read_text())
    assert sidecar["model"] == "flame2020" and sidecar["valid"] == valid.tolist()
    assert {sidecar["source"][k] for k in missing} == {"interpolated"}
    k = next(k for k in sorted(missing) if {k - 1, k + 1}.isdisjoint(missing))
    np.testing.assert_allclose(packed[k, :50], (packed[k - 1, :50] + packed[k + 1, :50]) / 2, atol=1e-5)
    with np.load(tmp_path / "flame_params_stats.npz") as statistics:
        np.testing.assert_allclose(statistics["mean"], packed.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(statistics["std"], packed.std(axis=0), atol=1e-5)


def test_the_second_person_is_another(video):
    folder, clip, missing, second = video
    first, other = codes.read(folder)
    assert len(first) == len(other) == FRAMES and (first.person, other.person) == ("000", "001")
    assert set(np.flatnonzero(~first.valid)) == missing and set(np.flatnonzero(other.valid)) == second
    k = min(second)
    np.testing.assert_allclose(other.values["expression"][k], -clip.expression[k], atol=1e-6)


@pytest.mark.parametrize("inside", ["", "EMOCA", "EMOCA/processed_2026_Nov_20_10-00-00/may/results/EMOCA"])
def test_every_layout_is_found(tmp_path, inside):
    write_emoca(tmp_path / inside, made_clip(3))
    (track,) = codes.read(tmp_path)
    assert len(track) == 3 and track.format == "EMOCA folder" and track.valid.all()


def test_tex_is_kept_where_every_frame_has_it(tmp_path):
    write_emoca(tmp_path, made_clip(3), missing={1})
    for k in (1, 3):
        np.save(tmp_path / f"{k:06d}_000" / "tex.npy", np.full(50, k, np.float32))
    (track,) = codes.read(tmp_path)
    assert track.extras["tex"][:, 0].tolist() == [1, 0, 3] and track.valid.tolist() == [True, False, True]
    (tmp_path / "000003_000" / "tex.npy").unlink()
    assert "tex" not in codes.read(tmp_path)[0].extras


def test_where_the_file_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_emoca(tmp_path / "output" / "emoca_may" / "EMOCA", made_clip(2))
    words = ["convert", "output/emoca_may", "--to", "flame_params", "--quiet"]
    assert main(words) == 0 and (tmp_path / "output/emoca_may/flame_params.npy").is_file()
    (tmp_path / "data" / "may").mkdir(parents=True)
    assert main(words) == 0 and (tmp_path / "data/may/flame_params.npy").is_file()
    assert main([*words, "--flame_out_dir", "elsewhere"]) == 0 and (tmp_path / "elsewhere/flame_params.npy").is_file()


# ------------------------------------------------------------------ as the start of a fit


def pixels(body, clip, layout="mediapipe478") -> np.ndarray:
    """Landmarks of the clip under a camera of FOCAL pixels."""
    track = Track(Codes({n: getattr(clip, n) for n in vars(clip)}, "flame2020", np.ones(len(clip), bool)), (), "")
    K = np.tile(intrinsics(FOCAL, SIZE), (len(clip), 1, 1))
    parameters = parameters_of(body, track, slice(0, len(clip)))
    embedding = body.embeddings[layout]
    found = np.full((len(clip), len(embedding.layout), 2), np.nan)
    points = np.concatenate([embedding.points, embedding.contour.points if embedding.contour else []]).astype(int)
    found[:, points] = project(body.restrict(embedding), apart(parameters), K)
    return found


def apart(parameters):
    """One problem of all frames."""
    return type(parameters)({name: value.transpose(0, 1) for name, value in parameters.items()})


def test_codes_of_the_same_video_are_refined(shelf, tmp_path):
    frames, missing = 24, {5, 6, 17}
    body = bodies.load("flame", folder=shelf, betas=100, expressions=50)
    clip = made_clip(frames)
    landmarks = pixels(body, clip)
    np.savez(tmp_path / "clip.npz", landmarks=(landmarks + 0.5) / SIZE, image_size=SIZE, fps=25.0)
    rng = np.random.default_rng(3)
    shaky = type(clip)(
        clip.betas + rng.normal(0, 0.5, 100),
        clip.expression + rng.normal(0, 0.1, clip.expression.shape),
        clip.global_orient + rng.normal(0, 0.03, (frames, 3)),
        clip.jaw_pose + rng.normal(0, 0.03, (frames, 3)),
        clip.transl,
    )
    write_emoca(tmp_path / "emoca", shaky, missing)
    words = ["--config", "refine_flame.yaml", "--body.model", "flame", "--body.folder", str(shelf), "--quiet"]
    words += ["--input", str(tmp_path / "clip.npz"), "--start", str(tmp_path / "emoca"), "--output", str(tmp_path)]
    words += ["--camera.focal", str(FOCAL), "--outputs", "params,npy"]
    assert main(words) == 0
    packed = np.load(tmp_path / "flame_params.npy")
    report = json.loads((tmp_path / "report.json").read_text())
    assert packed.shape == (frames, 56)
    fitted = np.array([row["error_px"] for row in report["frames"]])
    started = np.array([row["start_error_px"] for row in report["frames"]])
    assert fitted.mean() < 0.25 * started.mean() and started.mean() < 40  # the start is the codes': near, not right
    off = np.abs(packed[:, 53:] - clip.jaw_pose).mean()
    assert off < 0.5 * np.abs(shaky.jaw_pose - clip.jaw_pose).mean()


def box_and_side(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the boxes round 68 points, and the sides of the squares that EMOCA cuts out."""
    low, high = points.min(axis=1), points.max(axis=1)
    return (low + high) / 2, (high - low).mean(axis=1) * 1.1 * 1.25


def test_crops_tell_where_the_head_is(shelf, tmp_path):
    """From codes and bboxes.pkl alone, the head lands on its landmarks: the square's side is known to a pixel, and a
    head 0.9 m away to 0.5 % of that."""
    body = bodies.load("flame", folder=shelf, betas=100, expressions=50)
    clip = made_clip(4)
    landmarks = pixels(body, clip, "ibug68")
    middles, sides = box_and_side(landmarks)
    crops = [[(x, y, int(s))] for (x, y), s in zip(middles, sides, strict=True)]
    write_emoca(tmp_path / "video" / "results" / "EMOCA", clip)
    write_bboxes(tmp_path / "video" / "detections" / "bboxes.pkl", crops)
    words = ["convert", str(tmp_path / "video"), str(tmp_path / "out"), "--to", "params", "--quiet"]
    words += ["--image_size", f"[{SIZE[0]}, {SIZE[1]}]", "--focal", str(FOCAL)]
    words += ["--body", "flame2020", "--body_folder", str(shelf)]
    assert main(words) == 0
    (track,) = codes.read(tmp_path / "out" / "params.npz")
    back = type(clip)(*(track.values[name] for name in vars(clip)))
    found = pixels(body, back, "ibug68")
    assert np.linalg.norm(found - landmarks, axis=-1).max() < 0.5
    again = box_and_side(found)
    assert np.abs(again[0] - middles).max() < 0.01 and np.abs(again[1] - sides.astype(int)).max() < 0.01
    assert np.abs(back.transl - clip.transl)[:, :2].max() < 1e-3
    assert np.abs(back.transl / clip.transl - 1)[:, 2].max() < 0.006


def test_crops_under_the_source_s_own_camera(shelf, tmp_path):
    """Orthographic in the crop, as EMOCA draws: the 68 points fill the square as its formula says."""
    body = bodies.load("flame", folder=shelf, betas=100, expressions=50).to(FLOAT64)
    clip = made_clip(3)
    write_emoca(tmp_path / "video" / "results" / "EMOCA", clip)
    crops = [[(300.0, 220.0, 251)], [(310.5, 222.0, 243)], [(280.0, 260.0, 191)]]
    write_bboxes(tmp_path / "video" / "detections" / "bboxes.pkl", crops)
    (track,) = codes.read(tmp_path / "video")
    s, tx, ty = weak_to_crop(weak_from_crops(track, body).weak, track.crops).T[..., None]
    points = posed_points(track, body, "ibug68")
    x, y = s * (points[..., 0] + tx), -(s * (points[..., 1] + ty))  # the crop's -1..1, y down
    scale = 223 / np.array([frame[0][2] for frame in crops])
    corner = np.array([frame[0][:2] for frame in crops]) - 223 / 2 / scale[:, None]
    full = 112 * (np.stack([x, y], axis=-1) + 1) / scale[:, None, None] + corner[:, None]
    middles, sides = box_and_side(full)
    assert np.abs(middles - [frame[0][:2] for frame in crops]).max() < 0.01
    assert np.abs(sides - [frame[0][2] for frame in crops]).max() < 0.01


# ------------------------------------------------------------------ what goes wrong


def said(capsys, *words: str) -> str:
    assert main(["convert", *words, "--to", "flame_params"]) == 3
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1
    return text


def test_an_empty_file(tmp_path, capsys):
    write_emoca(tmp_path, made_clip(3))
    (tmp_path / "000002_000" / "exp.npy").write_bytes(b"")
    text = said(capsys, str(tmp_path))
    assert "000002_000/exp.npy" in text and "empty" in text


def test_49_numbers_where_50_belong(tmp_path, capsys):
    write_emoca(tmp_path, made_clip(3))
    np.save(tmp_path / "000003_000" / "exp.npy", np.zeros(49, np.float32))
    text = said(capsys, str(tmp_path))
    assert "000003_000/exp.npy" in text and "50 numbers are expected, found 49" in text


def test_no_codes_at_all(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    assert "videos" in said(capsys, str(tmp_path))
    assert "absent" in said(capsys, str(tmp_path / "absent"))


def test_numbers_that_are_not_finite(tmp_path):
    write_emoca(tmp_path, made_clip(2))
    np.save(tmp_path / "000001_000" / "pose.npy", np.full(6, np.nan, np.float32))
    with pytest.raises(InputError, match=r"000001_000/pose.npy.*finite"):
        codes.read(tmp_path)
