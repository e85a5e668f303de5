"""The whole trip from the command line: exit codes, one-line messages, one row per frame, the same bytes twice."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_clips import FLOAT64, SIZE, placed, rotations, seen
from PIL import Image

from fitting import pipeline
from fitting.cli import main
from fitting.config import FitConfig
from fitting.types import Solution
from fitting.writers import PICTURE_WRITERS, WRITERS, PictureOptions

ROOT = Path(__file__).resolve().parents[1]
EVERY = (*WRITERS, *(name for name in PICTURE_WRITERS if name != "texture"))  # landmarks alone have no colours
FRAMES = 7
GAPS = [0, 3, 6]  # frames without anybody: both ends and the middle
QUICK = {
    "body": {"betas": 5},
    "terms": {"keypoints": {}, "shape": {}, "expression": {}, "jaw": {}, "eyes": {}},
    "stages": [
        {"name": "place", "free": ["rotation", "translation"], "iterations": 4, "solver": "lm"},
        {"name": "all", "free": ["rotation", "translation", "jaw", "shape"], "iterations": 5, "solver": "lm"},
    ],
}


@pytest.fixture(scope="module")
def landmarks(open_head, tmp_path_factory) -> Path:
    """A folder with landmark files: a clip with gaps, two people, nobody; and a recipe that is quick."""
    folder = tmp_path_factory.mktemp("landmarks")
    head = open_head.to(FLOAT64)
    talking = placed(head, [(5, 4 * k, 2) for k in range(FRAMES)])
    identity = torch.zeros_like(talking["betas"])
    identity[..., :5] = 1.0
    talking = talking.replace({"jaw_pose": rotations([(10, 0, 0)] * FRAMES), "betas": identity})
    turning = seen(head, talking).keypoints
    other = seen(head, placed(head, [(0, -10, 0)] * FRAMES, place=(0.2, -0.01, -0.9))).keypoints
    save(folder / "clip.npz", turning, detected=~np.isin(np.arange(FRAMES), GAPS))
    save(folder / "two.npz", np.stack([other, turning], axis=1)[:3])
    save(folder / "short.npz", turning[:3])
    save(folder / "nobody.npz", np.full_like(turning, np.nan))
    (folder / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    return folder


def save(path: Path, pixels: np.ndarray, **extras: np.ndarray) -> None:
    np.savez(path, landmarks=(pixels + 0.5) / SIZE, image_size=np.array(SIZE), fps=np.array(25.0), **extras)


def words(landmarks: Path, source: Path | str, output: Path, *more: str) -> list[str]:
    recipe = ["--config", str(landmarks / "quick.yaml"), "--input", str(source), "--output", str(output)]
    return [*recipe, "--quiet", *more]


def run(landmarks: Path, source: Path | str, output: Path, *more: str) -> int:
    return main(words(landmarks, source, output, *more))


@pytest.fixture(scope="module")
def whole(landmarks, tmp_path_factory) -> Path:
    """The clip's results, every output on."""
    output = tmp_path_factory.mktemp("whole")
    assert run(landmarks, landmarks / "clip.npz", output, "--outputs", ",".join(EVERY)) == 0
    return output


@pytest.fixture(scope="module")
def solution(landmarks) -> Solution:
    settings = [("input", str(landmarks / "clip.npz")), ("outputs", ""), ("output", str(landmarks / "unwritten"))]
    (found,) = pipeline.fit(FitConfig.load(landmarks / "quick.yaml", settings))
    return found


# ------------------------------------------------------------------ what is written


def test_one_row_per_input_frame_and_where_it_comes_from(whole):
    with np.load(whole / "params.npz", allow_pickle=False) as file:
        expected = ["held", "fitted", "fitted", "interpolated", "fitted", "fitted", "held"]
        assert file["source"].tolist() == expected
        assert file["valid"].tolist() == [word == "fitted" for word in expected]
        for name in file["block_names"]:
            assert len(file[name]) == FRAMES and np.isfinite(file[name]).all()
        yaw = np.rad2deg(file["global_orient"][:, 1])
        assert np.isnan(file["error_px"][GAPS]).all() and (file["error_px"][[1, 2, 4, 5]] < 1).all()
    # The head turned by 4 degrees a frame: nothing is shifted, gaps are between their neighbours or held.
    np.testing.assert_allclose(yaw, [4, 4, 8, 12, 16, 20, 20], atol=0.7)


def test_the_report_says_for_every_frame_how_it_went(whole, open_head):
    report = json.loads((whole / "report.json").read_text())
    assert report["model"] == "open_head" and report["model_sha256"] == open_head.sha256 and report["seconds"] > 0
    assert "truth" not in report
    assert [row["index"] for row in report["frames"]] == list(range(FRAMES))
    keys = {
        "frame",
        "person",
        "valid",
        "source",
        "error_px",
        "error_percent",
        "cost_start",
        "cost_end",
        "iterations",
        "stop",
    }
    for row in report["frames"]:
        assert keys <= set(row)
        if row["valid"]:
            assert set(QUICK["terms"]) == set(row["cost_end"]) == set(row["cost_start"])
            assert sum(row["cost_end"].values()) < sum(row["cost_start"].values())
            assert row["error_percent"] > row["error_px"] > 0 and row["iterations"] > 0 and row["stop"]
        else:
            assert row["error_px"] is None and row["stop"] == "not fitted"


def test_the_configuration_stands_beside_the_result_and_repeats_it(whole, tmp_path):
    assert main(["--config", str(whole / "conf.yaml"), "--output", str(tmp_path / "again"), "--outputs", "params"]) == 0
    assert (tmp_path / "again" / "params.npz").read_bytes() == (whole / "params.npz").read_bytes()


def test_two_runs_write_the_same_bytes(landmarks, whole, tmp_path):
    """In another process, so that nothing a first run left behind can help."""
    script = [
        sys.executable,
        str(ROOT / "fit.py"),
        *words(landmarks, landmarks / "clip.npz", tmp_path, "--outputs", "params,npy"),
    ]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    for name in ("params.npz", "flame_params.npy", "flame_params_stats.npz"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_every_output_stands_alone(solution, whole, tmp_path, name):
    """Written into an empty folder, it gives the files it gives among the others."""
    if name in WRITERS:
        written = WRITERS[name](solution, tmp_path)
    else:
        written = PICTURE_WRITERS[name]([solution], tmp_path, PictureOptions())
    assert written and all(path.is_file() for path in written)
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path) for path in written}
    for path in files:
        assert (whole / path).read_bytes() == (tmp_path / path).read_bytes() or path.suffix == ".mp4"


def test_one_picture_for_two_people(landmarks, tmp_path):
    assert run(landmarks, landmarks / "two.npz", tmp_path, "--outputs", "overlay,mask,visibility") == 0
    assert (tmp_path / "overlay.mp4").is_file() and not list(tmp_path.glob("overlay_*.mp4"))
    mask = np.asarray(Image.open(tmp_path / "images" / "000000" / "mask.png"))
    assert mask.shape == (SIZE[1], SIZE[0]) and set(np.unique(mask)) == {0, 1, 2}
    left, right = (np.argwhere(mask == person)[:, 1].mean() for person in (1, 2))
    assert left < right
    assert (tmp_path / "visibility.npz").is_file() and (tmp_path / "visibility_001.npz").is_file()


def test_a_texture_of_landmarks_is_refused_before_the_fit(landmarks, tmp_path, capsys):
    arguments = words(landmarks, landmarks / "clip.npz", tmp_path / "out", "--outputs", "params,texture")
    assert "--read.pictures" in said_on_failure(capsys, arguments, 6)
    assert not (tmp_path / "out").exists()


def test_without_outputs_there_is_a_report(landmarks, tmp_path):
    assert run(landmarks, landmarks / "clip.npz", tmp_path, "--outputs", "") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf.yaml", "report.json"]


def test_leftovers_of_a_run_that_was_stopped_do_no_harm(landmarks, whole, tmp_path):
    (tmp_path / ".params.npz.part").write_bytes(b"half of a zip")
    (tmp_path / "params.npz").write_bytes((whole / "params.npz").read_bytes()[:1000])
    (tmp_path / "report.json").write_text('{"model": "open_')
    (tmp_path / "meshes" / "000001").mkdir(parents=True)
    (tmp_path / "meshes" / "000001" / ".000.obj.part").write_text("v 0 0")
    assert run(landmarks, landmarks / "clip.npz", tmp_path, "--outputs", "params,obj") == 0
    assert (tmp_path / "params.npz").read_bytes() == (whole / "params.npz").read_bytes()
    assert json.loads((tmp_path / "report.json").read_text())["model"] == "open_head"
    assert not list(tmp_path.rglob("*.part"))


def test_every_person_has_files_of_their_own(landmarks, tmp_path):
    assert run(landmarks, landmarks / "two.npz", tmp_path, "--outputs", "params") == 0
    places = []
    for name in ("params.npz", "params_001.npz"):
        with np.load(tmp_path / name, allow_pickle=False) as file:
            assert file["valid"].all() and (file["error_px"] < 1).all()
            places.append(file["transl"][0, 0])
    assert places[0] < places[1]  # from left to right
    rows = json.loads((tmp_path / "report.json").read_text())["frames"]
    assert [row["person"] for row in rows] == ["000"] * 3 + ["001"] * 3


def test_photos_without_anybody_keep_their_row(landmarks, tmp_path):
    """Unrelated photos know nothing of each other: a gap is missing, not interpolated."""
    assert run(landmarks, landmarks / "clip.npz", tmp_path, "--outputs", "params,obj", "--read.sequence", "photos") == 0
    with np.load(tmp_path / "params.npz", allow_pickle=False) as file:
        assert file["source"].tolist() == ["missing" if k in GAPS else "fitted" for k in range(FRAMES)]
    meshes = {path.parent.name for path in (tmp_path / "meshes").rglob("*.obj")}
    assert meshes == {f"{k:06d}" for k in range(FRAMES) if k not in GAPS}


def test_an_earlier_result_is_a_start(landmarks, whole, tmp_path):
    more = ("--outputs", "params", "--start", str(whole / "params.npz"))
    assert run(landmarks, landmarks / "clip.npz", tmp_path, *more) == 0
    before, after = (json.loads((folder / "report.json").read_text())["frames"][1] for folder in (whole, tmp_path))
    assert after["start_error_px"] < 0.5 * before["start_error_px"]
    assert after["error_px"] == pytest.approx(before["error_px"], rel=0.5)


def test_the_summary_names_the_files_and_the_error(landmarks, tmp_path, capsys):
    loud = [
        word for word in words(landmarks, landmarks / "clip.npz", tmp_path, "--outputs", "params") if word != "--quiet"
    ]
    assert main(loud) == 0
    said = capsys.readouterr().out
    assert "4 of 7 frames fitted on open_head" in said and " px, " in said and " % of " in said
    assert str(tmp_path / "params.npz") in said and str(tmp_path / "report.json") in said


# ------------------------------------------------------------------ what goes wrong


def said_on_failure(capsys, arguments: list[str], code: int) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def test_a_missing_input(landmarks, tmp_path, capsys):
    assert "absent.jpg" in said_on_failure(capsys, words(landmarks, tmp_path / "absent.jpg", tmp_path / "out"), 3)
    assert not (tmp_path / "out").exists()


def test_a_missing_recipe(capsys):
    assert "absent.yaml" in said_on_failure(capsys, ["--config", "absent.yaml"], 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--terms.keypoint.sigma", "1"), "keypoints"),
        (("--outputs", "params,meshs"), "meshs"),
        (("--device", "cuda:77"), "cuda:77"),
        (("--device", "toaster"), "toaster"),
        (("--camera.fov", "[1"), "camera.fov"),
    ],
)
def test_an_option_that_cannot_be(landmarks, tmp_path, capsys, more, says):
    assert says in said_on_failure(capsys, words(landmarks, landmarks / "clip.npz", tmp_path / "out", *more), 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(landmarks, tmp_path, capsys):
    arguments = words(landmarks, landmarks / "clip.npz", tmp_path, "--device", "cuda")
    assert "auto" in said_on_failure(capsys, arguments, 2)


def test_a_body_that_is_not_there(landmarks, tmp_path, capsys):
    arguments = words(
        landmarks, landmarks / "clip.npz", tmp_path, "--body.folder", str(tmp_path), "--body.model", "flame"
    )
    assert "flame" in said_on_failure(capsys, arguments, 5)


def test_more_coefficients_than_the_model_has(landmarks, tmp_path, capsys):
    assert "5000" in said_on_failure(
        capsys, words(landmarks, landmarks / "clip.npz", tmp_path, "--body.betas", "5000"), 5
    )


@pytest.mark.parametrize("content", [b"", b"these are no pixels", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_an_unreadable_image(landmarks, tmp_path, capsys, content):
    (tmp_path / "photo.png").write_bytes(content)
    assert "photo.png" in said_on_failure(capsys, words(landmarks, tmp_path / "photo.png", tmp_path / "out"), 3)


def test_no_face(landmarks, tmp_path, capfd):
    """The detector's own library may write to the terminal; the last line is ours."""
    Image.new("RGB", (320, 240), (90, 120, 150)).save(tmp_path / "blank.png")
    assert run(landmarks, tmp_path / "blank.png", tmp_path / "out") == 4
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "blank.png: no face" in last
    assert not (tmp_path / "out").exists()


def test_nobody_in_a_landmark_file(landmarks, tmp_path, capsys):
    assert "keypoints" in said_on_failure(capsys, words(landmarks, landmarks / "nobody.npz", tmp_path / "out"), 3)


def test_a_file_where_the_folder_of_results_should_be(landmarks, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    arguments = words(landmarks, landmarks / "clip.npz", tmp_path / "out", "--outputs", "params")
    assert str(tmp_path / "out") in said_on_failure(capsys, arguments, 6)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("content", [b"PK\x03\x04 not whole", b""])
def test_a_start_that_is_no_result(landmarks, tmp_path, capsys, content):
    (tmp_path / "start.npz").write_bytes(content)
    arguments = words(landmarks, landmarks / "clip.npz", tmp_path, "--start", str(tmp_path / "start.npz"))
    assert "start.npz" in said_on_failure(capsys, arguments, 3)


def test_a_start_of_another_clip(landmarks, whole, tmp_path, capsys):
    arguments = words(landmarks, landmarks / "short.npz", tmp_path, "--start", str(whole / "params.npz"))
    assert f"{FRAMES} frames" in said_on_failure(capsys, arguments, 3)


def test_every_person_starts_from_his_own_result(landmarks, tmp_path, capsys):
    first, again = tmp_path / "first", tmp_path / "again"
    assert run(landmarks, landmarks / "two.npz", first, "--outputs", "params") == 0
    arguments = ("--start", str(first / "params.npz"), "--outputs", "params")
    assert run(landmarks, landmarks / "two.npz", again, *arguments) == 0
    for name in ("params.npz", "params_001.npz"):
        with np.load(first / name) as before, np.load(again / name) as after:
            # Already where the fit ends: the restart begins with that error, not with the mean head's.
            np.testing.assert_allclose(after["start_error_px"], before["error_px"], rtol=1e-3)
    (first / "params_001.npz").unlink()
    assert "params_001.npz" in said_on_failure(capsys, words(landmarks, landmarks / "two.npz", again, *arguments), 3)


def test_help_and_nothing_at_all(capsys):
    assert main(["--help"]) == 0 and "--config" in capsys.readouterr().out
    assert main([]) == 2


# ------------------------------------------------------------------ 68 landmarks, real photos


@pytest.fixture(scope="module")
def clip68(open_head, tmp_path_factory) -> Path:
    """A clip of 68 landmarks with NaN frames and NaN points."""
    if "ibug68" not in open_head.embeddings:
        pytest.skip("the open head has no ibug68 embedding")
    folder = tmp_path_factory.mktemp("clip68")
    head = open_head.to(FLOAT64)
    points = seen(head, placed(head, [(0, 4 * k, 0) for k in range(5)]), layout="ibug68").keypoints
    points[[1, 4]] = np.nan
    points[2, :17] = np.nan
    np.save(folder / "clip.npy", points)
    np.save(folder / "nothing.npy", np.full_like(points, np.nan))
    return folder


def test_68_landmarks_with_gaps(landmarks, clip68, tmp_path):
    more = ("--outputs", "params", "--read.image_size", "[640, 480]", "--camera.focal", "700")
    assert run(landmarks, clip68 / "clip.npy", tmp_path, *more) == 0
    with np.load(tmp_path / "params.npz", allow_pickle=False) as file:
        assert file["source"].tolist() == ["fitted", "interpolated", "fitted", "fitted", "held"]
        np.testing.assert_allclose(np.rad2deg(file["global_orient"][:, 1]), [0, 4, 8, 12, 12], atol=2)
        assert (file["error_percent"][file["valid"]] < 1.5).all()


def test_68_landmarks_of_nobody(landmarks, clip68, tmp_path, capsys):
    said_on_failure(capsys, words(landmarks, clip68 / "nothing.npy", tmp_path, "--outputs", "params"), 3)


def test_a_real_photo_with_the_shipped_recipe(shared, tmp_path):
    """The promise of the first command, on a face that the model was not made from."""
    recipe = ["--config", "fit_flame.yaml", "--output", str(tmp_path), "--outputs", "params", "--quiet"]
    assert main([*recipe, "--input", str(shared / "photos" / "single_face.jpg")]) == 0
    with np.load(tmp_path / "params.npz", allow_pickle=False) as file:
        assert file["error_percent"][0] < 1.3 and np.abs(file["betas"]).max() < 3
