"""From the landmarks of a file to one `Observations` per person; every reader of landmark files ends here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.readers import image, image_folder, video
from fitting.readers.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, require_content
from fitting.readers.options import ReadOptions
from fitting.readers.sizes import guessed_size, require_one_size
from fitting.types import InputError, Layout, Observations, Pictures


@dataclass(frozen=True)
class Landmarks:
    """What a landmark file holds. NaN or infinite = not seen."""

    layout: Layout
    points: Float[np.ndarray, "persons frames points 2"]  # pixels; or 0..1 of the picture where `normalised`
    confidence: Float[np.ndarray, "persons frames"] | Float[np.ndarray, "persons frames points"]
    is_clip: bool  # the file's own word; ReadOptions.sequence and the pictures go before it
    normalised: bool = False
    names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | Int[np.ndarray, "frames 2"] | None = None  # width, height
    fps: float | None = None
    timestamps: Float[np.ndarray, " frames"] | None = None
    blendshapes: Float[np.ndarray, "persons frames 52"] | None = None
    head_matrix: Float[np.ndarray, "persons frames 4 4"] | None = None


def observe(path: Path, found: Landmarks, options: ReadOptions, pictures: Pictures | None = None) -> list[Observations]:
    """One record per person, the landmarks in pixels (centres at integers), confidence 0 where they are not finite.

    Picture sizes come from `pictures` (or those `pictures_for` finds), else from `options.image_size`, else from the
    file. Where none says it, pixels still allow a guess, see `guessed_size`; `size_known` is False then. Normalised
    landmarks do not: InputError, as for a clip whose frames differ in size.
    """
    frames = found.points.shape[1]
    pictures = pictures or pictures_for(path, frames, options)
    sizes = _image_sizes(path, found, options, pictures)
    pixels = found.points * sizes[:, None] - 0.5 if found.normalised else found.points
    seen = np.isfinite(pixels).all(axis=-1)
    _require_pixels(path, pixels, seen)
    certainty = np.nan_to_num(found.confidence).clip(0, 1)
    confidence = np.where(seen, certainty if certainty.ndim == 3 else certainty[..., None], 0.0)
    clip = clip_or_photos(found.is_clip, options, pictures)
    if clip:
        require_one_size(path, sizes)
    fps = (options.fps or found.fps or (pictures.fps if pictures else None)) if clip else None
    return [
        Observations(
            person=f"{k:03d}",
            layout=found.layout,
            keypoints=np.where(seen[k, ..., None], pixels[k], 0.0),
            confidence=confidence[k],
            names=_names(path, found, pictures),
            image_sizes=sizes,
            is_clip=clip,
            size_known=bool(pictures or options.image_size) or found.image_size is not None,
            fps=fps,
            timestamps=_timestamps(found, pictures, fps),
            focal_hints=pictures.focal_hints if pictures else None,
            pictures=pictures,
            blendshapes=None if found.blendshapes is None else found.blendshapes[k],
            head_matrix=None if found.head_matrix is None else found.head_matrix[k],
        )
        for k in range(len(pixels))
    ]


def pictures_for(path: Path, frames: int, options: ReadOptions) -> Pictures | None:
    """The pictures named in the options, else an image or video of the same stem beside the landmarks, else None.

    Raises InputError where the options name pictures of another number of frames.
    """
    if options.pictures is None:
        beside = _same_stem(path, path.parent)
        pictures = open_pictures(beside, options) if beside else None
        return pictures if pictures and len(pictures) == frames else None
    named = require_content(Path(options.pictures))
    if named.is_dir() and path.is_file():
        named = _same_stem(path, named) or named
    pictures = open_pictures(named, options)
    if len(pictures) != frames:
        raise InputError(
            f"{path} has {frames} frame(s) but {named} has {len(pictures)}: give the pictures they belong to"
        )
    return pictures


def open_pictures(path: Path, options: ReadOptions) -> Pictures:
    """An image, a folder of images or a video."""
    for reader in (image, video, image_folder):
        if reader.accepts(path):
            return reader.read(path, options)
    raise InputError(f"pictures: {path} is neither an image, a folder of images nor a video")


def clip_or_photos(own_word: bool, options: ReadOptions, pictures: Pictures | None) -> bool:
    """Whether frames belong together: by the options, else the pictures, else the file's own word."""
    if options.sequence != "auto":
        return options.sequence == "clip"
    return pictures.is_clip if pictures else own_word


def _same_stem(path: Path, folder: Path) -> Path | None:
    beside = (folder / (path.stem + suffix) for suffix in sorted(IMAGE_SUFFIXES) + sorted(VIDEO_SUFFIXES))
    return next((p for p in beside if p.is_file()), None)


def _image_sizes(
    path: Path, found: Landmarks, options: ReadOptions, pictures: Pictures | None
) -> Int[np.ndarray, "frames 2"]:
    if pictures:
        return pictures.image_sizes
    size = options.image_size if options.image_size is not None else found.image_size
    if size is None and found.normalised:
        raise InputError(
            f"{path}: its landmarks are fractions of the picture, and the picture's size is not in the file: "
            "give `image_size` (width, height), or the pictures themselves"
        )
    every = np.array(guessed_size(found.points) if size is None else size, dtype=np.int64)
    return np.broadcast_to(every, (found.points.shape[1], 2)).copy()


def _require_pixels(path: Path, pixels: Float[np.ndarray, "*batch points 2"], seen: np.ndarray) -> None:
    """A face smaller than 4 pixels is a file in other units, such as DECA's -1..1 of a crop."""
    if seen.any() and np.ptp(pixels[seen], axis=0).max() < 4:
        low, high = pixels[seen].min(), pixels[seen].max()
        raise InputError(f"{path}: expected pixels, found numbers from {low:.3g} to {high:.3g}: convert them to pixels")


def _names(path: Path, found: Landmarks, pictures: Pictures | None) -> tuple[str, ...]:
    if pictures:
        return pictures.names
    frames = found.points.shape[1]
    return found.names or ((path.stem,) if frames == 1 else tuple(f"{k:06d}" for k in range(frames)))


def _timestamps(found: Landmarks, pictures: Pictures | None, fps: float | None) -> Float[np.ndarray, " frames"] | None:
    if pictures and pictures.timestamps is not None:
        return pictures.timestamps
    if found.timestamps is not None:
        return found.timestamps
    return np.arange(found.points.shape[1]) / fps if fps else None
