"""Every writer's file is read back equal, is the same twice, and appears whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import trimesh
from made_solutions import BALL, BLOCKS, FRAMES, SIZE, FakeBody, FakePictures, some_solution

from fitting.types import OutputError, Parameters, Solution
from fitting.writers import PICTURE_WRITERS, WRITERS, PictureOptions, atomic, flame_npy, mesh_obj, npz, report
from fitting.writers.facts import person_name

EVERY = (*WRITERS, *PICTURE_WRITERS)
SMALL = PictureOptions(panel=96, texture=64)


def write(name: str, solution: Solution, folder: Path) -> list[Path]:
    if name in WRITERS:
        return WRITERS[name](solution, folder)
    return PICTURE_WRITERS[name]([solution], folder, SMALL)


@pytest.fixture(scope="module")
def solution() -> Solution:
    return some_solution(body=FakeBody(textured=True))


# ------------------------------------------------------------------ every writer


@pytest.mark.parametrize("name", EVERY)
def test_same_bytes_twice_and_all_files_named(name, solution, tmp_path):
    first, second = write(name, solution, tmp_path / "a"), write(name, solution, tmp_path / "b")
    assert first and [p.relative_to(tmp_path / "a") for p in first] == [p.relative_to(tmp_path / "b") for p in second]
    assert {p for p in (tmp_path / "a").rglob("*") if p.is_file()} == set(first)  # nothing temporary is left
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize("name", EVERY)
def test_a_refused_folder_is_an_output_error(name, solution, tmp_path):
    """A file where the folder should be is refused for every user, root too."""
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(OutputError, match="taken.*could not be written.*--output"):
        write(name, solution, target)
    assert target.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_output_error(solution, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="writable"):
        WRITERS["params"](solution, tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_persons_do_not_overwrite_each_other(name, solution, tmp_path):
    first = WRITERS[name](solution, tmp_path)
    second = WRITERS[name](some_solution("001"), tmp_path)
    assert not set(first) & set(second)


@pytest.mark.parametrize("name", PICTURE_WRITERS)
@pytest.mark.parametrize("is_clip", [True, False])
def test_two_people_have_files_of_their_own_or_one_together(name, is_clip, tmp_path):
    people = [some_solution(person, is_clip, body=FakeBody(textured=True)) for person in ("000", "001")]
    paths = PICTURE_WRITERS[name](people, tmp_path, SMALL)
    assert len(set(paths)) == len(paths) and all(path.is_file() for path in paths)
    alone = PICTURE_WRITERS[name](people[:1], tmp_path / "alone", SMALL)
    together = name in ("overlay", "depth", "normals", "mask", "wireframe")
    assert len(paths) == len(alone) * (1 if together else 2)


def test_an_exception_leaves_the_earlier_file(tmp_path):
    path = atomic.write_text(tmp_path / "a" / "file.txt", "earlier")
    with pytest.raises(RuntimeError), atomic.replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "earlier" and list(path.parent.iterdir()) == [path]


def test_a_broken_off_video_leaves_the_earlier_one(solution, tmp_path, monkeypatch):
    def read(self):
        yield np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
        raise RuntimeError("broken")

    (tmp_path / "overlay.mp4").write_text("earlier")
    monkeypatch.setattr(FakePictures, "read", read)
    with pytest.raises(RuntimeError, match="broken"):
        write("overlay", solution, tmp_path)
    assert (tmp_path / "overlay.mp4").read_text() == "earlier"
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]


def test_names_of_persons():
    assert person_name("params.npz", "000") == "params.npz"
    assert person_name("params.npz", "012") == "params_012.npz"


# ------------------------------------------------------------------ params.npz


def test_params_read_back(solution, tmp_path):
    (path,) = WRITERS["params"](solution, tmp_path)
    with np.load(path, allow_pickle=False) as stored:
        for name, rows in solution.parameters.rows().items():
            assert stored[name].dtype == np.float32
            np.testing.assert_array_equal(stored[name], rows.astype(np.float32))
        for name in ("K", "valid", "iterations", "error_px", "error_percent", "start_error_px", "projected"):
            np.testing.assert_array_equal(stored[name], getattr(solution, name))
        for name in ("keypoints", "confidence", "image_sizes", "timestamps"):
            np.testing.assert_array_equal(stored[name], getattr(solution.observations, name))
        assert tuple(stored["names"]) == solution.observations.names and tuple(stored["source"]) == solution.source
        assert tuple(stored["stop"]) == tuple(stop.value for stop in solution.stop)
        assert tuple(stored["block_names"]) == tuple(block.name for block in BLOCKS)
        assert stored["block_sizes"].tolist() == [block.size for block in BLOCKS]
        assert str(stored["model"]) == "open_head" and str(stored["model_sha256"]) == "ab" * 32
        assert str(stored["layout"]) == "five" and "".join(stored["point_names"]) == "abcde"
        assert tuple(stored["expression_names"]) == FakeBody.expression_names
        assert float(stored["fps"]) == 30000 / 1001 and stored["world_from_camera"].shape == (4, 4)
        assert str(stored["format"]).startswith("keyfit-params") and "axis-angle" in str(stored["conventions"])
        assert [text.split()[0] for text in stored["versions"]][:3] == ["keyfit", "torch", "numpy"]


def test_params_of_photos_have_no_fps(tmp_path):
    (path,) = WRITERS["params"](some_solution(is_clip=False, pictures=False), tmp_path)
    with np.load(path, allow_pickle=False) as stored:
        assert np.isnan(stored["fps"]) and "timestamps" not in stored


def test_object_arrays_are_refused(tmp_path):
    with pytest.raises(OutputError, match="pickle"):
        npz.write_npz(tmp_path / "a.npz", {"bad": np.array([None, 1], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_compressed_archives_are_smaller_and_the_same_every_time(tmp_path):
    arrays = {"zeros": np.zeros((50, 3)), "name": np.array("head")}
    plain, small = npz.write_npz(tmp_path / "a.npz", arrays), npz.write_npz(tmp_path / "b.npz", arrays, compress=True)
    assert small.stat().st_size < plain.stat().st_size
    assert npz.write_npz(tmp_path / "c.npz", arrays, compress=True).read_bytes() == small.read_bytes()
    with np.load(small, allow_pickle=False) as stored:
        assert (stored["zeros"] == arrays["zeros"]).all() and str(stored["name"]) == "head"


# ------------------------------------------------------------------ meshes and results


def read_obj(path: Path) -> dict[str, np.ndarray]:
    """By hand: all numbers of v and vt lines, all indices of f lines, still 1-based."""
    rows: dict[str, list] = {"v": [], "vt": [], "f": []}
    for line in path.read_text().splitlines():
        key, *words = line.split()
        if key in ("v", "vt"):
            rows[key].append([float(word) for word in words])
        elif key == "f":
            rows[key].append([[int(part) for part in word.split("/")] for word in words])
    return {key: np.array(value) for key, value in rows.items()}


@pytest.mark.parametrize("textured", [False, True])
def test_obj_read_back(textured, tmp_path):
    solution = some_solution(body=FakeBody(textured=textured))
    paths = WRITERS["obj"](solution, tmp_path)
    assert paths == [tmp_path / "meshes" / f"{k:06d}" / "000.obj" for k in (0, 1, 3)]  # frame 2 has no body
    for k, path in zip((0, 1, 3), paths, strict=True):
        rows = read_obj(path)
        np.testing.assert_allclose(rows["v"], solution.vertices(k), atol=5.1e-7)
        np.testing.assert_array_equal(rows["f"][..., 0] - 1, solution.body.faces)
        loaded = trimesh.load(path, process=False, maintain_order=True)
        assert loaded.volume == pytest.approx(BALL.volume, rel=1e-4) and loaded.centroid[2] == pytest.approx(
            -1, abs=1e-3
        )
        if textured:
            np.testing.assert_allclose(rows["vt"], solution.body.uv, atol=5.1e-7)
            np.testing.assert_array_equal(rows["f"][..., 1] - 1, solution.body.uv_faces)


def test_obj_numbers_are_never_in_scientific_form():
    text = mesh_obj.format_vertices(np.array([[1e-9, -2.5, 12345.678901]]))
    assert text == "v 0.000000 -2.500000 12345.678901\n"


def test_pkl_holds_numpy_and_builtins_only(solution, tmp_path):
    paths = WRITERS["pkl"](solution, tmp_path)
    assert [path.parent.name for path in paths] == ["000000", "000001", "000003"]
    content = paths[2].read_bytes()
    assert pickle_globals(content) <= {"numpy", "builtins", "_codecs"}
    stored = pickle.load(io.BytesIO(content))
    for name, rows in solution.parameters.rows().items():
        np.testing.assert_array_equal(stored[name], rows[3:4].astype(np.float32))
    np.testing.assert_array_equal(stored["K"], solution.K[3])
    assert stored["frame"] == 3 and stored["person"] == "000" and stored["error_px"] == 3.0
    assert {type(value) for value in stored.values()} <= {np.ndarray, str, int, float, bool}


def pickle_globals(content: bytes) -> set[str]:
    """Top packages of all classes and functions a pickle names; nothing in it is run."""
    packages, strings = set(), []
    memo: dict[int, object] = {}
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE"):
            strings.append(argument)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else None
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            strings.append(memo[argument])
        elif opcode.name == "STACK_GLOBAL":
            packages.add(str(strings[-2]).split(".")[0])
        elif opcode.name in ("GLOBAL", "INST"):
            packages.add(argument.split(".")[0])
    return packages


# ------------------------------------------------------------------ flame_params


@pytest.mark.parametrize(("model", "columns"), [("open_head", 4), ("flame2020", 50)])
def test_flame_params_read_back(model, columns, tmp_path):
    solution = some_solution(body=FakeBody(model))
    packed_path, statistics_path, sidecar_path = WRITERS["npy"](solution, tmp_path)
    packed = np.load(packed_path, allow_pickle=False)
    rows = solution.parameters.rows()
    assert packed.shape == (FRAMES, columns + 6) and packed.dtype == np.float32
    np.testing.assert_array_equal(packed[:, :4], rows["expression"])
    assert not packed[:, 4:columns].any()
    np.testing.assert_array_equal(packed[:, columns : columns + 3], rows["global_orient"].astype(np.float32))
    np.testing.assert_array_equal(packed[:, columns + 3 :], rows["jaw_pose"].astype(np.float32))
    with np.load(statistics_path, allow_pickle=False) as statistics:
        assert sorted(statistics) == ["mean", "std"]
        np.testing.assert_allclose(statistics["mean"], packed.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(statistics["std"], packed.std(axis=0), atol=1e-6)
    sidecar = json.loads(sidecar_path.read_text())
    assert sidecar["order"] == [
        {"name": "expression", "columns": [0, columns]},
        {"name": "global_rotation", "columns": [columns, columns + 3]},
        {"name": "jaw", "columns": [columns + 3, columns + 6]},
    ]
    assert sidecar["frames"] == FRAMES and sidecar["valid"] == [True, True, False, True]
    assert sidecar["model"] == model and sidecar["source"] == list(solution.source)


def test_long_flame_expressions_are_cut():
    rows = np.arange(200.0, dtype=np.float32).reshape(2, 100)
    np.testing.assert_array_equal(flame_npy._resized(rows, 50), rows[:, :50])


def test_a_body_without_a_face_cannot_be_packed(solution, tmp_path):
    bare = Parameters({name: solution.parameters[name] for name in ("betas", "global_orient", "transl")})
    with pytest.raises(OutputError, match="jaw_pose.*leave npy out"):
        WRITERS["npy"](dataclasses.replace(solution, parameters=bare), tmp_path)


# ------------------------------------------------------------------ report


def test_report_is_valid_json_over_all_persons(solution, tmp_path):
    paths = report.write([solution, some_solution("001")], "input: x\n", tmp_path, {"vertex_mm": np.float32(1.5)})
    assert paths == [tmp_path / "report.json", tmp_path / "conf.yaml"]
    assert (tmp_path / "conf.yaml").read_text() == "input: x\n"
    stored = json.loads(paths[0].read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert stored["model"] == "open_head" and stored["seconds"] == 3.0 and stored["truth"] == {"vertex_mm": 1.5}
    assert [(row["person"], row["index"]) for row in stored["frames"]] == [
        (p, k) for p in ("000", "001") for k in range(4)
    ]
    third = stored["frames"][2]
    assert third["error_px"] is None and third["cost_end"] == {"keypoints": None, "shape": 2.0}
    assert third["valid"] is False and third["source"] == "missing" and third["stop"] == "not fitted"
    assert set(third) >= {"frame", "error_percent", "cost_start", "iterations"}


def test_report_without_truth_or_persons(tmp_path):
    assert "truth" not in report.build([some_solution()])
    assert report.build([])["frames"] == []
