"""The whole trip on FLAME's own file formats: a pickle and a landmark embedding as they are downloaded, filled with the
open head, since no licensed file may stand here."""

import json
import pickle

import numpy as np
import pytest
import scipy.sparse

from fitting.bodies.flame_files import read_flame
from fitting.cli import main
from fitting.layouts import MEDIAPIPE105_IN_478
from fitting.places import models
from fitting.samples import TalkingHead, talking_head
from fitting.types import DependencyError


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """FLAME2020/generic_model.pkl and mediapipe_landmark_embedding.npz."""
    head = read_flame(models() / "open_head.npz")
    folder = tmp_path_factory.mktemp("models") / "FLAME2020"
    folder.mkdir()
    vertices, identity, expression = len(head.v_template), head.identity_dirs, head.expression_dirs
    shapedirs = np.zeros((vertices, 3, 400))
    shapedirs[..., : identity.shape[2]] = identity
    shapedirs[..., 300 : 300 + expression.shape[2]] = expression
    arrays = {
        "v_template": head.v_template,
        "f": head.faces.astype(np.uint32),
        "shapedirs": shapedirs,
        "posedirs": np.zeros((vertices, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(head.J_regressor),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "weights": head.weights,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    np.savez(folder / "mediapipe_landmark_embedding.npz", **embedding(head))
    return folder.parent


def embedding(head) -> dict[str, np.ndarray]:
    """FLAME's form: a triangle's number and its barycentrics, for 105 of the 478 points."""
    place = {int(p): k for k, p in enumerate(head.extras["mediapipe478_points"])}
    number = {tuple(sorted(face)): k for k, face in enumerate(head.faces.tolist())}
    faces, weights = [], []
    for index in MEDIAPIPE105_IN_478:
        corners = head.extras["mediapipe478_vertices"][place[index]].tolist()
        face = number[tuple(sorted(corners))]
        share = dict(zip(corners, head.extras["mediapipe478_weights"][place[index]], strict=True))
        faces.append(face)
        weights.append([share[v] for v in head.faces[face].tolist()])
    return {
        "lmk_face_idx": np.array(faces, dtype=np.uint32),
        "lmk_b_coords": np.array(weights),
        "landmark_indices": np.array(MEDIAPIPE105_IN_478),
    }


def test_flame_file_to_flame_params(shelf, open_head, tmp_path):
    clip = talking_head(open_head, TalkingHead(frames=3))
    np.savez(tmp_path / "clip.npz", landmarks=(clip.keypoints + 0.5) / [512, 512], image_size=[512, 512], fps=25.0)
    words = ["--config", "fit_flame.yaml", "--body.model", "flame", "--body.folder", str(shelf), "--quiet"]
    words += ["--input", str(tmp_path / "clip.npz"), "--output", str(tmp_path / "out"), "--outputs", "params,npy,obj"]
    words += ["--camera.focal", str(clip.truth.K[0, 0, 0])]
    assert main(words) == 0
    packed = np.load(tmp_path / "out" / "flame_params.npy")
    described = json.loads((tmp_path / "out" / "flame_params.json").read_text())
    assert packed.shape == (3, 56) and "flame2020" in json.dumps(described)
    with np.load(tmp_path / "out" / "params.npz") as found:
        assert str(found["model"]) == "flame2020"
        assert found["betas"].shape == (3, 100) and found["expression"].shape == (3, 100)
        assert (found["error_percent"] < 2).all()
        np.testing.assert_allclose(packed[:, 50:53], found["global_orient"], atol=1e-6)
        np.testing.assert_allclose(packed[:, 53:], found["jaw_pose"], atol=1e-6)


def test_codes_of_another_model_are_refused(shelf, open_head, tmp_path, capsys):
    clip = talking_head(open_head, TalkingHead(frames=3))
    np.savez(tmp_path / "clip.npz", landmarks=(clip.keypoints + 0.5) / [512, 512], image_size=[512, 512])
    np.savez(tmp_path / "start.npz", model="open_head", valid=np.ones(3, bool), betas=np.zeros((3, 100)))
    words = ["--config", "refine_flame.yaml", "--body.model", "flame", "--body.folder", str(shelf)]
    words += ["--input", str(tmp_path / "clip.npz"), "--start", str(tmp_path / "start.npz"), "--output", str(tmp_path)]
    assert main(words) == 3
    assert "open_head" in capsys.readouterr().err


def test_a_sample_needs_no_detector(monkeypatch, tmp_path):
    """Where MediaPipe has no models of its own, the photograph's landmarks come with it."""

    def nothing(*_):
        raise DependencyError("no models")

    monkeypatch.setattr("fitting.detectors.detect", nothing)
    words = ["--config", "fit_flame.yaml", "--output", str(tmp_path), "--outputs", "params", "--quiet"]
    assert main(words) == 0
    with np.load(tmp_path / "params.npz") as found:
        assert found["error_percent"][0] < 1.0 and str(found["names"][0]) == "grace_hopper"
