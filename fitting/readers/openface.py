"""OpenFace's csv, 1.x and 2.x: 68 landmarks per line in x_0..x_67, y_0..y_67, pixels.

Header cells begin with a blank. `frame` counts from 1; frames without a face may be missing (OpenFace#892); 2.x tells
several people apart by `face_id`. Tables of other tools with the same columns and no `frame` are one line a frame.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.layouts import IBUG68
from fitting.readers.files import read_text, with_size
from fitting.readers.landmarks import Landmarks, observe
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations

_X = tuple(f"x_{k}" for k in range(68))
_Y = tuple(f"y_{k}" for k in range(68))


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One record per face_id, left to right; a frame without a line or without success has confidence 0."""
    columns = _columns(path)
    rows, faces = _frame_rows(path, columns), _column(path, columns, "face_id", 0.0).astype(int)
    ids, persons = np.unique(faces, return_inverse=True)
    frames = int(rows.max()) + 1
    points = np.full((len(ids), frames, 68, 2), np.nan)
    points[persons, rows] = np.stack([_matrix(path, columns, _X), _matrix(path, columns, _Y)], axis=-1)
    confidence = np.zeros((len(ids), frames))
    confidence[persons, rows] = _column(path, columns, "confidence", 1.0) * (_column(path, columns, "success", 1.0) > 0)
    order = np.argsort([np.nanmedian(p[..., 0]) if np.isfinite(p).any() else np.inf for p in points], kind="stable")
    times = _timestamps(rows, _column(path, columns, "timestamp", 0.0), frames)
    found = Landmarks(
        IBUG68,
        points[order],
        confidence[order],
        is_clip=frames > 1,
        fps=None if times is None else float((frames - 1) / (times[-1] - times[0])),
        timestamps=times,
    )
    return observe(path, found, options)


def _columns(path: Path) -> dict[str, list[str]]:
    """Cells by column name, stripped. Raises InputError where the landmark columns or lines are not all there."""
    header, *lines = [line for line in csv.reader(read_text(path).splitlines()) if line] or [[]]
    names = [cell.strip() for cell in header]
    missing = [name for name in _X + _Y if name not in names]
    if missing:
        raise InputError(
            f"{with_size(path)}: expected OpenFace's columns x_0..x_67 and y_0..y_67, found {len(names)} columns "
            f"without {missing[0]}: run OpenFace with -2Dfp"
        )
    short = [k for k, line in enumerate(lines) if len(line) != len(names)]
    if short or not lines:
        found = f"{len(lines[short[0]])} cells in line {short[0] + 2}" if short else "no lines after the header"
        raise InputError(f"{with_size(path)}: expected {len(names)} cells a line, found {found}; is the file cut off?")
    return {name: list(cells) for name, cells in zip(names, zip(*lines, strict=True), strict=True)}


def _column(path: Path, columns: dict[str, list[str]], name: str, default: float) -> Float[np.ndarray, " lines"]:
    if name not in columns:
        return np.full(len(columns[_X[0]]), float(default))
    return _matrix(path, columns, (name,))[:, 0]


def _matrix(path: Path, columns: dict[str, list[str]], names: tuple[str, ...]) -> Float[np.ndarray, "lines names"]:
    """Numbers of some columns; an empty cell is NaN."""
    try:
        return np.array([[float(cell.strip() or "nan") for cell in columns[name]] for name in names]).T
    except ValueError as error:
        raise InputError(f"{with_size(path)}: expected numbers in {names[0]}..{names[-1]}: {error}") from error


def _frame_rows(path: Path, columns: dict[str, list[str]]) -> Int[np.ndarray, " lines"]:
    """0-based rows: frame - 1, or the frame itself in files that count from 0."""
    if "frame" not in columns:
        return np.arange(len(columns[_X[0]]))
    frame = _column(path, columns, "frame", 1.0)
    if not np.isfinite(frame).all() or frame.min() < 0:
        raise InputError(f"{with_size(path)}: expected frame numbers from 1, found {columns['frame'][0]!r} and others")
    return frame.astype(int) - (0 if frame.min() == 0 else 1)


def _timestamps(
    rows: Int[np.ndarray, " lines"], times: Float[np.ndarray, " lines"], frames: int
) -> Float[np.ndarray, " frames"] | None:
    """Seconds of every frame, the missing ones in between by interpolation; None where the column says nothing."""
    known, first = np.unique(rows, return_index=True)
    seconds = times[first]
    if len(known) < 2 or not np.isfinite(seconds).all() or seconds[-1] <= seconds[0]:
        return None
    step = (seconds[-1] - seconds[0]) / (known[-1] - known[0])
    filled = np.interp(np.arange(frames), known, seconds)
    filled[: known[0]] = seconds[0] - step * np.arange(known[0], 0, -1)
    return filled
