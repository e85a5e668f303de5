"""Facial action units frame by frame, from OpenFace's csv: AU01_r (0..5), AU45_c (0 or 1), ...

`frame` counts from 1 and may leave frames out; several faces have a `face_id`. Header cells begin with a blank, which
some readers need and others trip over: names are stripped here, and written with the blank where that is asked for.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.types import InputError

AU = re.compile(r"AU\d\d(_[rc])?")


@dataclass(frozen=True)
class ActionUnits:
    """One row per frame of the input, NaN where the table has no line."""

    names: tuple[str, ...]
    rows: Float[np.ndarray, "frames units"]
    success: Float[np.ndarray, " frames"]  # 1 where a face was tracked

    def __len__(self) -> int:
        return len(self.rows)


def read_action_units(path: Path, frames: int | None = None, face: int | None = None) -> ActionUnits:
    """The table by frame number, of one face (None: the first), cut or filled up to `frames` rows.

    Raises InputError for a table without action units, or whose numbers cannot be read.
    """
    columns = read_columns(path)
    names = tuple(name for name in columns if AU.fullmatch(name))
    if not names:
        raise InputError(
            f"{path}: no action units (AU01_r, AU45_r, ...) among its columns ({', '.join(list(columns)[:6])}, ...): "
            "run OpenFace's FeatureExtraction with -aus"
        )
    table = np.stack([numbers(path, columns, name) for name in names], axis=1)
    lines = len(table)
    faces = numbers(path, columns, "face_id") if "face_id" in columns else np.zeros(lines)
    kept = faces == (np.nanmin(faces) if face is None else face)
    frame = numbers(path, columns, "frame") if "frame" in columns else np.arange(1, lines + 1)
    if not np.isfinite(frame).all() or frame.min() < 0:
        raise InputError(f"{path}: `frame` must count from 1, found {frame.min():g}")
    index = frame.astype(int) - (0 if frame.min() == 0 else 1)
    count = frames if frames is not None else int(index.max()) + 1
    kept &= index < count
    found = np.full((count, len(names)), np.nan)
    found[index[kept]] = table[kept]
    success = np.zeros(count)
    success[index[kept]] = (numbers(path, columns, "success") if "success" in columns else np.ones(lines))[kept]
    return ActionUnits(names, found, success)


def read_columns(path: Path) -> dict[str, list[str]]:
    """Cells by column name, stripped. Raises InputError for a file that is no table."""
    if not path.is_file() or path.stat().st_size == 0:
        raise InputError(f"{path}: no such file, or an empty one")
    try:
        lines = [line for line in csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a csv ({error})") from error
    names = [cell.strip() for cell in lines[0]]
    wrong = next((k for k, line in enumerate(lines) if len(line) != len(names)), None)
    if wrong is not None or len(lines) < 2:
        found = f"line {wrong + 1} has {len(lines[wrong])}" if wrong is not None else "it has no lines"
        raise InputError(f"{path}: {len(names)} columns by its header, but {found}: is it cut off?")
    return {name: list(cells) for name, cells in zip(names, zip(*lines[1:], strict=True), strict=True)}


def numbers(path: Path, columns: dict[str, list[str]], name: str) -> Float[np.ndarray, " lines"]:
    try:
        return np.array([float(cell.strip() or "nan") for cell in columns[name]])
    except ValueError as error:
        raise InputError(f"{path}: numbers are expected in the column {name}: {error}") from error


def format_openface(units: ActionUnits, fps: float) -> str:
    """OpenFace's own form: ', ' between header cells, so that names begin with a blank; one line per frame.

    Frames without a line are interpolated, and say success 0.
    """
    rows = np.stack([filled(column) for column in units.rows.T], axis=1)
    lines = [", ".join(["frame", "face_id", "timestamp", "confidence", "success", *units.names])]
    for k, row in enumerate(rows):
        good = units.success[k] > 0 and bool(np.isfinite(units.rows[k]).all())
        head = f"{k + 1}, 0, {k / fps:.3f}, {0.98 if good else 0.0:.2f}, {int(good)}"
        lines.append(f"{head}, " + ", ".join(f"{value:.2f}" for value in row))
    return "\n".join(lines) + "\n"


def filled(column: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    known = np.flatnonzero(np.isfinite(column))
    return np.interp(np.arange(len(column)), known, column[known]) if len(known) else np.zeros(len(column))
