"""Every format that can be written to every other: it works where the first holds what the second needs, and where it
does not one line says what is missing.
"""

import numpy as np
import pytest
from made_codes import flame_shelf, made_clip
from made_smpl import smpl_arrays, write_npz, write_pkl

from fitting import codes
from fitting.cli import main
from fitting.exports import EXPORTS

FRAMES, SIZE, LOST = 4, 512, 2
HEADS = ("flame_params", "params", "deca", "imavatar", "vhap", "gaussian_avatars", "talking_gaussian")
BODIES = ("params", "smplifyx", "spin", "humandata", "amass")
FILES = {"imavatar": "flame_params.json", "flame_params": "flame_params.npy"}  # others' are the folder, or <format>.npz
FILES |= {name: f"{name}.npz" for name in ("params", "spin", "humandata", "amass")}
SIZES = {"smplx": 63, "smplh": 63, "smpl": 69}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    flame_shelf(folder, "FLAME2020/generic_model.pkl")
    flame_shelf(folder, "FLAME2023/flame2023.pkl")
    write_npz(folder / "smplx" / "SMPLX_NEUTRAL.npz", smpl_arrays("smplx"))
    for family in ("smpl", "smplh"):
        write_pkl(folder / family / f"{family.upper()}_NEUTRAL.pkl", smpl_arrays(family))
    return folder


def made(model: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if model.startswith("flame"):
        clip = made_clip(FRAMES)
        still = dict.fromkeys(("neck_pose", "leye_pose", "reye_pose"), np.zeros((FRAMES, 3)))
        return {name: getattr(clip, name) for name in vars(clip)} | still
    values = {"betas": np.tile(rng.normal(size=10), (FRAMES, 1)), "global_orient": rng.normal(0, 0.1, (FRAMES, 3)),
              "body_pose": rng.normal(0, 0.1, (FRAMES, SIZES[model])),
              "transl": np.tile([0, 0, -4.0], (FRAMES, 1))}  # fmt: skip
    if model != "smpl":
        values |= {f"{side}_hand_pose": rng.normal(0, 0.1, (FRAMES, 45)) for side in ("left", "right")}
    return values


def holds(track, format: str) -> bool:
    """Whether the codes have what the format needs, by what the two say of themselves."""
    export, known = EXPORTS[format], set(track.values)
    placed = track.weak is not None or "transl" in known
    if track.world_from_codes is not None:
        placed = bool(np.isfinite(track.world_from_codes).all())
    known |= {"transl"} if placed else set()
    camera = track.codes.K is not None or track.weak is not None
    suits = not export.models or track.codes.model in export.models
    decodable = track.codes.model != "bfm09" or not (export.needs_body or export.needs)
    return set(export.needs) <= known and (camera or not export.needs_camera) and suits and decodable


@pytest.mark.parametrize("model", ["flame2020", "flame2023", "smplx", "smplh", "smpl"])
def test_any_to_any(shelf, tmp_path, capsys, model):
    middle = (SIZE - 1) / 2
    K = np.tile([[900.0, 0, middle], [0, 900, middle], [0, 0, 1]], (FRAMES, 1, 1))
    np.savez(tmp_path / "in.npz", model=model, valid=np.arange(FRAMES) != LOST, K=K, fps=25.0, **made(model),
             names=[f"{k:06d}" for k in range(FRAMES)], image_sizes=np.full((FRAMES, 2), SIZE))  # fmt: skip
    options = ["--quiet", "--body_folder", str(shelf), "--image_size", f"[{SIZE}, {SIZE}]"]
    formats, written = HEADS if model.startswith("flame") else BODIES, 0
    (first,) = codes.read(tmp_path / "in.npz")
    for one in formats:
        there = tmp_path / one
        code = main(["convert", str(tmp_path / "in.npz"), str(there), "--to", one, *options])
        assert (code == 0) == holds(first, one), capsys.readouterr().err
        if code:
            continue
        source = there / FILES[one] if one in FILES else there
        (track,) = codes.read(source, codes.CodesOptions(image_size=(SIZE, SIZE)))
        assert track.codes.model in (model, "bfm09"), one
        for other in formats:
            capsys.readouterr()
            code = main(["convert", str(source), str(tmp_path / f"{one}_{other}"), "--to", other, *options])
            said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
            assert (code == 0) == holds(track, other), (one, other, code, said)
            assert len(said) == (code != 0) and "no such model file" not in "".join(said)
            written += code == 0
    assert written >= {"flame2020": 18, "flame2023": 18, "smplx": 11, "smplh": 11, "smpl": 15}[model], written
