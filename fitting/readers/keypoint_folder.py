"""A folder of json files, one a frame, as OpenPose and MMPose write them; or SMPLify-X's data folder round it.

A data folder has `images/` and `keypoints/<stem of the image>_keypoints.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitting.readers import mmpose, openpose
from fitting.readers.files import IMAGE_SUFFIXES, counts_on, files_in
from fitting.readers.image_folder import read as read_images
from fitting.readers.json_values import load
from fitting.readers.landmarks import open_pictures
from fitting.readers.options import ReadOptions
from fitting.readers.people import People, observe_people
from fitting.readers.rows import row_names, rows_of
from fitting.types import InputError, Observations, Pictures

_TAIL = "_keypoints"


def accepts(path: Path) -> bool:
    """A data folder; or a folder with json files called keypoints, or with json and neither images nor landmarks."""
    if not path.is_dir():
        return False
    files = files_in(path, {".json"})
    if _keypoints_of(path) != path or any(p.stem.endswith(_TAIL) for p in files):
        return True
    return bool(files) and not files_in(path, IMAGE_SUFFIXES | {".lms", ".pts"})


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One record per person. With pictures every picture is a row, without them every file, gaps in the numbers too.

    In a data folder files without a picture are passed over, as SMPLify-X does; elsewhere they are an InputError.
    Raises InputError for json of another kind or for several kinds, NoPersonError where nobody was found.
    """
    folder = _keypoints_of(path)
    files = files_in(folder, {".json"})
    files = [p for p in files if p.stem.endswith(_TAIL)] or files
    if not files:
        raise InputError(f"{folder}: expected <image>_keypoints.json files, found none: run OpenPose with --write_json")
    pictures = _pictures(path, folder, files, options)
    if pictures and folder != path and options.pictures is None:
        files = [file for file in files if _stem(file) in pictures.names] or files
    stems = [_stem(file) for file in files]
    names = pictures.names if pictures else row_names(stems, options)
    frames: list[list[Any]] = [[] for _ in names]
    for row, file in zip(rows_of(path, stems, names, "keypoint files"), files, strict=True):
        frames[row] = _frame(file)
    return observe_people(path, _people(path, frames, names), options, pictures)


def _frame(file: Path) -> list[openpose.Person] | list[dict[str, Any]]:
    """OpenPose's people or MMPose's instances. Raises InputError for anything else."""
    content = load(file)
    if mmpose.is_one_frame(content):
        return content
    return openpose.parse(file, content)


def _people(path: Path, frames: list[list[Any]], names: tuple[str, ...]) -> People:
    """All files are of one tool."""
    tools = {isinstance(person, openpose.Person) for frame in frames for person in frame}
    if len(tools) > 1:
        raise InputError(f"{path}: files of OpenPose and of MMPose in one folder: give each a folder of its own")
    module = mmpose if tools == {False} else openpose
    return module.people_of(path, frames, names, is_clip=counts_on(names))


def _keypoints_of(path: Path) -> Path:
    """`keypoints/` of a data folder, else the folder itself."""
    inside = path / "keypoints"
    return inside if inside.is_dir() and not files_in(path, {".json"}) else path


def _pictures(path: Path, folder: Path, files: Sequence[Path], options: ReadOptions) -> Pictures | None:
    """The options', or images of the same stems: in `images/` of the data folder, else beside the files."""
    if options.pictures is not None:
        return open_pictures(Path(options.pictures), options)
    data = path if folder != path else path.parent if path.name == "keypoints" else None
    stems = {_stem(file) for file in files}
    for images in (data / "images" if data else None, folder):
        if images and images.is_dir() and stems & {p.stem for p in files_in(images, IMAGE_SUFFIXES)}:
            return read_images(images, options)
    return None


def _stem(file: Path) -> str:
    return file.stem.removesuffix(_TAIL)
