"""From what a source says of single frames to a `Track`: rows stacked, frames without codes kept as empty rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fitting.track import Track
from fitting.types import Codes, InputError


@dataclass(frozen=True)
class Frame:
    """What a source says of one frame: rows by block, and what `Track` holds beside them."""

    values: Mapping[str, np.ndarray]
    K: np.ndarray | None = None
    world_from_codes: np.ndarray | None = None
    weak: np.ndarray | None = None
    crop: np.ndarray | None = None
    image_size: tuple[int, int] | None = None
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


def stack(frames: Sequence[Frame | None], names: Sequence[str], model: str, format: str) -> Track:
    """One row per entry; None is a frame without codes. Raises InputError where frames do not hold the same things."""
    valid = np.array([frame is not None for frame in frames], dtype=bool)
    known = [frame for frame in frames if frame is not None]
    if not known:
        raise InputError(f"{format}: not one frame with codes in it")
    values = {}
    for name in known[0].values:
        values[name] = _column(frames, name, [None if f is None else f.values.get(name) for f in frames], format)
    extras = {
        name: _column(frames, name, [None if f is None else f.extras[name] for f in frames], format)
        for name in known[0].extras
        if all(name in frame.extras for frame in known)
    }

    def optional(field: str) -> np.ndarray | None:
        if getattr(known[0], field) is None:
            return None
        return _column(frames, field, [None if f is None else getattr(f, field) for f in frames], format)

    K = optional("K")
    if K is not None:
        K[~valid] = K[valid][0]
    motion = optional("world_from_codes")
    if motion is not None:
        motion[~valid] = np.eye(4)
    sizes = optional("image_size")
    if sizes is not None:
        sizes[~valid] = sizes[valid][0]
    return Track(
        Codes(values, model, valid, K),
        tuple(names),
        format,
        world_from_codes=motion,
        weak=optional("weak"),
        crops=optional("crop"),
        image_sizes=None if sizes is None else sizes.astype(np.int64),
        extras=extras,
    )


def apart(track: Track, pictures: Sequence[str]) -> list[Track]:
    """A track in which pictures come again as one track per person: a picture's second row is its second person."""
    seen: dict[str, int] = {}
    people: list[dict[str, int]] = []
    for row, name in enumerate(pictures):
        number = seen.get(name, 0)
        seen[name] = number + 1
        if number == len(people):
            people.append({})
        people[number][name] = row
    if len(people) < 2:
        return [track]
    names = tuple(track.names[people[0][name]] for name in seen)
    return [
        replace(track.take(np.array([rows.get(name, -1) for name in seen])), names=names, person=f"{k:03d}")
        for k, rows in enumerate(people)
    ]


def numbered(frames: Mapping[int, Frame], model: str, format: str, first: int) -> Track:
    """Frames by the number their source gives them; `first` is the number of the input's first frame."""
    if min(frames) < first:
        raise InputError(f"{format}: frames count from {first}, found one with the number {min(frames)}")
    count = max(frames) - first + 1
    every: Iterable[Frame | None] = (frames.get(k + first) for k in range(count))
    track = stack(list(every), [f"{k:06d}" for k in range(count)], model, format)
    return replace(track, match="number")


def _column(frames: Sequence[Frame | None], name: str, parts: Sequence[object], format: str) -> np.ndarray:
    first = next(np.asarray(p, dtype=np.float64) for p in parts if p is not None)
    empty = np.zeros_like(first)
    found = []
    for k, (frame, part) in enumerate(zip(frames, parts, strict=True)):
        if frame is not None and part is None:
            raise InputError(f"{format}: {name} is missing in entry {k}, others have it")
        array = empty if part is None else np.asarray(part, dtype=np.float64)
        if array.shape != first.shape:
            raise InputError(f"{format}: {name} has {array.size} numbers in entry {k}, the first has {first.size}")
        found.append(array)
    return np.stack(found)
