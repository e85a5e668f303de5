"""The whole trip: observe, load, start, solve, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from fitting import bodies, codes, detectors, exports, hypotheses, readers, samples, start, start_codes, writers
from fitting.action_units import read_action_units
from fitting.config import FitConfig
from fitting.evidence import Case, bind, without_frames
from fitting.journal import Journal, discard
from fitting.layouts import MEDIAPIPE105_IN_478, MEDIAPIPE478
from fitting.quality import suspicious
from fitting.solve import solve
from fitting.together import join
from fitting.track import gaps
from fitting.truth import compare
from fitting.types import Body, ConfigError, DependencyError, InputError, Observations, Pictures, Solution, Stop


@runtime_checkable
class Watcher(Protocol):
    """Told of everything that a person at the screen may want to know."""

    def progress(self, what: str, done: int, count: int) -> None:
        """`done` of `count` frames of some kind of work."""
        ...

    def wrote(self, path: Path) -> None:
        """A file is complete."""
        ...

    def note(self, text: str) -> None:
        """Something was not as expected, and the run goes on."""
        ...


class Silence:
    """A watcher that keeps still."""

    def progress(self, what: str, done: int, count: int) -> None: ...

    def wrote(self, path: Path) -> None: ...

    def note(self, text: str) -> None: ...


def fit(config: FitConfig, watcher: Watcher | None = None) -> list[Solution]:
    """Fits every person of the input and writes the configured outputs; one solution per person.

    A run that was cut off goes on after the last stage that it finished. Raises FitError: see `types.py` for its kinds.
    What was written before stays.
    """
    watcher = watcher or Silence()
    check_outputs(config)
    like = tensor_kind(config)
    body = bodies.load(**config.body.model_dump()).to(like)
    for name in set(config.outputs) & set(exports.EXPORTS) - set(writers.WRITERS):
        exports.EXPORTS[name].check_fit(name, body.name, config.outputs)
    people = observe(config, body, watcher)
    if "texture" in config.outputs:
        writers.surface_texture.require(body, people[0])
    solutions: list[Solution] = []
    for observations in people:
        case = bind(body, observations, start.camera_matrices(observations, config.camera), like)
        if not start.can_place(case):
            if len(people) == 1:
                raise InputError(f"{config.input}: {start.TOO_FEW}")
            watcher.note(f"person {observations.person} is left out: {start.TOO_FEW}")
            continue
        # A single frame is fitted sooner than anybody stops it.
        journal = Journal(config.output_folder(), observations.person, watcher.note) if len(observations) > 1 else None
        solution = fit_person(case, config, watcher, journal)
        if journal is not None:
            journal.tell()  # where nothing was left to be solved
        for what, frames in (("cuts before", solution.cuts), ("landmarks not to be trusted in", solution.suspicious)):
            if frames:
                watcher.note(f"person {observations.person}: {what} frame {', '.join(map(str, frames))}")
        far = solution.stop.count(Stop.STAGNATED)
        if far:
            watcher.note(f"person {observations.person}: {far} of {len(solution)} frames {Stop.STAGNATED.value}")
        solutions.append(solution)
        write(solution, solutions, config, watcher)
    if not solutions:
        raise InputError(f"{config.input}: {start.TOO_FEW}")
    draw(solutions, config, watcher)
    discard(config.output_folder())
    return solutions


def fit_person(case: Case, config: FitConfig, watcher: Watcher, journal: Journal | None = None) -> Solution:
    """Search, start and stages; once more without the frames that the first result shows not to be this person's."""
    solution = fit_once(case, config, watcher, journal)
    wrong = suspicious(solution)
    if not wrong:
        return solution
    trusted = without_frames(case, wrong)
    if start.can_place(trusted):
        solution = fit_once(trusted, config, watcher, journal)
    return replace(solution, suspicious=wrong)


def fit_once(case: Case, config: FitConfig, watcher: Watcher, journal: Journal | None = None) -> Solution:
    found = hypotheses.search(case, config, watcher.progress, journal)
    if found.swapped:
        frames = ", ".join(map(str, found.swapped))
        watcher.note(f"person {case.observations.person}: left and right were exchanged in frame {frames}")
    return solve(found.case, found.start, config, watcher.progress, journal, found.stages)


def write(solution: Solution, so_far: list[Solution], config: FitConfig, watcher: Watcher) -> None:
    """One person's files, and the report of everybody up to here: what is written is described, should a later
    person fail."""
    folder = config.output_folder()
    for name in config.outputs:
        if name in writers.PICTURE_WRITERS:
            continue
        watcher.progress(f"writing {name}", 0, len(solution))
        place = exports.destination(folder, config.flame_out_dir) if name == "npy" else folder
        if name in writers.WRITERS:
            found = writers.WRITERS[name](solution, place)
        else:
            found = export(name, solution, config, watcher)
        for path in found:
            watcher.wrote(path)
    for path in writers.report.write(so_far, config.to_yaml(), folder, truth=known_truth(so_far)):
        watcher.wrote(path)


def export(name: str, solution: Solution, config: FitConfig, watcher: Watcher) -> list[Path]:
    """A trainer's format, in `export_dir` or a folder of its name; persons beyond the first in folders of their own."""
    track = exports.track_of(solution)
    exports.EXPORTS[name].check(name, track)
    folder = exports.EXPORTS[name].folder(config.export_dir or config.output_folder() / name, track.person)
    target = exports.Target(
        folder,
        exports.decoding_body(solution),
        solution.observations,
        config.au,
        note=lambda text: watcher.note(f"{name}: {text}"),
    )
    return exports.EXPORTS[name].write(track, target)


def draw(solutions: list[Solution], config: FitConfig, watcher: Watcher) -> None:
    """Pictures come last: they show everybody."""
    options = writers.PictureOptions(**config.render.model_dump())
    for name in config.outputs:
        if name in writers.PICTURE_WRITERS:
            watcher.progress(f"drawing {name}", 0, len(solutions[0]))
            for path in writers.PICTURE_WRITERS[name](solutions, config.output_folder(), options):
                watcher.wrote(path)


def observe(config: FitConfig, body: Body, watcher: Watcher) -> list[Observations]:
    """Landmarks as they were given, or found by the detector in pictures; with the configured start."""
    people = observe_one(config, body, watcher)
    if config.clips:
        others = [observe_one(config.model_copy(update={"input": clip}), body, watcher) for clip in config.clips]
        same = [most_seen(found, 1)[0] for found in (people, *others)]
        people = [join(same, [Path(name).stem for name in (config.input, *config.clips)])]
    return [with_start(person, config, body, watcher) for person in people]


def observe_one(config: FitConfig, body: Body, watcher: Watcher) -> list[Observations]:
    """The people of one input."""
    if config.input == samples.NAME:
        return [samples.talking_head(body)]
    found = readers.read(config.input, readers.ReadOptions(**config.read.model_dump(exclude={"cuts"})))
    if not isinstance(found, list):
        options = detectors.DetectorOptions(
            max_persons=config.detector.max_persons,
            task_file=config.detector.task_file,
            min_confidence=config.detector.min_confidence,
            parts=parts_wanted(config, body),
            progress=lambda done, count: watcher.progress("detecting", done, count),
        )
        found = detect(found, options, config.input)
    if config.detector.points == "mediapipe105":
        found = [only_105(person) for person in found]
    if any(person.valid.any() and not person.size_known for person in found):
        width, height = found[0].image_sizes[0]
        watcher.note(f"the size of the pictures is not known: {width} x {height} taken; say it by --read.image_size")
    return most_seen(found, config.detector.max_persons)


def parts_wanted(config: FitConfig, body: Body) -> Literal["face", "body"]:
    if config.detector.parts != "auto":
        return config.detector.parts
    return "body" if "left_shoulder" in body.joint_names else "face"


def most_seen(people: list[Observations], count: int) -> list[Observations]:
    """The `count` people of whom most is seen, in the order they had: tools find people in coats and curtains."""
    seen = [float(person.confidence.sum()) for person in people]
    return [people[k] for k in sorted(np.argsort(-np.array(seen), kind="stable")[:count])]


def detect(pictures: Pictures, options: detectors.DetectorOptions, source: str) -> list[Observations]:
    """The detector's findings; for a sample photograph, those that come with it where the detector has no models."""
    try:
        return detectors.detect(pictures, options)
    except DependencyError:
        shipped = readers.shipped_landmarks(source, pictures)
        if shipped is None:
            raise
        return shipped


def with_start(observations: Observations, config: FitConfig, body: Body, watcher: Watcher) -> Observations:
    """`config.start` is null (start from nothing), 'input' (what came with the input) or codes of a regressor."""
    if config.start == "input":
        return observations
    observations = replace(observations, start=None)
    if config.start is None:
        return observations
    path = Path(config.start)
    sizes = observations.image_sizes
    size = (int(sizes[0, 0]), int(sizes[0, 1])) if (sizes == sizes[0]).all() else None
    options = codes.CodesOptions(config.codes.order, config.codes.model, size)
    track = start_codes.choose(codes.read(path, options), observations, path)
    for note in track.notes:
        watcher.note(f"start, {track.format}: {note}")
    if config.codes.pose_only:
        track = track.with_values({"betas": None, "expression": None})
    K = start.camera_matrices(observations, config.camera)
    if config.codes.convert_from is not None:
        theirs = bodies.load(config.codes.convert_from, config.body.folder, config.body.gender)
        track = start_codes.converted(track, theirs, body)
        watcher.note(track.notes[-1])
    found = start_codes.codes_for(observations, track, body, K)
    lost = gaps(replace(track, codes=found))
    if lost is not None:
        watcher.note(f"start, {lost}: the fit begins between their neighbours there")
    if config.camera.focal is not None or config.camera.fov is not None:
        found = start_codes.refocused(found, K)
    return replace(observations, start=found)


def only_105(observations: Observations) -> Observations:
    """Without the points that FLAME's MediaPipe embedding leaves out."""
    if observations.layout.name != MEDIAPIPE478.name:
        return observations
    confidence = np.zeros_like(observations.confidence)
    confidence[:, MEDIAPIPE105_IN_478] = observations.confidence[:, MEDIAPIPE105_IN_478]
    return replace(observations, confidence=confidence)


def known_truth(solutions: list[Solution]) -> dict[str, object] | None:
    known: dict[str, object] = {s.observations.person: found for s in solutions if (found := compare(s)) is not None}
    return known or None


def tensor_kind(config: FitConfig) -> torch.Tensor:
    """An empty tensor of the configured precision on the configured device.

    Raises ConfigError when the device is not there.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, dtype=getattr(torch, config.precision), device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {config.device!r} cannot be used ({reason}): choose cpu or auto") from error


def check_outputs(config: FitConfig) -> None:
    known = list(dict.fromkeys([*writers.WRITERS, *writers.PICTURE_WRITERS, *exports.EXPORTS]))
    unknown = [name for name in config.outputs if name not in known]
    if unknown:
        raise ConfigError(f"unknown output {unknown[0]!r}: choose from {', '.join(known)}")
    if config.au is not None:
        read_action_units(config.au)  # a table of another kind is refused before anything is fitted
