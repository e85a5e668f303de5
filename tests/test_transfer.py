"""Codes of one FLAME as codes of another: made files of the same triangles, whose bases are mixtures of each other."""

import json

import numpy as np
import pytest
import torch
from made_clips import FLOAT64
from made_codes import FOCAL, SIZE, flame_shelf, made_clip
from test_codes_emoca import pixels
from test_codes_flame import mesh_of

from fitting import bodies
from fitting.bodies.flame_files import read_flame
from fitting.cli import main
from fitting.places import models
from fitting.track import Track
from fitting.transfer import transfer
from fitting.types import Codes, InputError

FRAMES = 5


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """FLAME 2020 is the open head. FLAME 2023: another template and another, mixed basis, that spans the same heads.
    FLAME 2023 Open: the same with a third of the expressions left out."""
    head = read_flame(models() / "open_head.npz")
    rng = np.random.default_rng(0)
    identity, expression = head.identity_dirs.astype(float), head.expression_dirs.astype(float)
    mixed = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    shift = rng.normal(0, 0.5, 100)
    many = np.eye(76) + rng.normal(0, 0.05, (76, 76))
    shapedirs = np.zeros((len(head.v_template), 3, 400))
    shapedirs[..., :100], shapedirs[..., 300:376] = identity @ mixed, expression @ many
    fewer = shapedirs.copy()
    fewer[..., 325:] = 0
    changed = {"v_template": head.v_template + identity @ shift, "shapedirs": shapedirs}
    folder = tmp_path_factory.mktemp("models")
    flame_shelf(folder, "FLAME2020/generic_model.pkl")
    flame_shelf(folder, "FLAME2023/flame2023.pkl", changed)
    flame_shelf(folder, "FLAME2023Open/flame2023_Open.pkl", {**changed, "shapedirs": fewer})
    return folder


def body_of(name: str, shelf):
    return bodies.load(name, folder=shelf).to(FLOAT64)


def clip_track() -> Track:
    clip = made_clip(FRAMES, seed=3)
    values = {name: getattr(clip, name) for name in vars(clip)}
    values["neck_pose"] = np.random.default_rng(0).normal(0, 0.1, (FRAMES, 3))
    return Track(Codes(values, "flame2020", np.ones(FRAMES, bool)), tuple(map(str, range(FRAMES))), "made")


def test_the_same_heads_in_another_basis(shelf):
    source, target, track = body_of("flame2020", shelf), body_of("flame2023", shelf), clip_track()
    found = transfer(track, source, target)
    assert found.track.codes.model == "flame2023"
    distance = np.linalg.norm(mesh_of(source, dict(track.values)) - mesh_of(target, dict(found.track.values)), axis=-1)
    assert 1000 * distance.max() < 0.2, f"{1000 * distance.max():.3f} mm"
    np.testing.assert_allclose(found.track.values["jaw_pose"], track.values["jaw_pose"], atol=0.01)
    unchanged = mesh_of(target, dict(track.values))  # the same numbers there are other faces
    assert 1000 * np.linalg.norm(unchanged - mesh_of(source, dict(track.values)), axis=-1).mean() > 5


def test_the_error_is_told(shelf):
    """What the target's basis cannot show is measured on the meshes, and not nothing."""
    source, target, track = body_of("flame2020", shelf), body_of("flame2023_open", shelf), clip_track()
    found = transfer(track, source, target)
    with torch.no_grad():
        meshes = [whole_mesh(b, t) for b, t in ((source, track), (target, found.track))]
    distance = 1000 * np.linalg.norm(meshes[0] - meshes[1], axis=-1)
    assert found.mean_mm == pytest.approx(distance.mean(), rel=1e-6)
    assert found.largest_mm == pytest.approx(distance.max(), rel=1e-6)
    assert 0.05 < found.mean_mm < 3 and f"{found.mean_mm:.2f} mm" in found.track.notes[-1]


def whole_mesh(body, track: Track) -> np.ndarray:
    from fitting.track import parameters_of

    return body.pose(parameters_of(body, track, slice(0, len(track)))).points[:, 0].numpy()


def test_other_triangles_are_refused(shelf, random_body):
    with pytest.raises(InputError, match="triangles"):
        transfer(clip_track(), body_of("flame2020", shelf), random_body)


def test_bodies_are_not_converted(tmp_path, capsys):
    """Poses mean the same in all of them, shapes do not: it is said before any model file is looked for."""
    np.save(tmp_path / "fits.npy", np.zeros((3, 82)))
    words = ["convert", str(tmp_path / "fits.npy"), "--to", "params", "--convert_model", "smplx"]
    assert main(words) == 3
    text = capsys.readouterr().err.splitlines()[-1]
    assert "codes of smpl are not converted to smplx" in text and "--codes.pose_only true" in text


def test_codes_of_an_unknown_flame_are_not_the_open_head_s(shelf, tmp_path, capsys):
    np.save(tmp_path / "flame_params.npy", np.zeros((3, 56)))
    words = ["convert", str(tmp_path / "flame_params.npy"), str(tmp_path), "--to", "params"]
    assert main([*words, "--body", "open_head"]) == 5
    assert "belong to flame" in capsys.readouterr().err
    assert main([*words, "--body", "flame2020", "--body_folder", str(shelf)]) == 0


def test_convert_and_fit_only_when_asked(shelf, tmp_path, capsys):
    clip = made_clip(FRAMES)
    np.savez(tmp_path / "in.npz", shape=clip.betas, exp=clip.expression,
             pose=np.concatenate([clip.global_orient, clip.jaw_pose], axis=1))  # fmt: skip
    words = ["convert", str(tmp_path / "in.npz"), str(tmp_path), "--to", "flame_params", "--body_folder", str(shelf)]
    assert main([*words, "--body", "flame2020", "--convert_model", "flame2023"]) == 0
    said = capsys.readouterr().err
    assert "converted from flame2020 to flame2023" in said and "mm off on average" in said
    assert json.loads((tmp_path / "flame_params.json").read_text())["model"] == "flame2023"
    landmarks = pixels(bodies.load("flame2020", folder=shelf, betas=100, expressions=50), clip)
    np.savez(tmp_path / "clip.npz", landmarks=(landmarks + 0.5) / SIZE, image_size=SIZE, fps=25.0)
    fit = ["--config", "refine_flame.yaml", "--body.model", "flame2023", "--body.folder", str(shelf), "--quiet"]
    fit += ["--input", str(tmp_path / "clip.npz"), "--start", str(tmp_path / "in.npz"), "--output", str(tmp_path / "o")]
    assert main(fit) == 3
    assert "belong to 'flame2020'" in capsys.readouterr().err
    assert main([*fit, "--codes.convert_from", "flame2020", "--camera.focal", str(FOCAL), "--outputs", "params"]) == 0
    assert "converted from flame2020 to flame2023" in capsys.readouterr().err
    with np.load(tmp_path / "o" / "params.npz") as found:
        assert str(found["model"]) == "flame2023" and np.nanmean(found["error_px"]) < 2
        assert np.nanmean(found["start_error_px"]) < 20  # the converted codes are nearly there
