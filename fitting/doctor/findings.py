"""What a look at a folder finds, and the looks that every check-up needs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fitting.types import FitError
from fitting.unpickle import CODES, load_torch

MOST_NAMES = 5


@dataclass(frozen=True)
class Finding:
    """`fault`: the trainer or model stops, or learns something wrong; `note`: worth knowing."""

    kind: Literal["fault", "note"]
    text: str  # what is there
    mend: str  # what to do

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}; {self.mend}"


def fault(text: str, mend: str) -> Finding:
    return Finding("fault", text, mend)


def note(text: str, mend: str) -> Finding:
    return Finding("note", text, mend)


def require_file(path: Path, mend: str) -> list[Finding]:
    """Nothing, or that it is missing or empty."""
    if not path.is_file():
        return [fault(f"{path} is missing", mend)]
    if path.stat().st_size == 0:
        return [fault(f"{path} is empty (0 bytes)", mend)]
    return []


def empty_files(folder: Path, patterns: tuple[str, ...], mend: str) -> list[Finding]:
    """One finding for all files of 0 bytes below the folder."""
    found = [p for pattern in patterns for p in folder.rglob(pattern) if p.is_file() and p.stat().st_size == 0]
    if not found:
        return []
    return [fault(f"{len(found)} empty files (0 bytes): {some([str(p.relative_to(folder)) for p in found])}", mend)]


def unreadable(path: Path, mend: str) -> list[Finding]:
    """Whether a torch file can be read without running what is in it."""
    try:
        load_torch(path, CODES)
    except FitError as error:
        return [fault(f"{path.name} cannot be read: {str(error).split(': ', 1)[-1]}", mend)]
    return []


def is_checkpoint(path: Path) -> bool:
    """torch's zip with its end, or its older format's first bytes."""
    with path.open("rb") as stream:
        return zipfile.is_zipfile(path) or stream.read(2) == b"\x80\x02"


def numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """Files by the number that is their whole stem."""
    if not folder.is_dir():
        return {}
    found = (p for p in folder.iterdir() if p.suffix == suffix and re.fullmatch(r"\d+", p.stem))
    return {int(p.stem): p for p in found}


def gaps(numbers: set[int], wanted: set[int]) -> list[int]:
    return sorted(wanted - numbers)


def some(names: list[str] | list[int]) -> str:
    """The first few of many."""
    shown = ", ".join(map(str, names[:MOST_NAMES]))
    return shown if len(names) <= MOST_NAMES else f"{shown}, ... and {len(names) - MOST_NAMES} more"


def folders_below(top: Path, deepest: int = 5) -> Iterator[Path]:
    """Nearest first."""
    level = [top]
    for _ in range(deepest):
        yield from level
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
