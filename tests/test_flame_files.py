"""FLAME's model and embedding files: every form of them is read into the same arrays, every fault is named."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from made_files import (
    VERTICES,
    chumpy_flame,
    flame_arrays,
    grid_faces,
    landmark_embedding,
    places,
    python2_pickle,
    save_object,
)

from fitting.bodies.flame_embeddings import embedding_files, open_embeddings, read_embeddings
from fitting.bodies.flame_files import read_flame
from fitting.bodies.flame_shelf import find_model
from fitting.layouts import IBUG68, MEDIAPIPE105_IN_478
from fitting.types import ModelError


def written(path: Path, arrays: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays, 2))
    return path


# ------------------------------------------------------------------ the model


def test_flame_with_chumpy(tmp_path):
    truth, content = chumpy_flame()
    path = tmp_path / "FLAME2020" / "generic_model.pkl"
    path.parent.mkdir()
    path.write_bytes(content)
    read = read_flame(path)
    assert (read.name, read.gender, read.sha256) == ("flame2020", "neutral", hashlib.sha256(content).hexdigest())
    assert np.array_equal(read.v_template, truth["v_template"]) and np.array_equal(read.faces, truth["f"])
    assert np.array_equal(read.identity_dirs, truth["shapedirs"][..., :300])
    assert np.array_equal(read.expression_dirs, truth["shapedirs"][..., 300:])
    assert np.array_equal(read.J_regressor, truth["J_regressor"].toarray())
    assert np.array_equal(read.posedirs, truth["posedirs"]) and np.array_equal(read.weights, truth["weights"])
    assert read.parents.tolist() == [-1, 0, 1, 1, 1]
    assert set(read.extras) == {"J", "bs_style", "bs_type"}


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
@pytest.mark.parametrize("dense", [True, False])
def test_flame_of_other_forms(tmp_path, suffix, dense):
    """float32, the root marked -1, flattened pose directions, a dense or sparse regressor: the same model."""
    truth = flame_arrays()
    other = {
        **truth,
        "v_template": truth["v_template"].astype(np.float32),
        "posedirs": truth["posedirs"].reshape(-1, 36).T,
        "kintree_table": np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "J_regressor": truth["J_regressor"].toarray() if dense else truth["J_regressor"].tocoo(),
    }
    read = read_flame(written(tmp_path / f"model{suffix}", other))
    assert read.name == "flame" and read.v_template.dtype == np.float32
    assert np.array_equal(read.posedirs, truth["posedirs"])
    assert np.array_equal(read.J_regressor, truth["J_regressor"].toarray())
    assert read.parents.tolist() == [-1, 0, 1, 1, 1]


def test_flame_2023_open_states_its_basis(tmp_path):
    metadata = {"expr_source": "SUPR_head", "supr_gender": "male", "expr_components": "last_100", "n_expr": 7}
    arrays = {**flame_arrays(12, 7), "supr_expression_metadata": metadata}
    read = read_flame(written(tmp_path / "model.pkl", arrays))
    assert (read.name, read.gender) == ("flame2023_open", "male")
    assert (read.identity_dirs.shape[-1], read.expression_dirs.shape[-1]) == (12, 7)
    assert str(read.extras["supr_expression_metadata.expr_source"]) == "SUPR_head"


def test_open_head_format(tmp_path):
    arrays = {**flame_arrays(6, 4), "num_betas": 6, "expression_names": ["a"] * 4, "expression_kind": ["action"] * 4}
    arrays |= {"J_regressor": arrays["J_regressor"].toarray(), "shapedirs": arrays["shapedirs"].astype(np.float16)}
    read = read_flame(written(tmp_path / "open_head.npz", arrays))
    assert read.name == "open_head" and read.identity_dirs.shape == (VERTICES, 3, 6)
    assert read.expression_dirs.dtype == np.float32 and read.extras["expression_names"].tolist() == ["a"] * 4


@pytest.mark.parametrize(
    ("path", "name", "gender"),
    [
        ("FLAME2023/flame2023.pkl", "flame2023", "neutral"),
        ("flame/flame2023_no_jaw.pkl", "flame2023_no_jaw", "neutral"),
        ("flame/flame2023_Open.pkl", "flame2023_open", "neutral"),
        ("FLAME2019/female_model.pkl", "flame2019", "female"),
        ("flame/FLAME_MALE.pkl", "flame", "male"),
        ("flame/generic_model.pkl", "flame", "neutral"),
    ],
)
def test_version_and_gender_from_the_name(tmp_path, path, name, gender):
    read = read_flame(written(tmp_path / path, flame_arrays()))
    assert (read.name, read.gender) == (name, gender)


FAULTS = {
    "no f": lambda a: a.pop("f"),
    "no posedirs, weights": lambda a: (a.pop("posedirs"), a.pop("weights")),
    "shapedirs is": lambda a: a.update(shapedirs=a["shapedirs"][..., :150]),
    "shapedirs is ": lambda a: a.update(shapedirs=a["shapedirs"][:-1]),
    "posedirs is": lambda a: a.update(posedirs=a["posedirs"][..., :9]),
    "weights is": lambda a: a.update(weights=a["weights"][:, :4]),
    "do not sum to 1": lambda a: a.update(weights=a["weights"] * 2),
    "J_regressor is a sparse": lambda a: a.update(J_regressor=scipy.sparse.csr_matrix((5, 10**9))),
    "J_regressor is (5, 7)": lambda a: a.update(J_regressor=np.zeros((5, 7))),
    "v_template is": lambda a: a.update(v_template=np.zeros((VERTICES, 2))),
    "v_template has values that are not finite": lambda a: a["v_template"].__setitem__((3, 1), np.nan),
    "v_template holds <U1": lambda a: a.update(v_template=np.array(["a"])),
    "f names vertices": lambda a: a.update(f=a["f"] + np.uint32(1)),
    "f holds float64": lambda a: a.update(f=a["f"] * 0.5),
    "this is a SMPL-X body": lambda a: a.update(kintree_table=np.zeros((2, 55), np.int64)),
    "names the parents [-1, 0, 1, 1, 2]": lambda a: a["kintree_table"].__setitem__((0, 4), 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named(tmp_path, fault):
    arrays = flame_arrays()
    FAULTS[fault](arrays)
    with pytest.raises(ModelError) as caught:
        read_flame(written(tmp_path / "model.pkl", arrays))
    assert fault in str(caught.value) and "model.pkl" in str(caught.value)


def test_not_a_model(tmp_path):
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ModelError, match="holds a list"):
        read_flame(tmp_path / "list.pkl")


# ------------------------------------------------------------------ the shelf


def test_shelf_prefers_the_nearest_and_knows_genders_and_versions(tmp_path):
    for name in ("open_head.npz", "flame/FLAME2020/generic_model.pkl", "flame/FLAME_MALE.pkl", "smplx/SMPLX.npz"):
        written(tmp_path / name, {"a": np.zeros(1)})
    assert find_model(tmp_path, "open_head") == tmp_path / "open_head.npz"
    assert find_model(tmp_path, "flame") == tmp_path / "flame/FLAME2020/generic_model.pkl"
    assert find_model(tmp_path, "flame", "male") == tmp_path / "flame/FLAME_MALE.pkl"
    assert find_model(tmp_path, "flame2020") == tmp_path / "flame/FLAME2020/generic_model.pkl"
    written(tmp_path / "FLAME_NEUTRAL.pkl", {})
    written(tmp_path / "flame2023_Open.pkl", {})
    assert find_model(tmp_path, "flame") == tmp_path / "FLAME_NEUTRAL.pkl"
    assert find_model(tmp_path, "flame2023_open") == tmp_path / "flame2023_Open.pkl"
    assert find_model(tmp_path, str(tmp_path / "smplx/SMPLX.npz")) == tmp_path / "smplx/SMPLX.npz"
    assert find_model(tmp_path, str(tmp_path / "flame")) == tmp_path / "flame/FLAME2020/generic_model.pkl"


def test_nothing_found_says_where_what_and_how(tmp_path):
    written(tmp_path / "flame" / "FLAME_masks.pkl", {})
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path, "flame", "female")
    for part in (str(tmp_path), "flame_female.pkl", "FLAME_masks.pkl", "https://flame.is.tue.mpg.de/", "open_head"):
        assert part in str(caught.value)
    with pytest.raises(ModelError, match="the folder does not exist"):
        find_model(tmp_path / "none", "flame")
    with pytest.raises(ModelError, match="no such model file"):
        find_model(tmp_path, str(tmp_path / "other.pkl"))
    with pytest.raises(ModelError, match="open_head.npz"):
        find_model(tmp_path, "open_head")
    with pytest.raises(ModelError, match="gender"):
        find_model(tmp_path, "flame", "unknown")


# ------------------------------------------------------------------ embeddings


def check_contour(contour, triangles: np.ndarray, weights: np.ndarray) -> None:
    """Against the rule of the file's readers: row = yaw from 0 up, 39 - yaw below 0."""
    assert contour.points.tolist() == list(range(17)) and contour.yaw.tolist() == list(range(-39, 40))
    for yaw in (-39, -38, -1, 0, 1, 39):
        row = yaw if yaw >= 0 else 39 - yaw
        here = contour.yaw.tolist().index(yaw)
        assert np.array_equal(contour.vertices[here], grid_faces()[triangles[row]])
        assert np.allclose(contour.weights[here], weights[row], atol=1e-7)


@pytest.mark.parametrize("irises", [0, 2])
def test_landmark_embedding(tmp_path, irises):
    table = landmark_embedding(irises)
    name = "landmark_embedding_with_eyes.npy" if irises else "landmark_embedding.npy"
    save_object(tmp_path / name, table)
    found = read_embeddings(tmp_path, grid_faces())
    assert list(found) == ["ibug68"]
    one = found["ibug68"]
    assert one.layout is IBUG68 and one.points.tolist() == list(range(17, 68))
    assert one.vertices.dtype == torch.int64 and one.weights.dtype == torch.float32
    assert np.array_equal(one.vertices, grid_faces()[table["static_lmk_faces_idx"][:51]])
    assert np.allclose(one.weights, table["static_lmk_bary_coords"][:51], atol=1e-7)
    check_contour(one.contour, table["dynamic_lmk_faces_idx"].numpy(), table["dynamic_lmk_bary_coords"].numpy())


@pytest.mark.parametrize("count", [51, 68])
def test_static_and_dynamic_files(tmp_path, count):
    static, dynamic = places(count), places(79, 17)
    name = "flame_static_embedding.pkl" if count == 51 else "flame_static_embedding_68.pkl"
    content = python2_pickle({"lmk_face_idx": static[0].astype(np.uint32), "lmk_b_coords": static[1]})
    (tmp_path / name).write_bytes(content)
    alone = read_embeddings(tmp_path, grid_faces())["ibug68"]
    assert alone.points.tolist() == list(range(68 - count, 68)) and alone.contour is None
    assert np.array_equal(alone.vertices, grid_faces()[static[0]])

    save_object(tmp_path / "flame_dynamic_embedding.npy", {"lmk_face_idx": dynamic[0], "lmk_b_coords": dynamic[1]})
    both = read_embeddings(tmp_path, grid_faces())["ibug68"]
    assert both.points.tolist() == list(range(17, 68))
    assert np.array_equal(both.vertices, grid_faces()[static[0][-51:]])
    check_contour(both.contour, *dynamic)
    with pytest.raises(ModelError, match="dynamic table"):
        read_embeddings(tmp_path / "flame_dynamic_embedding.npy", grid_faces())


def mediapipe_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    triangles, weights = places(105)
    np.savez(path, lmk_face_idx=triangles, lmk_b_coords=weights, landmark_indices=np.array(MEDIAPIPE105_IN_478))
    return triangles, weights


def test_mediapipe_and_which_files_are_read(tmp_path):
    triangles, weights = mediapipe_file(tmp_path / "mediapipe_landmark_embedding.npz")
    (tmp_path / "more").mkdir()
    save_object(tmp_path / "more" / "landmark_embedding.npy", landmark_embedding())
    found = read_embeddings(tmp_path, grid_faces())
    one = found["mediapipe478"]
    assert set(found) == {"ibug68", "mediapipe478"} and one.points.tolist() == list(MEDIAPIPE105_IN_478)
    assert np.array_equal(one.vertices, grid_faces()[triangles]) and np.allclose(one.weights, weights, atol=1e-7)
    files = {layout: [file.name for file in group] for layout, group in embedding_files(tmp_path).items()}
    assert files == {"mediapipe478": ["mediapipe_landmark_embedding.npz"], "ibug68": ["landmark_embedding.npy"]}


EMBEDDING_FAULTS = {
    "outside 0..": lambda t: t["static_lmk_faces_idx"].__setitem__(0, 9000),
    "sum to 1": lambda t: t["static_lmk_bary_coords"].__setitem__((0, 0), np.nan),
    "neither": lambda t: (t.pop("static_lmk_bary_coords"), t.pop("static_lmk_faces_idx")),
    "50 static": lambda t: t.update(static_lmk_faces_idx=t["static_lmk_faces_idx"][:50]),
    "the dynamic table is": lambda t: t.update(dynamic_lmk_faces_idx=t["dynamic_lmk_faces_idx"][:40]),
    "barycentric coordinates: (79, 17, 2)": lambda t: t.update(
        dynamic_lmk_bary_coords=t["dynamic_lmk_bary_coords"][..., :2]
    ),
}


@pytest.mark.parametrize("fault", EMBEDDING_FAULTS)
def test_every_embedding_fault_is_named(tmp_path, fault):
    table = landmark_embedding()
    EMBEDDING_FAULTS[fault](table)
    with pytest.raises(ModelError) as caught:
        read_embeddings(save_object(tmp_path / "landmark_embedding.npy", table), grid_faces())
    assert fault in str(caught.value) and "landmark_embedding.npy" in str(caught.value)


def test_no_or_empty_embedding(tmp_path):
    with pytest.raises(ModelError, match="no landmark embedding.*landmark_embedding.npy"):
        read_embeddings(tmp_path, grid_faces())
    (tmp_path / "landmark_embedding.npy").write_bytes(b"")
    with pytest.raises(ModelError, match="landmark_embedding.npy.*0 bytes.*empty"):
        read_embeddings(tmp_path, grid_faces())
    with pytest.raises(ModelError, match="of type"):
        read_embeddings(__file__, grid_faces())


def open_arrays() -> dict[str, np.ndarray]:
    arrays = {"mediapipe478_points": np.arange(0, 478, 2), "ibug68_static_points": np.arange(17, 68)}
    arrays |= {"ibug68_contour_yaw": np.linspace(-40, 40, 9)}
    for part, shape in (("mediapipe478", (239,)), ("ibug68_static", (51,)), ("ibug68_contour", (9, 17))):
        triangles, weights = places(*shape)
        arrays |= {f"{part}_vertices": grid_faces()[triangles], f"{part}_weights": weights.astype(np.float32)}
    return arrays


def test_open_embeddings():
    arrays = open_arrays()
    found = open_embeddings(arrays)
    assert found["mediapipe478"].points.tolist() == list(range(0, 478, 2)) and found["mediapipe478"].contour is None
    one = found["ibug68"]
    assert np.array_equal(one.vertices, arrays["ibug68_static_vertices"]) and one.contour is not None
    assert np.allclose(one.contour.yaw, np.linspace(-40, 40, 9)) and one.contour.vertices.shape == (9, 17, 3)
    assert open_embeddings({}) == {}


def test_open_embedding_faults():
    for change, fault in (
        ({"mediapipe478_vertices": np.zeros((3, 3), int)}, "mediapipe478_vertices is"),
        ({"mediapipe478_points": np.arange(300, 539)}, "outside 0..477"),
        ({"ibug68_contour_yaw": np.zeros(9)}, "does not rise"),
        ({"ibug68_contour_weights": np.zeros((9, 17, 3))}, "sum to 1"),
    ):
        with pytest.raises(ModelError, match=fault):
            open_embeddings({**open_arrays(), **change})
    arrays = open_arrays()
    del arrays["ibug68_static_weights"]
    with pytest.raises(ModelError, match="ibug68_static_weights"):
        open_embeddings(arrays)
