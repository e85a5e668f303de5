"""One image file; also the pictures of a folder, opened one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from fitting.camera import exif_to_focal
from fitting.readers.files import IMAGE_SUFFIXES, require_content, unique_names, with_size
from fitting.readers.options import ReadOptions
from fitting.types import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Exif 2.32: orientation, the sub-directory of photographic tags, focal length as if on 35 mm film.
_ORIENTATION, _EXIF, _FOCAL_35MM = 0x0112, 0x8769, 0xA405
_LYING = frozenset({5, 6, 7, 8})  # orientations that exchange width and height


@dataclass(frozen=True)
class ImageFiles:
    """Pictures from image files, upright as EXIF says."""

    source: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    image_sizes: Int[np.ndarray, "frames 2"]
    fps: float | None
    timestamps: Float[np.ndarray, " frames"] | None
    focal_hints: Float[np.ndarray, " frames"]
    is_clip: bool

    def __len__(self) -> int:
        return len(self.paths)

    def read(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return (load(path) for path in self.paths)


def accepts(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def read(path: Path, options: ReadOptions) -> ImageFiles:
    """One picture, named by its stem. Raises InputError where it cannot be read."""
    return from_files(str(path), [path], is_clip=False, fps=None)


def from_files(source: str, paths: list[Path], is_clip: bool, fps: float | None) -> ImageFiles:
    """Pictures of the files in this order. Only headers are read here; raises InputError where one is unreadable."""
    headers = [_header(path) for path in paths]
    return ImageFiles(
        source=source,
        paths=tuple(paths),
        names=unique_names(paths),
        image_sizes=np.array([size for size, _ in headers], dtype=np.int64).reshape(-1, 2),
        fps=fps if is_clip else None,
        timestamps=np.arange(len(paths)) / fps if is_clip and fps else None,
        focal_hints=np.array([focal for _, focal in headers], dtype=np.float64),
        is_clip=is_clip,
    )


def load(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """RGB, upright. Raises InputError where the file is damaged."""
    from PIL import Image, ImageOps

    try:
        with Image.open(require_content(path)) as image:
            return np.array(_eight_bit(ImageOps.exif_transpose(image)).convert("RGB"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _header(path: Path) -> tuple[tuple[int, int], float]:
    """Upright size (width, height) in pixels, and the focal length in pixels (NaN where EXIF has none)."""
    from PIL import Image

    try:
        with Image.open(require_content(path)) as image:
            exif, size = image.getexif(), image.size
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    if exif.get(_ORIENTATION) in _LYING:
        size = size[::-1]
    return size, _focal(exif.get_ifd(_EXIF).get(_FOCAL_35MM), size)


def _focal(focal_35mm: object, size: tuple[int, int]) -> float:
    """Exif writes 0 where the focal length is not known."""
    try:
        millimetres = float(focal_35mm)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
    return exif_to_focal(millimetres, size) if 0 < millimetres < float("inf") else float("nan")


def _eight_bit(image: Image) -> Image:
    """16-bit greys to 8 bits: Pillow's own conversion clips them to white."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{with_size(path)}: not a readable image: {error}; open it in a viewer, or copy it again")
