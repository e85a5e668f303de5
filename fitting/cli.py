"""The command line: words -> FitConfig -> files. The only place that prints and exits."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch must not load before the environment is set
    from fitting.types import Solution

MOST_NAMES = 12  # of files that are listed at the end
TEXTS = ("person",)  # options of `convert` that look like numbers and are names

USAGE = """usage: fit.py --config RECIPE [--input PATH] [--output FOLDER] [--outputs a,b] [--KEY VALUE ...] [--quiet]
       fit.py convert CODES [FOLDER] --to FORMAT [--KEY VALUE ...]
       fit.py doctor FOLDER --for talking_gaussian|emoca|deca|smplify-x
       fit.py report FOLDER
       fit.py view FOLDER [--port 8080] [--host 127.0.0.1]

  --config     a recipe: a YAML file, or the name of a shipped one (fit_flame.yaml)
  --input      an image, a folder of images, a video, a landmark file, sample:grace_hopper, sample:talking_head
  --output     folder for the results; default out/<name of the input>
  --outputs    those that are wanted: params, obj, glb, pkl, npy, overlay, depth, normals, mask, wireframe, visibility,
               turntable, texture
  --KEY VALUE  any other key of the recipe, dotted: --body.model flame --camera.focal 1400 --terms.keypoints.sigma 0.03
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one fit; returns the exit code: 0, or the `exit_code` of what went wrong."""
    # Small matrices: more than one BLAS thread makes them slower, not faster, and must be said before torch loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    from fitting.types import FitError

    try:
        return COMMANDS.get(words[0], run)(words)
    except FitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read the output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped: what was written is whole and stays; the same command goes on from there", file=sys.stderr)
        return 130


def run(words: list[str]) -> int:
    from fitting import pipeline, places
    from fitting.config import FitConfig

    recipe, overrides = split_words(words)
    path = Path(recipe)
    if not path.is_file() and (places.recipes() / path.name).is_file() and len(path.parts) <= 2:
        path = places.recipes() / path.name
    config, notes = FitConfig.load_with_notes(path, overrides)
    screen = Screen(quiet=config.quiet)
    for note in notes:
        screen.note(note)
    began = time.perf_counter()
    try:
        solutions = pipeline.fit(config, screen)
    finally:
        screen.close()
    if not config.quiet:
        print(summary(solutions, screen.written, time.perf_counter() - began))
    return 0


def run_convert(words: list[str]) -> int:
    """`convert IN [OUT] --to FORMAT ...`: codes to a trainer's files, nothing fitted."""
    from fitting.config import parse, parse_value
    from fitting.convert import ConvertConfig, convert

    places, pairs = split_pairs(words[1:], most_places=2)
    tree: dict[str, Any] = {key: value if key in TEXTS else parse_value(key, value) for key, value in pairs}
    tree |= dict(zip(("input", "output"), places, strict=False))
    config = parse(ConvertConfig, tree, "convert")
    screen = Screen(quiet=config.quiet)
    convert(config, screen)
    if not config.quiet:
        print("\n".join(listed(screen.written)))
    return 0


def run_doctor(words: list[str]) -> int:
    """`doctor FOLDER --for PURPOSE`: one line for everything that is wrong; 1 where there is a fault."""
    from fitting.doctor import examine
    from fitting.types import ConfigError

    places, pairs = split_pairs(words[1:], most_places=1)
    options = dict(pairs)
    if len(places) != 1 or set(options) != {"for"}:
        raise ConfigError("usage: fit.py doctor FOLDER --for talking_gaussian|emoca|deca|smplify-x")
    findings = examine(Path(places[0]), options["for"])
    print("\n".join(map(str, findings)) or f"{places[0]}: nothing is missing for {options['for']}")
    return int(any(finding.kind == "fault" for finding in findings))


def run_report(words: list[str]) -> int:
    """`report OUT`: one html page of a finished run."""
    from fitting.viewer import write_page

    print(f"  {write_page(output_folder(words))}")
    return 0


def run_view(words: list[str]) -> int:
    """`view OUT [--port 8080] [--host 127.0.0.1]`: a finished run in the browser, until Ctrl-C."""
    from fitting.types import ConfigError
    from fitting.viewer.server import Viewer

    options = dict(split_pairs(words[1:], most_places=1)[1])
    unknown = sorted(set(options) - {"port", "host"})
    port = options.get("port", "8080")
    if unknown or not port.isdigit():
        raise ConfigError(f"view: unknown option --{unknown[0]}" if unknown else f"--port {port}: a number is expected")
    viewer = Viewer(output_folder(words), int(port), options.get("host", "127.0.0.1"))
    print(f"open {viewer.url} in a browser; Ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        viewer.close()
    return 0


def output_folder(words: list[str]) -> Path:
    """The one folder that `view` and `report` take. Raises ConfigError."""
    from fitting.types import ConfigError

    places, _ = split_pairs(words[1:], most_places=1)
    if not places:
        raise ConfigError(f"{words[0]}: no folder: name the output folder of a run, e.g. {words[0]} out/clip")
    return Path(places[0])


def split_words(words: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The recipe and the (key, value) pairs that follow. Raises ConfigError for words that do not pair up."""
    from fitting.types import ConfigError

    _, pairs = split_pairs(words)
    recipes = [value for key, value in pairs if key == "config"]
    if not recipes:
        raise ConfigError("no recipe: give one with --config, e.g. --config cfg_files/fit_flame.yaml")
    return recipes[-1], [pair for pair in pairs if pair[0] != "config"]


def split_pairs(words: list[str], most_places: int = 0) -> tuple[list[str], list[tuple[str, str]]]:
    """Words that stand alone, at most so many, and (key, value) pairs. Raises ConfigError for any other word."""
    from fitting.types import ConfigError

    places: list[str] = []
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--") and len(places) < most_places:
            places.append(word)
            position += 1
            continue
        if not word.startswith("--"):
            raise ConfigError(f"unexpected {word!r}: options come as --key value")
        key, equals, value = word[2:].partition("=")
        if key == "quiet" and not equals:
            pairs.append(("quiet", "true"))
            position += 1
            continue
        if not equals:
            if position + 1 >= len(words):
                raise ConfigError(f"--{key} needs a value")
            value = words[position + 1]
            position += 1
        position += 1
        pairs.append((key, value))
    return places, pairs


class Screen:
    """A watcher of the pipeline: tqdm bars, one per kind of work; notes to the error stream; silent when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.what = ""
        self.bar: Any = None
        self.written: dict[Path, None] = {}  # in the order of writing, each once

    def progress(self, what: str, done: int, count: int) -> None:
        if self.quiet or count <= 1:
            return
        from tqdm import tqdm

        if what != self.what or self.bar is None or done < self.bar.n:
            self.close()
            self.what, self.bar = what, tqdm(total=count, desc=what, unit="frame", leave=False)
        self.bar.update(done - self.bar.n)

    def wrote(self, path: Path) -> None:
        self.written[path] = None

    def note(self, text: str) -> None:
        self.close()
        print(f"note: {text}", file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None


def summary(solutions: list[Solution], written: Collection[Path], seconds: float) -> str:
    """What was fitted, how well, and where it lies."""
    import numpy as np

    lines = []
    for solution in solutions:
        fitted = int(solution.valid.sum())
        count = len(solution)
        person = solution.observations.layout.shows_a_person
        who = f"person {solution.observations.person}: " if len(solutions) > 1 else ""
        lines.append(
            f"{who}{fitted} of {count} frame{'s' * (count != 1)} fitted on {solution.body.name}: landmark error "
            f"{np.nanmean(solution.error_px):.2f} px, {np.nanmean(solution.error_percent):.2f} % of "
            + ("the person's height" if person else "the distance between the outer eye corners")
        )
    lines += listed(written)
    lines.append(f"{seconds:.1f} s")
    return "\n".join(lines)


def listed(written: Collection[Path]) -> list[str]:
    """The first files by name, the others by number."""
    lines = [f"  {path}" for path in list(written)[:MOST_NAMES]]
    more = len(written) - MOST_NAMES
    return lines if more <= 0 else [*lines, f"  ... and {more} more files"]


COMMANDS = {"convert": run_convert, "doctor": run_doctor, "report": run_report, "view": run_view}


if __name__ == "__main__":
    sys.exit(main())
