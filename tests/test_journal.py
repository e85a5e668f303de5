"""A fit that was cut off goes on after the last stage that it finished, and ends with the same bytes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_clips import FLOAT64, SIZE, case_of, placed, rotations, seen

from fitting import pipeline
from fitting.config import FitConfig
from fitting.journal import FOLDER, Journal, discard, feed
from fitting.solve import solve
from fitting.start import guess
from fitting.types import OutputError, Stop

ROOT = Path(__file__).resolve().parents[1]
FRAMES, STAGES = 5, ("place", "identity", "all")
RECIPE = {
    "body": {"betas": 5, "expressions": 5},
    "detector": {"points": "mediapipe105"},
    "outputs": ["params"],
    "terms": {"keypoints": {}, "shape": {}, "expression": {}, "jaw": {}, "eyes": {}},
    "stages": [
        {"name": "place", "free": ["rotation", "translation"], "iterations": 2},
        {"name": "identity", "free": ["rotation", "shape", "offsets"], "iterations": 2, "keyframes": 3, "centre": True},
        {"name": "all", "free": ["rotation", "translation", "jaw", "shape"], "iterations": 3},
    ],
}


class Cut(Exception):
    """The moment at which somebody pulls the plug."""


class Watcher(pipeline.Silence):
    """Counts the stages that are solved, of the fit and of a search; ends the run after so many of one kind."""

    def __init__(self, end: int | None = None, what: str = "fitting") -> None:
        self.end, self.what = end, what
        self.solved = {"fitting": 0, "searching": 0}
        self.notes: list[str] = []

    def progress(self, what: str, done: int, count: int) -> None:
        if what in self.solved:
            self.solved[what] += 1
            if what == self.what and self.solved[what] == self.end:
                raise Cut

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def landmarks(open_head, tmp_path_factory) -> Path:
    """A folder with a clip of landmarks and a recipe."""
    folder = tmp_path_factory.mktemp("landmarks")
    head = open_head.to(FLOAT64)
    talking = placed(head, [(5, 4 * k, 2) for k in range(FRAMES)])
    pixels = seen(head, talking.replace({"jaw_pose": rotations([(10, 0, 0)] * FRAMES)})).keypoints
    np.savez(folder / "clip.npz", landmarks=(pixels + 0.5) / SIZE, image_size=np.array(SIZE), fps=np.array(25.0))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def run(landmarks: Path, output: Path, watcher: Watcher, *more: tuple[str, str]) -> bytes:
    """One run; the bytes of its parameters."""
    settings = [("input", str(landmarks / "clip.npz")), ("output", str(output)), *more]
    pipeline.fit(FitConfig.load(landmarks / "recipe.yaml", settings), watcher)
    return (output / "params.npz").read_bytes()


def cut_off(landmarks: Path, output: Path, watcher: Watcher, *more: tuple[str, str]) -> list[Path]:
    """A run that ends too early; its records."""
    with pytest.raises(Cut):
        run(landmarks, output, watcher, *more)
    assert [path.name for path in output.iterdir()] == [FOLDER]
    return sorted((output / FOLDER).iterdir())


@pytest.fixture(scope="module")
def whole(landmarks, tmp_path_factory) -> Path:
    """What a run writes that nobody has disturbed."""
    output = tmp_path_factory.mktemp("whole")
    run(landmarks, output, Watcher())
    return output


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_clip_goes_on_after_the_last_stage_that_was_finished(landmarks, whole, tmp_path, stage):
    (record,) = cut_off(landmarks, tmp_path, Watcher(end=stage))
    with np.load(record, allow_pickle=False) as file:
        assert int(file["stages"]) == stage and file["block.transl"].shape == (1, FRAMES, 3)
    watcher = Watcher()
    assert run(landmarks, tmp_path, watcher) == (whole / "params.npz").read_bytes()
    assert watcher.solved["fitting"] == len(STAGES) - stage
    assert watcher.notes == [f"person 000: resuming after stage {STAGES[stage - 1]!r}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf.yaml", "params.npz", "report.json"]
    before, after = (json.loads((folder / "report.json").read_text()) for folder in (whole, tmp_path))
    assert before["frames"] == after["frames"]  # costs, iterations, stops


def test_a_process_that_was_killed_goes_on(landmarks, whole, tmp_path):
    script = (
        "import os, signal; from pathlib import Path\n"
        "from fitting import pipeline; from fitting.config import FitConfig\n"
        "class Killer(pipeline.Silence):\n"
        "    stages = 0\n"
        "    def progress(self, what, done, count):\n"
        "        self.stages += what == 'fitting'\n"
        "        if self.stages == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"settings = [('input', {str(landmarks / 'clip.npz')!r}), ('output', {str(tmp_path)!r})]\n"
        f"pipeline.fit(FitConfig.load(Path({str(landmarks / 'recipe.yaml')!r}), settings), Killer())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ}, check=False)
    assert ended.returncode == -signal.SIGKILL
    watcher = Watcher()
    assert run(landmarks, tmp_path, watcher) == (whole / "params.npz").read_bytes()
    assert watcher.solved["fitting"] == 1 and not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    "more",
    [("terms.shape.sigma", "0.5"), ("precision", "float64"), ("camera.focal", "650"), ("body.expressions", "4")],
)
def test_other_settings_begin_anew(landmarks, tmp_path, more):
    cut_off(landmarks, tmp_path / "a", Watcher(end=2))
    watcher, fresh = Watcher(), Watcher()
    assert run(landmarks, tmp_path / "a", watcher, more) == run(landmarks, tmp_path / "b", fresh, more)
    assert watcher.solved["fitting"] == len(STAGES) and watcher.notes == [] == fresh.notes
    assert not (tmp_path / "a" / FOLDER).exists()


def test_settings_that_change_no_stage_do_not_matter(landmarks, whole, tmp_path):
    cut_off(landmarks, tmp_path, Watcher(end=2), ("outputs", "params,obj"))
    watcher = Watcher()
    assert run(landmarks, tmp_path, watcher) == (whole / "params.npz").read_bytes()
    assert watcher.solved["fitting"] == 1


def test_another_program_begins_anew(landmarks, tmp_path, monkeypatch):
    (before,) = cut_off(landmarks, tmp_path, Watcher(end=2))
    monkeypatch.setattr(Journal, "_code", "of another day")
    (after,) = cut_off(landmarks, tmp_path, Watcher(end=1))
    assert after.name != before.name and not before.exists()  # it would be of no use to anybody


@pytest.mark.parametrize("damage", ["empty", "cut off", "a flipped bit", "foreign", "another fit's"])
def test_a_damaged_record_is_named_and_the_fit_begins_anew(landmarks, whole, tmp_path, damage):
    (record,) = cut_off(landmarks, tmp_path, Watcher(end=2))
    content = record.read_bytes()
    place = content.index(b"block.transl") + 200
    if damage == "foreign":
        np.savez(record, **{"block.betas": np.array(["no", "numbers"])})
    elif damage == "another fit's":
        with np.load(record, allow_pickle=False) as file:
            np.savez(record, **{name: file[name] for name in file.files} | {"fingerprint": np.array("0" * 64)})
    else:
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        record.write_bytes({"empty": b"", "cut off": content[:-100], "a flipped bit": flipped}[damage])
    watcher = Watcher()
    assert run(landmarks, tmp_path, watcher) == (whole / "params.npz").read_bytes()
    (note,) = watcher.notes
    assert str(record) in note and "begins anew" in note
    assert watcher.solved["fitting"] == len(STAGES) and not (tmp_path / FOLDER).exists()


def test_photos_go_on_chunk_by_chunk(landmarks, tmp_path):
    more = (("read.sequence", "photos"), ("chunk", "2"))
    records = cut_off(landmarks, tmp_path / "a", Watcher(end=5), *more)
    assert len(records) == 2
    watcher = Watcher()
    assert run(landmarks, tmp_path / "a", watcher, *more) == run(landmarks, tmp_path / "b", Watcher(), *more)
    assert watcher.solved["fitting"] == 3 * len(STAGES) - 5
    assert watcher.notes == ["person 000: resuming after stage 'all' in 1 of 3 chunks"]


SEARCH = {
    "facing": [0.0, 180.0],
    "stages": [
        {"name": "turn", "free": ["rotation", "translation"], "iterations": 3},
        {"name": "settle", "free": ["rotation", "translation", "jaw"], "iterations": 3},
    ],
}


@pytest.mark.parametrize(("what", "end", "after"), [("searching", 1, "turn"), ("fitting", 1, "place")])
def test_the_search_for_a_start_is_not_done_twice(landmarks, tmp_path, what, end, after):
    more = ("search", yaml.safe_dump(SEARCH, default_flow_style=True))
    cut_off(landmarks, tmp_path / "a", Watcher(end, what), more)
    watcher, fresh = Watcher(), Watcher()
    assert run(landmarks, tmp_path / "a", watcher, more) == run(landmarks, tmp_path / "b", fresh, more)
    assert fresh.solved == {"fitting": 3, "searching": 2}
    assert watcher.solved == ({"fitting": 3, "searching": 1} if what == "searching" else {"fitting": 2, "searching": 0})
    assert watcher.notes == [f"person 000: resuming after stage {after!r}"]


def test_chunks_in_several_threads(random_body, tmp_path):
    """Every chunk has a record of its own, those of equal photos too."""
    photos = seen(random_body, placed(random_body, [(3, 7, 2)] * 36))
    case, notes = case_of(random_body, photos), []
    config = FitConfig.model_validate(RECIPE | {"chunk": 12, "error_bars": False})
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = solve(case, guess(case), config)
        journal = Journal(tmp_path, "000", notes.append)
        with pytest.raises(Cut):
            solve(case, guess(case), config, Watcher(end=4).progress, journal)
        assert len(list((tmp_path / FOLDER).glob("000-*.npz"))) >= 2
        found = solve(case, guess(case), config, Watcher().progress, Journal(tmp_path, "000", notes.append))
    finally:
        torch.set_num_threads(threads)
    assert len(notes) == 1 and "resuming after stage" in notes[0]
    assert found.stop == expected.stop and Stop.NOT_FITTED not in found.stop
    assert (found.iterations == expected.iterations).all()
    assert all(torch.equal(found.parameters[name], value) for name, value in expected.parameters.items())


def test_a_folder_that_cannot_be_written_ends_the_fit_early(landmarks, tmp_path):
    (tmp_path / FOLDER).write_text("a file")
    watcher = Watcher()
    with pytest.raises(OutputError, match=FOLDER):
        run(landmarks, tmp_path, watcher)
    assert watcher.solved["fitting"] == 0


def test_only_records_are_removed(tmp_path):
    (tmp_path / FOLDER).mkdir()
    mark = "0123456789abcdef"
    for name in (f"000-{mark}.npz", f".001-{mark}.npz.part", "mine.txt", "000.npz"):
        (tmp_path / FOLDER / name).write_bytes(b"")
    discard(tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["000.npz", "mine.txt"]
    discard(tmp_path / "nowhere")


def mark_of(value: object) -> str:
    digest = hashlib.sha256()
    feed(digest, value)
    return digest.hexdigest()


def test_a_fingerprint_is_of_every_value(random_body):
    same = replace(random_body, skin=replace(random_body.skin, template=random_body.skin.template.clone()))
    assert mark_of(random_body) == mark_of(same)
    moved = random_body.skin.template.clone()
    moved[-1, -1] = torch.nextafter(moved[-1, -1], moved[-1, -1] + 1)
    others = [
        replace(random_body, skin=replace(random_body.skin, template=moved)),
        replace(random_body, skin=replace(random_body.skin, template=random_body.skin.template.float())),
        replace(random_body, stature=1.8),
        replace(random_body, embeddings={}),
        (random_body, None),
    ]
    assert len({mark_of(value) for value in (random_body, *others)}) == 1 + len(others)
    assert mark_of(torch.zeros(2, 3)) != mark_of(torch.zeros(3, 2)) != mark_of(torch.zeros(6))
    assert mark_of((("a", "b"), "c")) != mark_of(("a", ("b", "c")))
    with pytest.raises(TypeError, match="function"):
        feed(hashlib.sha256(), {"term": lambda: None})
