"""Paths: natural order, and errors that say what was found."""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from fitting.types import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif"})

# What numpy and zipfile raise on bytes that are not, or no longer, what they read.
DAMAGED_ARRAY = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError, OverflowError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def natural_key(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts 2 before 10; digits count as one number. The name itself settles 1 against 01."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(not p[0].isdecimal(), int(p) if p[0].isdecimal() else 0, p) for p in parts], path.name


def files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The folder's own files with one of `suffixes`, in natural order; hidden ones are left out."""
    wanted = frozenset(suffixes)
    kept = (p for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith(".") and p.is_file())
    return sorted(kept, key=natural_key)


def frame_numbers(stems: Iterable[str]) -> list[int] | None:
    """The numbers the stems end with, if they share everything before them; None otherwise."""
    matches = [re.fullmatch(r"(.*?)(\d+)", stem) for stem in stems]
    if not matches or any(m is None for m in matches) or len({m[1] for m in matches if m}) > 1:
        return None
    return [int(m[2]) for m in matches if m]


def counts_on(stems: Iterable[str]) -> bool:
    """Whether there are several, numbered one after the other: the frames of a clip."""
    numbers = frame_numbers(stems)
    return numbers is not None and len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def unique_names(paths: list[Path]) -> tuple[str, ...]:
    """Stems; where a.png and a.jpg meet, 'a_png' and 'a_jpg'."""
    stems = [p.stem for p in paths]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    return tuple(p.name.replace(".", "_") for p in paths)


def with_size(path: Path) -> str:
    """'face.pts (312 bytes)'"""
    return f"{path} ({path.stat().st_size} bytes)"


def require_content(path: Path) -> Path:
    """Raises InputError for a file that is not there or has nothing in it."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the spelling (working folder: {Path.cwd()})")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    return path


def read_text(path: Path) -> str:
    """The file as text. Raises InputError where it is empty or not text."""
    try:
        return require_content(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{with_size(path)}: expected text, found bytes that are not: {error}") from error
