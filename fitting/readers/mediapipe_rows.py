"""What MediaPipe's two dumps (.npz, .json) share: faces per frame, in no kept order, become persons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.layouts import MEDIAPIPE478
from fitting.layouts.persons import box_of, gather, overlaps, persons_in_clip, persons_in_photos
from fitting.readers.landmarks import Landmarks
from fitting.readers.options import ReadOptions
from fitting.types import InputError


def are_frames(rows: Sequence[Float[np.ndarray, "478 2"]], options: ReadOptions) -> bool:
    """Whether rows of one face each are frames, or the people of one picture.

    Frames if the options speak of a sequence, or if a face lies where the one before it lay: people do not overlap.
    """
    if options.sequence != "auto":
        return True
    boxes = np.stack([box_of(row) for row in rows if np.isfinite(row).all(axis=-1).any()] or [np.zeros(4)])
    shared = [overlaps(a[None], b[None]).item() for a, b in zip(boxes[:-1], boxes[1:], strict=True)]
    return len(shared) > 0 and float(np.median(shared)) > 0.3


def landmarks_of(
    path: Path, frames: Sequence[Float[np.ndarray, "_ 478 2"]], options: ReadOptions
) -> tuple[Landmarks, Int[np.ndarray, "persons frames"]]:
    """Every person's landmarks, and which face of each frame is whose (-1 = unseen). Raises InputError for pixels."""
    require_normalised(path, frames)
    clip = len(frames) > 1 if options.sequence == "auto" else options.sequence == "clip"
    rows = person_rows(frames, clip)
    if not len(rows):
        rows = np.full((1, len(frames)), -1)  # nobody anywhere: still one row per frame
    keypoints = gather(rows, frames, (478, 2))
    return Landmarks(MEDIAPIPE478, keypoints, np.ones(rows.shape), is_clip=clip, normalised=True), rows


def person_rows(frames: Sequence[Float[np.ndarray, "_ 478 2"]], is_clip: bool) -> Int[np.ndarray, "persons frames"]:
    """Which face of each frame is each person, -1 = unseen. Faces without any finite point are nobody's."""
    seen = [np.flatnonzero(np.isfinite(faces).all(axis=-1).any(axis=-1)) for faces in frames]
    boxes = [
        np.stack([box_of(faces[k]) for k in kept]) if len(kept) else np.zeros((0, 4))
        for faces, kept in zip(frames, seen, strict=True)
    ]
    rows = persons_in_clip(boxes) if is_clip else persons_in_photos(boxes)
    for frame, kept in enumerate(seen):
        chosen = rows[:, frame] >= 0
        rows[chosen, frame] = kept[rows[chosen, frame]]
    return rows


def require_normalised(path: Path, frames: Sequence[Float[np.ndarray, "_ 478 2"]]) -> None:
    """Raises InputError for pixels: MediaPipe's own x and y are fractions of the picture."""
    highest = max((np.nanmax(np.abs(f), initial=0.0) for f in frames if f.size), default=0.0)
    if highest > 8:
        raise InputError(
            f"{path}: expected MediaPipe's x and y between 0 and 1, found {highest:.4g}: "
            "divide pixels by the picture's width and height"
        )
