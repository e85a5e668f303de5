"""What a fit has found so far: one that was cut off goes on after the last stage that it finished.

Every chunk of problems has a file of its own, `<person>-<fingerprint>.npz`: plain arrays, written whole after every
stage. The fingerprint is of everything that decides what the stages give. So a search for a start, a fit and a second
fit with fewer frames need no names, and a file of other landmarks, settings or another version is never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import BaseModel
from torch import Tensor

from fitting.config import FitConfig
from fitting.places import PACKAGE
from fitting.problem import Problem
from fitting.types import InputError, Parameters, Stop
from fitting.unpickle import Subject, load_npz
from fitting.writers.atomic import replacing
from fitting.writers.facts import versions

FOLDER = "unfinished"
FILE = re.compile(r"\.?[^.]+-[0-9a-f]{16}\.npz(\.part)?")
BLOCK = "block."
MENDING = "nothing, the fit begins anew there"
UNFINISHED = Subject(InputError, "record of an unfinished fit", MENDING, MENDING, MENDING)


@dataclass(frozen=True)
class Reached:
    """Where a chunk of problems stands between two stages."""

    base: Parameters
    iterations: Int[Tensor, " problems"]  # of all stages so far
    stop: tuple[Stop, ...] = ()  # of the last of them
    stages: int = 0  # how many are finished

    def after(self, base: Parameters, iterations: Int[Tensor, " problems"], stop: tuple[Stop, ...]) -> Reached:
        """One stage further. Blocks are laid out in memory as a file would give them back: the order in which a
        product is summed, and so its last bit, depends on that."""
        plain = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in base.items()}
        return Reached(Parameters(plain), self.iterations + iterations, stop, self.stages + 1)


@dataclass(frozen=True)
class Page:
    """One chunk's record. Without a path nothing is kept."""

    reached: Reached
    path: Path | None = None
    fingerprint: str = ""

    @staticmethod
    def blank(problem: Problem) -> Page:
        nothing = torch.zeros(problem.count, dtype=torch.long, device=problem.K.device)
        return Page(Reached(problem.base, nothing))

    def save(self, reached: Reached) -> None:
        """Whole, and on the disk, before it takes the place of the stage before. Raises OutputError."""
        if self.path is None:
            return
        arrays = {BLOCK + name: value.cpu().numpy() for name, value in reached.base.items()} | {
            "fingerprint": np.array(self.fingerprint),
            "stages": np.array(reached.stages),
            "iterations": reached.iterations.cpu().numpy(),
            "stop": np.array([reason.value for reason in reached.stop]),
        }
        with replacing(self.path) as part, part.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())


class Journal:
    """One person's records, in `output`/unfinished; `note` is told where a fit goes on, and what is damaged."""

    def __init__(self, output: Path, person: str, note: Callable[[str], None]) -> None:
        self.folder, self.person, self.note = output / FOLDER, person, note
        self._asked_for: set[Path] = set()
        self._news = ""

    def pages(self, parts: Sequence[Problem], config: FitConfig) -> list[Page]:
        """The records of chunks about to go through all stages of `config`."""
        found = [self._page(part, mark) for part, mark in zip(parts, self._marks(parts, config), strict=True)]
        counts = [page.reached.stages for page in found]
        if furthest := max(counts):
            some = f" in {counts.count(furthest)} of {len(found)} chunks" if min(counts) < furthest else ""
            self._news = f"resuming after stage {config.stages[furthest - 1].name!r}{some}"
        if min(counts) < len(config.stages):
            self.tell()
            self._forget_others()
        return found

    def tell(self) -> None:
        """Says once what was found."""
        if self._news:
            self.note(f"person {self.person}: {self._news}")
        self._news = ""

    def _page(self, part: Problem, fingerprint: str) -> Page:
        path = self.folder / f"{self.person}-{fingerprint[:16]}.npz"
        self._asked_for.add(path)
        reached = Page.blank(part).reached
        if path.exists():
            try:
                reached = understood(load_npz(path, UNFINISHED), fingerprint, part.K)
            except InputError as error:
                self.note(str(error) if str(path) in str(error) else f"{path}: {error}")
        return Page(reached, path, fingerprint)

    def _forget_others(self) -> None:
        """New work begins: what nobody has asked for up to here is of other settings."""
        for path in self.folder.glob(f"{self.person}-*.npz"):
            if FILE.fullmatch(path.name) and path not in self._asked_for:
                with contextlib.suppress(OSError):
                    path.unlink()

    @cached_property
    def _code(self) -> str:
        """Of the program itself: in a checkout the version's number stays while the code changes."""
        digest = hashlib.sha256()
        for path in sorted(PACKAGE.rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _marks(self, parts: Sequence[Problem], config: FitConfig) -> list[str]:
        """Of every chunk the sha256 of the program, what it is told, the body, the evidence and the start."""
        common = hashlib.sha256()
        threads, device = torch.get_num_threads(), str(parts[0].K.device)
        feed(common, (versions(), self._code, threads, device, config.terms, config.stages, parts[0].body))
        marks = []
        for number, part in enumerate(parts):  # two chunks of the same photos still have a file each
            own = common.copy()
            feed(own, (number, part.yard_stick, part.evidence, part.K, part.start, part.base))
            marks.append(own.hexdigest())
        return marks


def understood(arrays: Mapping[str, Any], fingerprint: str, like: Tensor) -> Reached:
    """What a record says, on the device of `like`. Raises InputError for one that is not of this chunk."""
    if str(arrays.get("fingerprint")) != fingerprint:
        raise InputError(f"this is no {UNFINISHED.name}, or one of another fit. What to do: {MENDING}.")
    # Copied into memory of torch's own, which is aligned: products depend on that as well.
    found = {n: torch.from_numpy(arrays[n]).clone().to(like.device) for n in arrays if n.startswith(BLOCK)}
    base = Parameters({name.removeprefix(BLOCK): value for name, value in found.items()})
    iterations = torch.from_numpy(arrays["iterations"]).clone().to(like.device)
    return Reached(base, iterations, tuple(map(Stop, arrays["stop"].tolist())), int(arrays["stages"]))


def feed(digest: Any, value: Any) -> None:
    """Adds everything that a record holds, however deep, but the whole mesh of a restricted body: the model's sha256
    stands for that. Raises TypeError for what is no plain data: left out, it would be taken for unchanged."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size else b"")
    elif is_dataclass(value):
        feed(digest, {f.name: getattr(value, f.name) for f in fields(value) if f.name != "whole"})
    elif isinstance(value, BaseModel):
        feed(digest, {name: getattr(value, name) for name in type(value).model_fields})
    elif isinstance(value, Mapping):
        feed(digest, [*value.keys(), *value.values()])
    elif isinstance(value, (tuple, list)):
        digest.update(f"{len(value)}:".encode())
        for item in value:
            feed(digest, item)
    elif value is None or isinstance(value, (str, bool, int, float, np.generic)):
        digest.update(f"{value!r};".encode())
    else:
        raise TypeError(f"{type(value).__name__} has no fingerprint: what decides a fit is made of arrays and texts")


def discard(output: Path) -> None:
    """Removes all records, whole and half written, and their folder where nothing else is in it."""
    folder = output / FOLDER
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if FILE.fullmatch(path.name):
                path.unlink()
        folder.rmdir()
