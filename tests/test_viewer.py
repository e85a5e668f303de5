"""Looking at results: the page, what the view puts into space, and the view itself in a headless browser."""

from __future__ import annotations

import dataclasses
import json
import socket
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import browse, find_chromium
from made_solutions import some_solution

from fitting import pipeline
from fitting.cli import main
from fitting.config import FitConfig
from fitting.types import InputError, ModelError, Solution
from fitting.viewer import Person, measures, read_results, scene, svg, write_page
from fitting.viewer.page import page
from fitting.viewer.posing import has_start, tracks
from fitting.writers import PICTURE_WRITERS, WRITERS, PictureOptions, report


@pytest.fixture
def folder(tmp_path) -> Path:
    """A finished run of two people, one of them with a name that a page must not believe."""
    return finished(tmp_path, [some_solution(), some_solution("001")])


def finished(folder: Path, people: list[Solution]) -> Path:
    for person in people:
        WRITERS["params"](person, folder)
    PICTURE_WRITERS["overlay"](people, folder, PictureOptions(panel=96))
    report.write(people, "input: clip <b>&\n", folder)
    return folder


# ------------------------------------------------------------------ the page


class Tags(HTMLParser):
    """Every tag and address of a page; complains of tags that do not close."""

    VOID = ("meta", "img", "rect", "line", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parse(path: Path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert not tags.open
    return tags


def test_the_page_is_whole_and_fetches_nothing(folder):
    tags = parse(write_page(folder))
    assert not {"script", "link", "iframe", "object"} & set(tags.seen)
    assert tags.addresses and all(address.startswith("data:image/jpeg;base64,") for address in tags.addresses)
    assert "url(" not in (folder / "report.html").read_text() and "@import" not in (folder / "report.html").read_text()


def test_the_page_says_what_there_is_to_say(folder):
    text = parse(write_page(folder)).text
    assert "clip <b>&" in text and "Person 001" in text and "open_head" in text
    assert ("ab" * 32) in text and read_results(folder).config_sha256 in text
    assert text.index("frame 000003: 3.00 px, 1.50 %") < text.index("frame 000000: 1.00 px")  # the worst first
    assert "interpolated" in text and "nobody was detected" in text
    for heading in ("Worst frames first", "Error over time", "Jitter over time", "Cost of each term", "Configuration"):
        assert heading in text
    # Costs at the start and the end, summed over fitted frames: 1 + 2 + 3 of keypoints, a third of it at the end.
    assert "keypoints6.02.0" in text.replace("\n", "")


def test_a_page_without_pictures_report_or_configuration(tmp_path):
    WRITERS["params"](some_solution(is_clip=False, pictures=False), tmp_path)
    text = parse(write_page(tmp_path)).text
    assert "--outputs params,overlay" in text and "Error over time" not in text  # photos have no time


def test_what_the_evidence_left_open_is_said(tmp_path):
    open_ended = dataclasses.replace(
        some_solution(), sd={"transl": np.full((4, 3), 0.002)}, ambiguities=("size and distance cannot be told apart",)
    )
    text = parse(write_page(finished(tmp_path, [open_ended]))).text
    assert "Person 000: size and distance cannot be told apart" in text
    assert "transl22mm" in text.replace("\n", "")  # 2 mm, root mean square and largest


def test_names_are_text_and_not_markup(tmp_path):
    wild = some_solution()
    names = ("<script>alert(1)</script>", "a&b", '"', "ok")
    wild = dataclasses.replace(wild, observations=dataclasses.replace(wild.observations, names=names))
    WRITERS["params"](wild, tmp_path)
    report.write([wild], "x: </pre><script>\n", tmp_path)
    tags = parse(write_page(tmp_path))
    assert "script" not in tags.seen and "<script>alert(1)</script>" in tags.text


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="params.npz is expected, found no such folder"):
        read_results(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="notes.txt"):
        read_results(tmp_path)
    (tmp_path / "params.npz").write_bytes(b"PK\x03\x04")
    assert main(["report", str(tmp_path)]) == 3 and "params.npz" in capsys.readouterr().err
    assert main(["report"]) == 2 and "out/clip" in capsys.readouterr().err
    assert main(["view", str(tmp_path), "--prot", "1"]) == 2 and "--prot" in capsys.readouterr().err


def test_report_on_the_command_line_names_the_page(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")


# ------------------------------------------------------------------ measures and charts


def test_jitter_by_hand():
    points = np.zeros((5, 2, 2))
    points[:, 0, 0] = [0, 1, 4, 9, 16]  # second difference 2
    points[3, 1] = np.nan
    expected = [np.nan, np.sqrt((2**2 + 0) / 2), 2.0, 2.0, np.nan]
    np.testing.assert_allclose(measures.jitter_px(points), expected)
    assert np.isnan(measures.jitter_px(points[:2])).all()


def test_where_frames_come_from_and_why():
    rows = tuple({"suspicious": k == 4} for k in range(6))
    confidence = np.array([[0.0], [0.0], [1.0], [0.5], [1.0], [1.0]])
    source = np.array(["held", "held", "fitted", "interpolated", "interpolated", "fitted"])
    found = measures.stretches(Person("000", {"source": source, "confidence": confidence}, rows))
    assert [(s.first, s.last, s.source) for s in found] == [
        (0, 1, "held"),
        (3, 3, "interpolated"),
        (4, 4, "interpolated"),
    ]
    assert ["nobody" in found[0].why, "too few" in found[1].why, "not this person's" in found[2].why] == [True] * 3


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.7, 12.1), (0.0012, 0.0019), (0.0, 1e6), (5.0, 5.0001)])
def test_ticks_are_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert 3 <= len(found) <= 7 and low <= min(found) and max(found) <= high
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    assert any(np.isclose(steps[0] / 10 ** np.floor(np.log10(steps[0])), round_one) for round_one in (1, 2, 5, 10))


def test_a_chart_has_gaps_where_nothing_is_known():
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0, np.nan, 5.0])
    chart = svg.line_chart([svg.Line("a", values, "#000", np.full(7, 0.5))], "px", [svg.Shade(2, 2, "#eee")])
    assert chart.count('fill="none"') == 3 and chart.count("<rect") == 1  # two lines and a dash
    assert "nan" not in chart.lower()
    empty = svg.line_chart([svg.Line("a", np.full(3, np.nan), "#000")], "px")
    assert "<path" not in empty and "nan" not in empty.lower()


# ------------------------------------------------------------------ things in space


def test_the_backdrop_fills_the_cameras_view():
    K, size = np.array([[500.0, 0, 300], [0, 480.0, 200], [0, 0, 1]]), (640, 480)
    plane = scene.backdrop(K, size, 2.0)
    for u, v in ((-0.5, -0.5), (639.5, 479.5)):  # outer corners of the corner pixels
        share = np.array([(u + 0.5) / size[0] - 0.5, 0.5 - (v + 0.5) / size[1]])
        corner = plane.position + [share[0] * plane.width, share[1] * plane.height, 0]
        x, y, z = corner * [1, -1, -1]  # to the camera's axes
        np.testing.assert_allclose([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], [u, v], atol=1e-9)


def test_measured_landmarks_in_space_are_seen_where_they_were_measured(folder):
    person = read_results(folder).people[0]
    fitted = np.random.default_rng(0).normal([0, 0, -1], 0.05, (5, 3))
    placed = scene.measured_in_space(person, 0, fitted)
    K = person.arrays["K"][0]
    pixels = (placed * [1, -1, -1]) @ K.T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], person.arrays["keypoints"][0], atol=1e-9)
    np.testing.assert_allclose(placed[:, 2], fitted[:, 2])
    assert np.isnan(scene.measured_in_space(person, 2, fitted)[:, :2]).all()  # confidence 0
    lines = scene.residual_lines(fitted, placed, 3.0)
    np.testing.assert_allclose(lines[:, 1] - lines[:, 0], 3 * (placed - fitted))


def test_errors_become_colours():
    assert scene.error_colours(np.array([0.0, 1.0, 2.0, 9.0, np.nan])).tolist() == [
        list(scene.COLD), list(scene.WARM), list(scene.HOT), list(scene.HOT), [150] * 3
    ]  # fmt: skip
    vertices = np.stack([np.linspace(0, 1, 101), np.zeros(101), np.zeros(101)], axis=-1)
    landmarks = np.array([[0.2, 0, 0], [0.8, 0, 0], [np.nan] * 3])
    spread = scene.spread_errors(vertices, landmarks, np.array([1.0, 3.0, 5.0]), reach=0.1)
    assert (
        spread[20] == pytest.approx(1.0) and spread[80] == pytest.approx(3.0) and np.isnan(spread[[0, 50, 100]]).all()
    )


# ------------------------------------------------------------------ a real run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Solution]:
    """The sample photograph, a few iterations."""
    folder = tmp_path_factory.mktemp("run")
    recipe = {
        "input": "sample:grace_hopper", "output": str(folder), "outputs": ["params", "overlay"], "body": {"betas": 5},
        "terms": {"keypoints": {}, "shape": {}, "expression": {}},
        "stages": [{"name": "all", "free": ["rotation", "translation", "expression"], "iterations": 5}],
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    (solution,) = pipeline.fit(FitConfig.load(path))
    return folder, solution


def test_a_run_is_posed_again_as_it_was(run):
    folder, solution = run
    (track,) = tracks(read_results(folder))
    np.testing.assert_allclose(track.vertices(0), solution.vertices(0), atol=2e-6)
    landmarks = track.landmarks(0) * [1, -1, -1]
    pixels = landmarks @ solution.K[0].T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], solution.projected[0], atol=0.02)
    assert has_start(track.person) and np.abs(track.vertices(0, start=True) - track.vertices(0)).max() > 1e-4


def test_another_model_file_than_the_runs_is_refused(run, tmp_path):
    folder, _ = run
    with np.load(folder / "params.npz") as file:
        arrays = {**file, "model_sha256": np.array("0" * 64)}
    np.savez(tmp_path / "params.npz", **arrays)
    (tmp_path / "conf.yaml").write_text((folder / "conf.yaml").read_text())
    with pytest.raises(ModelError, match="put the old file back"):
        tracks(read_results(tmp_path))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def viewer(run):
    pytest.importorskip("viser", reason='the browser view is the extra "viewer"')
    from fitting.viewer.server import Viewer

    shown = Viewer(run[0], port=free_port())
    yield shown
    shown.close()


def test_the_scene_follows_the_controls(viewer, run, capsys):
    controls, nodes = viewer.controls, viewer._nodes
    np.testing.assert_allclose(nodes["/person_0/mesh"].vertices, run[1].vertices(0), atol=1e-5)
    assert nodes["/person_0/fitted"].visible and nodes["/person_0/residuals"].visible
    assert "grace_hopper" in controls.words.content and " px" in controls.words.content
    controls.mesh.value = False
    viewer.show()
    assert not nodes["/person_0/mesh"].visible
    controls.mesh.value = controls.start.value = controls.by_error.value = True
    viewer.show()
    assert nodes["/person_0/start"].visible and nodes["/person_0/by_error"].visible
    controls.start.value = controls.by_error.value = False
    viewer.show()
    assert nodes["/person_0/mesh"].visible and not nodes["/person_0/start"].visible
    controls.block.value = "error_px"
    controls.draw_curves()
    assert len(controls.plot.data) == len(controls.plot.series) == 2
    assert set(scene.columns_of(viewer.tracks[0].person)) >= {"global_orient", "transl", "expression 0-8", "error_px"}
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on the PATH or name it in KEYFIT_CHROMIUM")
def test_the_view_in_a_browser(viewer, tmp_path):
    """No console error, nothing fetched beyond this machine, and the mesh is there."""
    middle = (slice(150, 650), slice(330, 900))  # left of the controls
    switches = (viewer.controls.mesh, viewer.controls.landmarks, viewer.controls.residuals)
    with browse(tmp_path) as page_:
        page_.open(viewer.url)
        with_mesh = page_.settled(middle).astype(int)
        for switch in switches:
            switch.value = False
        viewer.show()
        without = page_.settled(middle).astype(int)
    for switch in switches:
        switch.value = True
    viewer.show()
    assert page_.errors == []
    beyond = [a for a in page_.fetched if not a.startswith(("data:", "blob:", "http://127.0.0.1", "ws://127.0.0.1"))]
    assert beyond == []
    changed = np.abs(with_mesh - without).max(axis=-1) > 24
    assert changed[middle].mean() > 0.15  # the head
    assert without[middle].std() > 20  # and the photograph behind it stays


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on the PATH or name it in KEYFIT_CHROMIUM")
def test_the_page_in_a_browser(folder, tmp_path):
    path = write_page(folder)
    with browse(tmp_path / "browser") as page_:
        page_.open(path.as_uri())
        page_.listen(2)
        loaded = page_.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        charts = page_.evaluate("document.querySelectorAll('svg').length")
    assert page_.errors == [] and loaded and charts >= 4
    assert all(address.startswith(("data:", "file:")) for address in page_.fetched)


def test_the_page_of_a_real_run(run):
    results = read_results(run[0])
    text = page(results)
    assert "grace_hopper" in text and "expression" in text and len(results.people[0]) == 1
    assert json.loads((run[0] / "report.json").read_text())["model"] in text
