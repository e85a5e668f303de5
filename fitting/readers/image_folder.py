"""A folder of images: unrelated photos, or the frames of a clip."""

from __future__ import annotations

from pathlib import Path

from fitting.readers.files import IMAGE_SUFFIXES, counts_on, files_in
from fitting.readers.image import ImageFiles, from_files
from fitting.readers.options import ReadOptions
from fitting.readers.sizes import require_one_size
from fitting.types import InputError


def accepts(path: Path) -> bool:
    return path.is_dir()


def read(path: Path, options: ReadOptions) -> ImageFiles:
    """All images of the folder in natural order (2 before 10); other files are passed over.

    `sequence: auto` calls it a clip if the pictures have one size and their names count on by one.
    Raises InputError where there is no image, or where a clip's pictures differ in size.
    """
    paths = files_in(path, IMAGE_SUFFIXES)
    if not paths:
        raise InputError(
            f"{path}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) or landmark files (.pts, .lms, .txt), "
            f"found {_contents(path)}; name the folder that holds the files themselves"
        )
    photos = from_files(str(path), paths, is_clip=False, fps=None)
    if not _is_clip(photos, options):
        return photos
    require_one_size(path, photos.image_sizes)
    return from_files(str(path), paths, is_clip=True, fps=options.fps)


def _is_clip(photos: ImageFiles, options: ReadOptions) -> bool:
    if options.sequence != "auto":
        return options.sequence == "clip"
    return counts_on(p.stem for p in photos.paths) and bool((photos.image_sizes == photos.image_sizes[0]).all())


def _contents(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return f"{len(names)} others ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "nothing"
