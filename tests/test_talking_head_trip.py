"""Row by row what a talking head's trainer needs from a data folder: one command, on files as its preprocessing leaves
them, and the same bytes whether a fit writes them or `convert` does."""

import json

import numpy as np
import pytest
import torch
from made_codes import flame_shelf
from PIL import Image
from test_doctor import AU, write_sound

from fitting import codes
from fitting.cli import main
from fitting.doctor import examine
from fitting.samples import TalkingHead, talking_head

FRAMES, LOST = 8, 3
READ = {"imavatar": "flame_params.json", "flame_params": "flame_params.npy"}  # where the folder is not the format
RECIPE = ["--config", "fit_flame.yaml", "--error_bars", "false", "--quiet"]


@pytest.fixture(scope="module")
def data(open_head, tmp_path_factory):
    """data/may: ori_imgs/<k>.jpg from 0 with .lms beside them, one missing; au.csv as a spreadsheet leaves it."""
    folder = tmp_path_factory.mktemp("data") / "may"
    (folder / "ori_imgs").mkdir(parents=True)
    clip = talking_head(open_head, TalkingHead(frames=FRAMES, layout="ibug68"))
    for k, points in enumerate(clip.keypoints):
        Image.new("RGB", (512, 512)).save(folder / "ori_imgs" / f"{k}.jpg")
        if k != LOST:
            np.savetxt(folder / "ori_imgs" / f"{k}.lms", points, "%f")
    lines = [f"{k + 1},0,1" + f",{k / 10:.2f}" * 7 for k in range(FRAMES)]
    (folder / "au.csv").write_text("\n".join([AU.replace(", ", ","), *lines]) + "\n")
    write_sound(folder, FRAMES / 25)
    words = [*RECIPE, "--input", str(folder / "ori_imgs"), "--outputs", "params,talking_gaussian"]
    words += ["--output", str(folder.parent / "fit"), "--export_dir", str(folder), "--au", str(folder / "au.csv")]
    assert main([*words, "--camera.focal", str(clip.truth.K[0, 0, 0])]) == 0
    return folder


def test_the_trainer_finds_its_files(data):
    params = torch.load(data / "track_params.pt", weights_only=True)
    assert params["euler"].shape == (FRAMES, 3) and params["trans"].shape == (FRAMES, 3)
    shown = []
    for name in ("train", "val"):
        shown += [frame["img_id"] for frame in json.loads((data / f"transforms_{name}.json").read_text())["frames"]]
    assert shown == [k for k in range(FRAMES) if k != LOST]  # and no number is shifted
    faults = "\n".join(str(finding) for finding in examine(data, "talking_gaussian") if finding.kind == "fault")
    assert all(word not in faults for word in ("track_params", "transforms", "au.csv"))
    header, *rows = (data / "au.csv").read_text().splitlines()
    assert " AU45_r" in header.split(",") and len(rows) == FRAMES
    assert [float(row.split(",")[header.split(",").index(" AU45_r")]) for row in rows[:2]] == [0.0, 0.1]


def test_convert_writes_the_same_bytes(data, tmp_path):
    source = data.parent / "fit" / "params.npz"
    words = ["convert", str(source), str(tmp_path), "--to", "talking_gaussian", "--au", str(data / "au.csv"), "--quiet"]
    assert main(words) == 0
    for name in ("track_params.pt", "transforms_train.json", "transforms_val.json", "au.csv"):
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes(), name


@pytest.mark.parametrize(
    ("model", "formats"),
    [
        ("flame2020", ("deca", "imavatar", "talking_gaussian", "flame_params")),
        ("flame2023", ("vhap", "gaussian_avatars")),
    ],
)
def test_a_fit_writes_the_formats_of_its_model(open_head, tmp_path, capsys, model, formats):
    """One command each, and what it wrote reads back as what was fitted; another model's formats are refused before
    anything is fitted."""
    name = {"flame2020": "FLAME2020/generic_model.pkl", "flame2023": "FLAME2023/flame2023.pkl"}[model]
    flame_shelf(tmp_path / "models", name)
    clip = talking_head(open_head, TalkingHead(frames=3))
    np.savez(tmp_path / "clip.npz", landmarks=(clip.keypoints + 0.5) / [512, 512], image_size=[512, 512], fps=25.0)
    words = [
        *RECIPE,
        "--body.model",
        model,
        "--body.folder",
        str(tmp_path / "models"),
        "--output",
        str(tmp_path / "out"),
    ]
    words += ["--input", str(tmp_path / "clip.npz"), "--camera.focal", str(clip.truth.K[0, 0, 0])]
    assert main([*words, "--outputs", ",".join(("params", *formats))]) == 0
    assert capsys.readouterr().err == ""  # every camera fits: nothing to tell
    with np.load(tmp_path / "out" / "params.npz") as file:
        fitted = dict(file)
    for format in formats:
        folder = tmp_path / "out" / format
        (track,) = codes.read(folder / READ[format] if format in READ else folder)
        if format != "talking_gaussian":
            np.testing.assert_allclose(track.values["jaw_pose"], fitted["jaw_pose"], atol=1e-5)
            count = track.values["expression"].shape[1]
            np.testing.assert_allclose(track.values["expression"], fitted["expression"][:, :count], atol=1e-5)
    others = {"flame2020": "vhap", "flame2023": "deca"}[model]
    assert main([*words, "--outputs", others]) == 6
    assert "--convert_model" in capsys.readouterr().err


def test_a_table_of_another_tool_is_refused_before_the_fit(data, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("time,temperature\n1,20\n")
    words = [*RECIPE, "--input", str(data / "ori_imgs"), "--output", str(tmp_path / "out")]
    assert main([*words, "--outputs", "talking_gaussian", "--au", str(tmp_path / "other.csv")]) == 3
    assert "no action units" in capsys.readouterr().err and not (tmp_path / "out").exists()
