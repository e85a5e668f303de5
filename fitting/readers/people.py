"""From the people of every frame, in no kept order, to one `Observations` per person; readers of bodies end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.layouts import COCO17, COCO23, HALPE26, HALPE136, WHOLEBODY133, with_midpoints
from fitting.layouts.convert import to_layout
from fitting.layouts.persons import bodies_in_clip, body_boxes, gather, persons_by_number, persons_in_photos
from fitting.readers.landmarks import Landmarks, clip_or_photos, observe, open_pictures, pictures_for
from fitting.readers.options import ReadOptions
from fitting.readers.rows import rows_of
from fitting.types import InputError, Layout, NoPersonError, Observations, Pictures

_BY_COUNT = {len(layout): layout for layout in (COCO17, COCO23, HALPE26, WHOLEBODY133, HALPE136)}


@dataclass(frozen=True)
class People:
    """What a keypoint file holds."""

    layout: Layout
    frames: Sequence[Float[np.ndarray, "_ points 3"]]  # of every person x, y in pixels and confidence, 0 = not seen
    names: tuple[str, ...]  # of the frames
    is_clip: bool  # the file's own word; ReadOptions.sequence and the pictures go before it
    numbers: Sequence[Int[np.ndarray, " _"]] | None = None  # of the people, where the file's tool has tracked them
    image_sizes: Int[np.ndarray, "frames 2"] | None = None
    fps: float | None = None


def layout_of(path: Path, points: int) -> Layout:
    """The layout of COCO's kind with so many points. Raises InputError where there is none."""
    if points not in _BY_COUNT:
        known = ", ".join(f"{count} ({layout.name})" for count, layout in sorted(_BY_COUNT.items()))
        raise InputError(f"{path}: a person of {points} keypoints is not known; known are {known}")
    return _BY_COUNT[points]


def one_count(path: Path, frames: Sequence[Sequence[np.ndarray]]) -> int:
    """Of the points of everybody. Raises InputError where people differ, or where there is nobody."""
    counts = sorted({len(points) for frame in frames for points in frame})
    if not counts:
        raise _nobody(path, len(frames))
    if len(counts) > 1:
        raise InputError(f"{path}: people of {' and of '.join(map(str, counts))} points in one input: one kind a run")
    return counts[0]


def observe_people(
    path: Path, found: People, options: ReadOptions, pictures: Pictures | None = None
) -> list[Observations]:
    """One record per person, from left to right, with neck and mid-hip added to COCO's kinds of bodies.

    The rows are the pictures: `pictures`, else those of the options, else one of the same stem beside a file of one
    frame. Without any they are the frames of the file. In a clip people are told apart by their tool's numbers where
    it has tracked them, else by where their keypoints lie; in photos person k is the k-th from the left. Raises
    NoPersonError where there is nobody in any frame, InputError for people in a frame without a picture.
    """
    found = _only_seen(_with_midpoints(found))
    if not any(len(people) for people in found.frames):
        raise _nobody(path, len(found.frames))
    pictures = pictures or _pictures(path, found, options)
    if pictures and pictures.names != found.names:
        found = _as_pictures(path, found, pictures)
    clip = clip_or_photos(found.is_clip, options, pictures)
    rows = _persons(found, clip)
    points = gather(rows, found.frames, (len(found.layout), 3))
    confidence = np.nan_to_num(points[..., 2]).clip(0, 1)
    keypoints = np.where(confidence[..., None] > 0, points[..., :2], np.nan)
    landmarks = Landmarks(
        found.layout, keypoints, confidence, clip, names=found.names, image_size=found.image_sizes, fps=found.fps
    )
    return observe(path, landmarks, options, pictures)


def _pictures(path: Path, found: People, options: ReadOptions) -> Pictures | None:
    if options.pictures is not None and Path(options.pictures).exists() and len(found.frames) > 1:
        return open_pictures(Path(options.pictures), options)
    return pictures_for(path, len(found.frames), options)


def _as_pictures(path: Path, found: People, pictures: Pictures) -> People:
    """A row for every picture. Annotations and results come in an order of their own."""
    filled = [k for k, people in enumerate(found.frames) if len(people)]
    rows = rows_of(path, [found.names[k] for k in filled], pictures.names, "frames with people")
    place = dict(zip(rows, filled, strict=True))
    nobody = np.zeros((0, len(found.layout), 3))
    numbers = found.numbers
    if numbers is not None:
        numbers = [numbers[place[k]] if k in place else np.zeros(0, dtype=np.int64) for k in range(len(pictures))]
    frames = [found.frames[place[k]] if k in place else nobody for k in range(len(pictures))]
    return replace(found, frames=frames, names=pictures.names, numbers=numbers, image_sizes=None)


def _with_midpoints(found: People) -> People:
    """COCO annotates no neck and no mid-hip; OpenPose and Halpe have their own."""
    target = with_midpoints(found.layout)
    if "upper_neck" in found.layout.point_names or target is found.layout:
        return found
    return replace(found, layout=target, frames=[to_layout(people, found.layout, target) for people in found.frames])


def _only_seen(found: People) -> People:
    """Without people who have no point at all, as tools write them to fill a list up."""
    kept = [(people[..., 2] > 0).any(axis=1) & np.isfinite(people).all(axis=(1, 2)) for people in found.frames]
    numbers = found.numbers
    if numbers is not None:
        numbers = [row[k] for row, k in zip(numbers, kept, strict=True)]
    return replace(found, frames=[p[k] for p, k in zip(found.frames, kept, strict=True)], numbers=numbers)


def _persons(found: People, clip: bool) -> Int[np.ndarray, "persons frames"]:
    if not clip:
        return persons_in_photos([body_boxes(people) for people in found.frames])
    if found.numbers is not None and all(len(set(row.tolist())) == len(row) for row in found.numbers):
        return persons_by_number(found.numbers, found.frames)
    return bodies_in_clip(found.frames)


def _nobody(path: Path, frames: int) -> NoPersonError:
    return NoPersonError(
        f"{path}: nobody has keypoints in any of its {frames} frame(s): run the keypoint detector again, on the "
        "pictures that show the person"
    )
