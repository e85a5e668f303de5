"""An output folder read back: params.npz of everybody, report.json, conf.yaml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from fitting.types import InputError


@dataclass(frozen=True)
class Person:
    """One params.npz: its arrays by name, see `writers/params_npz.py`."""

    name: str
    arrays: Mapping[str, np.ndarray]
    rows: tuple[Mapping[str, Any], ...] = ()  # of report.json, one per frame

    def __len__(self) -> int:
        return len(self.arrays["valid"])

    def text(self, name: str) -> str:
        return str(self.arrays[name]) if name in self.arrays else ""

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(map(str, self.arrays[name]))

    @property
    def fps(self) -> float | None:
        """None for photos."""
        rate = float(self.arrays.get("fps", np.nan))
        return rate if np.isfinite(rate) else None


@dataclass(frozen=True)
class Results:
    folder: Path
    people: tuple[Person, ...]
    report: Mapping[str, Any]
    config: str  # conf.yaml as it stands

    @property
    def config_sha256(self) -> str:
        return hashlib.sha256(self.config.encode()).hexdigest()


def read_results(folder: Path) -> Results:
    """Everything in an output folder that is about the whole input. Raises InputError where it is no such folder."""
    folder = Path(folder)
    paths = sorted(folder.glob("params.npz")) + sorted(folder.glob("params_[0-9][0-9][0-9].npz"))
    if not paths:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: an output folder with params.npz is expected, found {there or 'nothing'}: fit with "
            "--outputs params,overlay and name that run's --output"
        )
    report = _json(folder / "report.json")
    frames = report.get("frames", [])
    people = []
    for path in paths:
        arrays = _arrays(path)
        name = str(arrays["person"])
        people.append(Person(name, arrays, tuple(row for row in frames if row.get("person") == name)))
    config = folder / "conf.yaml"
    return Results(folder, tuple(people), report, config.read_text(encoding="utf-8") if config.is_file() else "")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    needed = ("valid", "source", "names", "person", "model", "keypoints", "projected")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise InputError(f"{path}: not a readable params.npz ({error}): fit again") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: no {missing[0]!r} inside, so it was not written by a fit: name a fit's output folder"
        )
    return arrays


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}): fit again") from error
    return found if isinstance(found, dict) else {}
