"""A folder of .lms, .pts or .txt files of 68 landmarks, one per frame, with or without the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.layouts import IBUG68
from fitting.readers.files import IMAGE_SUFFIXES, counts_on, files_in
from fitting.readers.image_folder import read as read_images
from fitting.readers.landmarks import Landmarks, observe, open_pictures
from fitting.readers.options import ReadOptions
from fitting.readers.rows import row_names, rows_of
from fitting.readers.text68 import parse
from fitting.types import Observations, Pictures


def accepts(path: Path) -> bool:
    return path.is_dir() and bool(_landmark_files(path))


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One person. With pictures (the options', or images of the same stems in the folder) every picture is a row.

    Without, the files are the rows in natural order; frame numbers that leave gaps get rows without landmarks, so
    that no later frame moves up. Raises InputError where a file is not 68 points or has no picture among the given.
    """
    files = _landmark_files(path)
    pictures = _pictures(path, files, options)
    stems = [file.stem for file in files]
    names = pictures.names if pictures else row_names(stems, options)
    rows = rows_of(path, stems, names)
    points = np.full((1, len(names), 68, 2), np.nan)
    points[0, rows] = [parse(file) for file in files]
    found = Landmarks(IBUG68, points, np.ones((1, len(names))), is_clip=counts_on(names), names=names)
    return observe(path, found, options, pictures)


def _landmark_files(folder: Path) -> list[Path]:
    """Of one kind only: .lms before .pts before .txt, which may be a note."""
    kinds = (files_in(folder, {suffix}) for suffix in (".lms", ".pts"))
    found = next((files for files in kinds if files), [])
    if found:
        return found
    texts = files_in(folder, {".txt"})
    images = files_in(folder, IMAGE_SUFFIXES)
    stems = {p.stem for p in images}
    return [p for p in texts if p.stem in stems] if images else texts


def _pictures(path: Path, files: list[Path], options: ReadOptions) -> Pictures | None:
    if options.pictures is not None:
        return open_pictures(Path(options.pictures), options)
    images = {p.stem for p in files_in(path, IMAGE_SUFFIXES)}
    return read_images(path, options) if images & {p.stem for p in files} else None
