"""Folders with everything in them are well; with one thing wrong, that thing is named."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from made_codes import flame_shelf, made_clip, write_emoca
from made_smpl import smpl_arrays, write_npz, write_pkl
from test_start_bodies import write_vposer

from fitting.cli import main
from fitting.doctor import examine
from fitting.types import ConfigError, InputError

FRAMES = 30
AU = ", ".join(["frame", "face_id", "success", *(f"AU{n:02d}_r" for n in (1, 4, 5, 6, 7, 25, 45))])


@pytest.fixture()
def data(tmp_path) -> Path:
    """A complete folder of TalkingGaussian, as small as can be."""
    for name, suffix in (("ori_imgs", ".jpg"), ("ori_imgs", ".lms"), ("parsing", ".png"), ("gt_imgs", ".jpg"),
                         ("torso_imgs", ".png"), ("teeth_mask", ".npy")):  # fmt: skip
        (tmp_path / name).mkdir(exist_ok=True)
        for k in range(FRAMES):
            (tmp_path / name / f"{k}{suffix}").write_bytes(b"x")
    for name in ("bc.jpg", "aud_hu.npy"):
        (tmp_path / name).write_bytes(b"x")
    torch.save(
        {"id": torch.zeros(1, 100), "exp": torch.zeros(FRAMES, 79), "euler": torch.zeros(FRAMES, 3),
         "trans": torch.zeros(FRAMES, 3), "focal": torch.ones(1)},
        tmp_path / "track_params.pt",
    )  # fmt: skip
    for name, ids in (("train", range(27)), ("val", range(27, FRAMES))):
        write_transforms(tmp_path, name, ids)
    (tmp_path / "au.csv").write_text("\n".join([AU, *(f"{k + 1}, 0, 1" + ", 0.5" * 7 for k in range(FRAMES))]))
    write_sound(tmp_path, FRAMES / 25)
    return tmp_path


def write_transforms(folder: Path, name: str, ids) -> None:
    frames = [{"img_id": k, "aud_id": k, "transform_matrix": np.eye(4).tolist()} for k in ids]
    (folder / f"transforms_{name}.json").write_text(json.dumps({"focal_len": 1000, "frames": frames}))


def write_sound(folder: Path, seconds: float) -> None:
    with wave.open(str(folder / "aud.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(2 * int(16000 * seconds)))


def faults(folder: Path, purpose: str = "talking_gaussian") -> str:
    return "\n".join(str(f) for f in examine(folder, purpose) if f.kind == "fault")


def test_a_whole_folder_is_well(data, capsys):
    assert examine(data, "talking_gaussian") == []
    assert main(["doctor", str(data), "--for", "talking_gaussian"]) == 0
    assert "nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: (d / "au.csv").unlink(), "au.csv is missing"),
        (lambda d: (d / "au.csv").write_bytes(b""), "au.csv is empty"),
        (lambda d: (d / "au.csv").write_text((d / "au.csv").read_text().replace(", ", ",")), "no blank before it"),
        (lambda d: (d / "au.csv").write_text("frame,x\n1,2\n"), "no column ' AU01_r'"),
        (lambda d: (d / "au.csv").write_text("\n".join((d / "au.csv").read_text().splitlines()[:9])), "8 rows"),
        (lambda d: (d / "teeth_mask" / "3.npy").unlink(), "1 of 30 *.npy are missing (3)"),
        (lambda d: (d / "teeth_mask" / "3.npy").write_bytes(b""), "0 bytes (3)"),
        (lambda d: (d / "ori_imgs" / "7.jpg").unlink(), "no pictures 7"),
        (lambda d: (d / "track_params.pt").write_bytes(b"PK\x03\x04 cut"), "track_params.pt cannot be read"),
        (lambda d: (d / "transforms_val.json").write_text("{"), "transforms_val.json is not readable"),
        (lambda d: write_transforms(d, "val", [99]), "pictures that are not there: 99"),
        (lambda d: write_sound(d, FRAMES / 25 + 10), "they were taken at about"),
        (lambda d: (d / "aud_hu.npy").unlink(), "no speech features"),
        (lambda d: np.save(d / "flame_params.npy", np.zeros((7, 56))), "flame_params.npy is (7, 56)"),
    ],
)
def test_one_thing_wrong_is_named(data, capsys, spoil, says):
    spoil(data)
    assert says in faults(data)
    assert main(["doctor", str(data), "--for", "talking_gaussian"]) == 1
    assert says in capsys.readouterr().out


def test_shifted_numbers_are_seen(data):
    """Frames 4 and 9 have no landmarks; the original then writes 0..27 instead of the 28 numbers that are left."""
    for k in (4, 9):
        (data / "ori_imgs" / f"{k}.lms").unlink()
    left = [k for k in range(FRAMES) if k not in (4, 9)]
    write_transforms(data, "train", left[:25])
    write_transforms(data, "val", left[25:])
    assert faults(data) == ""
    write_transforms(data, "train", range(25))
    write_transforms(data, "val", range(25, 28))
    assert "picture 4 has no landmarks" in faults(data)


# ------------------------------------------------------------------ EMOCA, DECA, SMPLify-X


def test_emoca_codes(tmp_path):
    write_emoca(tmp_path / "EMOCA", made_clip(6), missing={2}, second={3})
    found = examine(tmp_path, "emoca")
    assert [f.kind for f in found] == ["note", "note"]
    assert "1 of 6 frames have no codes: 3" in found[0].text and "more than one face" in found[1].text
    (tmp_path / "EMOCA" / "000001_000" / "exp.npy").write_bytes(b"")
    (tmp_path / "EMOCA" / "000002_000" / "shape.npy").unlink()
    said = faults(tmp_path, "emoca")
    assert "000001_000/exp.npy" in said and "000002_000/shape.npy" in said


def test_emoca_model(tmp_path):
    model = tmp_path / "EMOCA_v2"
    model.mkdir()
    (model / "cfg.yaml").write_bytes(b"")
    assert "cfg.yaml is empty (0 bytes)" in faults(tmp_path, "emoca")
    (model / "cfg.yaml").write_text("a: 1\n")
    assert "no checkpoint" in faults(tmp_path, "emoca")
    torch.save({"w": torch.zeros(3)}, model / "last.ckpt")
    assert faults(tmp_path, "emoca") == ""
    (tmp_path / "FLAME").mkdir()
    (tmp_path / "FLAME" / "generic_model.pkl").write_bytes(b"")
    assert "1 empty files (0 bytes): FLAME/generic_model.pkl" in faults(tmp_path, "emoca")
    cut_in_half(model / "last.ckpt")
    assert "last.ckpt cannot be read" in faults(tmp_path, "emoca")


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_deca(tmp_path):
    assert "deca_model.tar is missing" in faults(tmp_path, "deca")
    file = flame_shelf(tmp_path, "generic_model.pkl")
    for name in ("head_template.obj", "mean_texture.jpg", "uv_face_mask.png", "uv_face_eye_mask.png"):
        (tmp_path / name).write_bytes(b"x")
    np.save(tmp_path / "texture_data_256.npy", np.array({"img_size": 256}, dtype=object), allow_pickle=True)
    np.save(tmp_path / "fixed_displacement_256.npy", np.zeros((4, 4)))
    torch.save({"E_flame": {"w": torch.zeros(3)}}, tmp_path / "deca_model.tar")
    assert faults(tmp_path, "deca") == ""
    cut_in_half(tmp_path / "fixed_displacement_256.npy")
    cut_in_half(tmp_path / "deca_model.tar")
    said = faults(tmp_path, "deca")
    assert "deca_model.tar cannot be read" in said and "fixed_displacement_256.npy" in said
    file.write_text("<!doctype html><html>log in</html>")
    assert "web page" in faults(tmp_path, "deca")


def test_smplifyx(tmp_path):
    person = {"pose_keypoints_2d": [0] * 75, "face_keypoints_2d": [0] * 210, "hand_left_keypoints_2d": [0] * 63,
              "hand_right_keypoints_2d": [0] * 63}  # fmt: skip
    for folder in ("images", "keypoints"):
        (tmp_path / folder).mkdir()
    for k in range(3):
        (tmp_path / "images" / f"{k}.png").write_bytes(b"x")
        (tmp_path / "keypoints" / f"{k}_keypoints.json").write_text(json.dumps({"people": [person]}))
    assert examine(tmp_path, "smplify-x") == []
    (tmp_path / "keypoints" / "0_keypoints.json").write_text(json.dumps({"people": []}))
    (tmp_path / "keypoints" / "1_keypoints.json").write_bytes(b"")
    (tmp_path / "keypoints" / "2_keypoints.json").unlink()
    found = "\n".join(map(str, examine(tmp_path, "smplify-x")))
    assert "nobody in them: 0" in found and "or empty: 1" in found and "no keypoints/<name>_keypoints.json: 2" in found


def right_size(arrays: dict, vertices: int) -> dict:
    """Rows repeated until there are so many."""
    rows = np.resize(np.arange(len(arrays["v_template"])), vertices)
    taken = {n: arrays[n][rows] for n in ("v_template", "shapedirs", "posedirs", "weights")}
    return {**arrays, **taken, "J_regressor": arrays["J_regressor"].toarray()[:, rows]}


def test_models_of_smplifyx(tmp_path):
    models = tmp_path / "models"
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        write_npz(models / "smplx" / f"SMPLX_{gender}.npz", right_size(smpl_arrays("smplx"), 10475))
    write_vposer(models / "vposer_v1_0")
    assert examine(models, "smplify-x") == examine(tmp_path, "smplify-x") == []
    (models / "smplx" / "SMPLX_MALE.npz").write_bytes(b"")
    write_npz(models / "smplx" / "SMPLX_FEMALE.npz", smpl_arrays("smplx"))
    (models / "smpl").mkdir()
    write_pkl(models / "smplh" / "SMPLH_MALE.pkl", smpl_arrays("smplx"))
    cut_in_half(models / "vposer_v1_0" / "snapshots" / "TR00_E096.pt")
    (models / "smplx_parts_segm.pkl").write_bytes(b"")
    said = faults(tmp_path, "smplify-x")
    count = len(smpl_arrays("smplx")["v_template"])
    for text in (
        "SMPLX_MALE.npz is empty (0 bytes)", f"SMPLX_FEMALE.npz has {count} vertices, SMPLX has 10475",
        "smpl has none of SMPL_NEUTRAL", "SMPLH_MALE.pkl holds smplx", "TR00_E096.pt",
        "smplx_parts_segm.pkl is empty (0 bytes)",
    ):  # fmt: skip
        assert text in said, text
    assert said.count("\n") == 5
    notes = [str(f) for f in examine(tmp_path, "smplify-x") if f.kind == "note"]
    assert len(notes) == 1 and "no neutral and no female model" in notes[0]


def test_models_beside_the_data_are_seen(tmp_path):
    assert "no folder images and keypoints" in faults(tmp_path, "smplify-x")
    (tmp_path / "images").mkdir()
    (tmp_path / "models" / "smplx").mkdir(parents=True)
    said = faults(tmp_path, "smplify-x")
    assert "no folder keypoints" in said and "smplx has none of SMPLX_NEUTRAL" in said


def test_what_it_cannot_examine(tmp_path, capsys):
    with pytest.raises(ConfigError, match="talking_gaussian"):
        examine(tmp_path, "toaster")
    with pytest.raises(InputError, match="no such folder"):
        examine(tmp_path / "absent", "deca")
    assert main(["doctor", str(tmp_path)]) == 2 and "usage" in capsys.readouterr().err
