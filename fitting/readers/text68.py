"""68 landmarks as text: .txt and .lms (68 lines 'x y'), .pts (iBUG, Menpo). One file is one frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.layouts import IBUG68
from fitting.readers.files import read_text, with_size
from fitting.readers.landmarks import Landmarks, observe
from fitting.readers.options import ReadOptions
from fitting.types import InputError, Observations

SUFFIXES = frozenset({".txt", ".lms", ".pts"})


def accepts(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One person in one frame. Raises InputError where the file does not hold 68 points."""
    points = parse(path)[None, None]
    return observe(path, Landmarks(IBUG68, points, np.ones((1, 1)), is_clip=False), options)


def parse(path: Path) -> Float[np.ndarray, "68 2"]:
    """Pixels, centres at integers. .pts files count from 1 (Matlab), the others from 0."""
    text = read_text(path)
    if path.suffix.lower() == ".pts":
        return _numbers(path, _pts_body(path, text)) - 1.0
    return _numbers(path, text)


def _pts_body(path: Path, text: str) -> str:
    """What stands between the braces of 'version: 1 / n_points: 68 / { ... }'."""
    match = re.search(r"n_points:\s*(\d+)\s*\{([^}]*)\}", text)
    if match is None:
        raise InputError(
            f"{with_size(path)}: expected 'n_points: 68' and the points between braces, "
            f"found {'no closing brace: the file is cut off' if '{' in text else 'neither'}; copy it again"
        )
    if int(match[1]) != 68:
        raise InputError(f"{with_size(path)}: expected n_points: 68, found {match[1]}: only iBUG's 68 points are known")
    return match[2]


def _numbers(path: Path, text: str) -> Float[np.ndarray, "68 2"]:
    """Lines 'x y' or 'x, y', a third column ignored."""
    lines = [re.split(r"[,;\s]+", line.strip().rstrip(",;")) for line in text.splitlines() if line.strip()]
    if len(lines) != 68 or any(len(line) not in (2, 3) for line in lines):
        shape = f"{len(lines)} lines of {sorted({len(line) for line in lines})} numbers"
        raise InputError(f"{with_size(path)}: expected 68 lines 'x y', found {shape}; is the file cut off?")
    try:
        return np.array([[float(x), float(y)] for x, y, *_ in lines])
    except ValueError as error:
        raise InputError(f"{with_size(path)}: expected numbers: {error}") from error
