"""Folders with one folder of small npy files per face: how EMOCA and EMICA leave a video or a set of images."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.codes.frames import Frame
from fitting.codes.source import natural_key
from fitting.types import FitError, InputError
from fitting.unpickle import CODES, load_npy_object, load_pickles

FACE = re.compile(r"(.+?)_(\d{3})")
FRAME = re.compile(r"\d{6}")
DEEPEST = 5  # <out>/<model>/processed_<date>/<video>/results/<model>
OTHER = {"videos", "detections", "landmarks", "segmentations"}  # large, and never holds codes
THREADS = 8


@dataclass(frozen=True)
class FaceFolder:
    path: Path
    frame: str  # '000017', or an image's name
    person: int


def find_faces(top: Path, mark: str) -> list[FaceFolder]:
    """The folders of faces below `top` that hold `mark` ('exp.npy'), wherever the program put them; the nearest level
    that has any. `top` may be the folder of results itself, or any folder above it."""
    level = [top]
    for _ in range(DEEPEST + 1):
        for folder in level:
            faces = faces_in(folder, mark)
            if faces:
                return faces
        level = [child for folder in level for child in _folders(folder) if child.name not in OTHER]
    return []


def faces_in(folder: Path, mark: str) -> list[FaceFolder]:
    children = _folders(folder)
    named = [(child, FACE.fullmatch(child.name)) for child in children]
    if not any((child / mark).is_file() for child, match in named[:50]):
        return []
    return [
        FaceFolder(child, match[1] if match else child.name, int(match[2]) if match else 0) for child, match in named
    ]


def is_video(faces: list[FaceFolder]) -> bool:
    return all(FRAME.fullmatch(face.frame) for face in faces)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted((Path(e.path) for e in entries if e.is_dir() and e.name[0] != "."), key=natural_key)


# ------------------------------------------------------------------ many small files


class Vectors:
    """Reads npy files of a few numbers. Nearly all have the same header: what numpy would parse anew for each file,
    which takes most of the time, is parsed once."""

    def __init__(self) -> None:
        self.known: dict[bytes, tuple[int, np.dtype, int]] = {}  # header -> its length, type, numbers

    def read(self, path: Path, size: int | tuple[int, ...]) -> np.ndarray:
        """The file's numbers, flat. Raises InputError for a file that is empty, damaged, or of another size."""
        sizes = (size,) if isinstance(size, int) else size
        try:
            with path.open("rb", buffering=0) as stream:
                content = stream.read()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        if not content:
            raise InputError(f"{path}: the file is empty (0 bytes): the run was cut off here; let it run again")
        header = self.known.get(content[:128])
        if header and header[2] in sizes and len(content) == header[0] + header[2] * header[1].itemsize:
            array = np.frombuffer(content, header[1], offset=header[0])
        else:
            array = self._first_of_its_kind(path, content)
        if array.size not in sizes:
            wanted = " or ".join(map(str, sizes))
            raise InputError(f"{path}: {wanted} numbers are expected, found {array.size}")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: finite numbers are expected, found NaN or infinity")
        return array

    def _first_of_its_kind(self, path: Path, content: bytes) -> np.ndarray:
        array = np.asarray(load_npy_object(path, CODES))
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: numbers are expected, found {array.dtype}")
        length = len(content) - array.nbytes
        if length == 128:  # what is compared; numpy pads its headers to 64
            self.known[content[:128]] = (length, array.dtype, array.size)
        return array.ravel()


ReadFace = Callable[[Path, Vectors], Frame]
"""How a format reads one folder."""


def read_faces(faces: list[FaceFolder], read: ReadFace) -> dict[int, dict[str, Frame]]:
    """Frames by person and by the frame's name. A damaged file stops the reading: its message names the file."""
    vectors = Vectors()
    first = read(faces[0].path, vectors)  # alone, so that the headers are known to all threads
    with ThreadPoolExecutor(THREADS) as pool:
        rest = list(pool.map(lambda face: read(face.path, vectors), faces[1:], chunksize=64))
    people: dict[int, dict[str, Frame]] = defaultdict(dict)
    for face, frame in zip(faces, [first, *rest], strict=True):
        people[face.person][face.frame] = frame
    return dict(sorted(people.items()))


# ------------------------------------------------------------------ crops


def read_crops(results: Path) -> dict[tuple[int, int], np.ndarray]:
    """Squares that the regressor saw, [middle x, middle y, side] in pixels of the full image, by (frame from 1,
    person); from detections/bboxes.pkl beside the results. Empty where there is none, or it is damaged: codes are
    whole then.
    """
    for path in _bboxes(results):
        try:
            pickles = load_pickles(path)
            centres, sides = pickles[1], pickles[2]
            return {
                (k + 1, p): np.array([*np.ravel(centre)[:2], float(side)], dtype=np.float64)
                for k, (of_frame, sizes) in enumerate(zip(centres, sides, strict=False))
                for p, (centre, side) in enumerate(zip(of_frame, sizes, strict=False))
            }
        except (FitError, IndexError, TypeError, ValueError):
            continue
    return {}


def _bboxes(results: Path) -> list[Path]:
    """Newest first: a second run leaves a second folder."""
    beside = [parent / "detections" / "bboxes.pkl" for parent in (results, *list(results.parents)[:2])]
    processed = sorted(results.glob("processed_*/*/detections/bboxes.pkl"), reverse=True)
    return [path for path in (*beside, *processed) if path.is_file() and path.stat().st_size]
