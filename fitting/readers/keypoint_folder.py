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
from fitting.readers.json_values import load, outline
from fitting.readers.landmarks import open_pictures
from fitting.readers.options import ReadOptions
from fitting.readers.people import People, observe_people
from fitting.readers.rows import row_names, rows_of
from fitting.types import InputError, Observations, Pictures

_TAIL = "_keypoints"


def accepts(path: Path) -> bool:
    """A folder whose json files are keypoints by their name, or stand alone, or have an image each."""
    if not path.is_dir():
        return False
    if _keypoints_of(path) != path:
        return True
    files = files_in(path, {".json"})
    images = {p.stem for p in files_in(path, IMAGE_SUFFIXES)}
    return bool(files) and (
        not images or any(p.stem.endswith(_TAIL) for p in files) or {p.stem for p in files} <= images
    )


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
    contents: list[Any] = [{"people": []}] * len(names)
    for row, file in zip(rows_of(path, stems, names, "keypoint files"), files, strict=True):
        contents[row] = load(file)
    return observe_people(path, _people(path, files, contents, names), options, pictures)


def _people(path: Path, files: Sequence[Path], contents: Sequence[Any], names: tuple[str, ...]) -> People:
    """All files are of one tool: the one that the first tells."""
    of_frame = dict(zip(names, contents, strict=True))
    where = {name: path for name in names} | {_stem(file): file for file in files}
    is_clip = counts_on(names)
    filled = [content for content in contents if content != {"people": []}]
    if filled and all(mmpose.is_one_frame(content) for content in filled):
        frames = [content if isinstance(content, list) else [] for content in contents]
        return mmpose.people_of(path, frames, names, is_clip)
    other = next((file for file in files if not openpose.matches(of_frame.get(_stem(file), {"people": []}))), None)
    if other is not None:
        raise InputError(f"{other}: expected OpenPose's `people`, found {outline(of_frame[_stem(other)])}")
    return openpose.people_of(
        path, [openpose.parse(where[name], content) for name, content in of_frame.items()], names, is_clip
    )


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
