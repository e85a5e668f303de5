"""A file or folder of codes, opened once however many readers look at it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fitting.types import FitError, InputError
from fitting.unpickle import CODES, load_npy_object, load_npz, load_pickle, load_torch

LOADERS = {
    ".npy": lambda path: load_npy_object(path, CODES),
    ".npz": lambda path: load_npz(path, CODES),
    ".pkl": lambda path: load_pickle(path, CODES),
    ".pickle": lambda path: load_pickle(path, CODES),
    ".frame": lambda path: load_torch(path, CODES),
    ".pt": lambda path: load_torch(path, CODES),
    ".pth": lambda path: load_torch(path, CODES),
}


@dataclass(frozen=True)
class Source:
    """What the user named. `content` reads the file the first time it is asked for, and nothing in it is ever run."""

    path: Path

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()

    @cached_property
    def content(self) -> Any:
        """Raises InputError for a file that is empty, damaged, or names classes that have no business in it."""
        return load(self.path)

    @cached_property
    def keys(self) -> frozenset[str]:
        """Names of what a file holds; of an npz without reading the arrays. Empty where it holds no named things."""
        if self.suffix == ".npz" and zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        if self.suffix not in LOADERS and self.suffix not in (".json", ".mat"):
            return frozenset()
        return frozenset(map(str, self.content)) if isinstance(self.content, Mapping) else frozenset()

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Of a folder: its own files, in natural order."""
        if not self.path.is_dir():
            return ()
        return tuple(sorted((p for p in self.path.iterdir() if p.is_file() and p.name[0] != "."), key=natural_key))

    def first(self, suffix: str) -> Source | None:
        """The folder's first file of a kind."""
        return next((Source(file) for file in self.files if file.suffix.lower() == suffix), None)


def load(path: Path) -> Any:
    """A file's content by its suffix. Raises InputError."""
    require_content(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return load_json(path)
    if suffix == ".mat":
        return load_mat(path)
    if suffix not in LOADERS:
        raise InputError(f"{path}: no reader of codes for {suffix or 'such'} files: docs/formats.md lists what is read")
    return LOADERS[suffix](path)


def load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as json ({error})") from error


def load_mat(path: Path) -> dict[str, Any]:
    """Matlab's format 4 to 7.2, which holds plain arrays."""
    import scipy.io

    try:
        content = scipy.io.loadmat(str(path))
    except FitError:
        raise
    except Exception as error:  # scipy's parser of damaged files raises anything
        raise InputError(f"{path}: not a readable .mat of version 4 to 7.2 ({error})") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def require_content(path: Path) -> Path:
    """Raises InputError for a file that is not there or has nothing in it."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the spelling")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes): the run that wrote it was cut off; let it run again")
    return path


def natural_key(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts 2 before 10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(not p[0].isdecimal(), int(p) if p[0].isdecimal() else 0, p) for p in parts], path.name


def trailing_number(name: str) -> int | None:
    """The number a name ends with; None without one."""
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else None


def vector(value: Any, size: int | tuple[int, ...], what: str, path: Path) -> np.ndarray:
    """One frame's numbers, (D,), (1, D) or nested, as float64 of one of the sizes. Raises InputError."""
    sizes = (size,) if isinstance(size, int) else size
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {what}: numbers are expected, found {type(value).__name__}") from error
    if array.size not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise InputError(f"{path}: {what}: {wanted} numbers are expected, found {array.size} (shape {array.shape})")
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {what}: finite numbers are expected, found NaN or infinity")
    return array.ravel()


def rows(value: Any, size: int | tuple[int, ...], frames: int | None, what: str, path: Path) -> np.ndarray:
    """(frames, D) as float64 of one of the sizes; (D,) becomes one row, one row is repeated. Raises InputError."""
    sizes = (size,) if isinstance(size, int) else size
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {what}: numbers are expected, found {array.dtype}")
    flat = array.reshape(1, -1) if array.size in sizes and array.ndim < 2 else array.reshape(len(array), -1)
    if flat.shape[1] not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise InputError(f"{path}: {what}: {wanted} numbers a frame are expected, found {array.shape}")
    if frames is not None and len(flat) not in (1, frames):
        raise InputError(f"{path}: {what}: {frames} rows are expected, found {len(flat)}")
    if not np.isfinite(flat).all():
        raise InputError(f"{path}: {what}: finite numbers are expected, found NaN or infinity")
    return np.array(np.broadcast_to(flat, (frames or len(flat), flat.shape[1])), dtype=np.float64)
