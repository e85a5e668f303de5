"""Who is who: boxes found frame by frame, in no kept order, become persons with one row per frame.

Both rooms that bring several faces a frame (readers of landmark dumps, detectors) need this.
A row holds, for every frame, which of that frame's boxes is the person; -1 = not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

_SAME_PLACE = 0.15  # least overlap of a person's box with the last one: a face that moves half its width keeps 0.33


def box_of(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, " 4"]:
    """(left, top, right, bottom) of the finite points."""
    kept = points[np.isfinite(points).all(axis=1)]
    return np.concatenate([kept.min(axis=0), kept.max(axis=0)])


def overlaps(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`."""
    a, b = a.reshape(-1, 1, 4), b.reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return shared / np.maximum(areas - shared, 1e-12)


def persons_in_photos(boxes: Sequence[Float[np.ndarray, "_ 4"]]) -> Int[np.ndarray, "persons frames"]:
    """Unrelated photos: person k of a photo is its k-th face from the left."""
    rows = np.full((max((len(b) for b in boxes), default=0), len(boxes)), -1)
    for frame, found in enumerate(boxes):
        order = np.argsort(found[:, 0] + found[:, 2], kind="stable")
        rows[: len(order), frame] = order
    return rows


@dataclass
class _Track:
    box: Float[np.ndarray, " 4"]
    seen: int  # the frame `box` is from
    indices: dict[int, int] = field(default_factory=dict)  # frame -> box of that frame


def persons_in_clip(boxes: Sequence[Float[np.ndarray, "_ 4"]], max_gap: int = 60) -> Int[np.ndarray, "persons frames"]:
    """A clip: a face is the person whose last box it overlaps most; nobody's face begins a new person.

    A person unseen for more than `max_gap` frames is over. Persons come from left to right by their median place.
    """
    tracks: list[_Track] = []
    for frame, found in enumerate(boxes):
        alive = [t for t in tracks if frame - t.seen <= max_gap + 1]
        free = set(range(len(found)))
        for track, index in _matches(alive, found):
            free.discard(index)
            track.box, track.seen = found[index], frame
            track.indices[frame] = index
        tracks += [_Track(found[index], frame, {frame: index}) for index in sorted(free)]
    return _table(tracks, boxes)


def longest_lived(rows: Int[np.ndarray, "persons frames"], count: int) -> Int[np.ndarray, "kept frames"]:
    """The `count` persons seen in most frames, in the order they had."""
    most = np.argsort(-(rows >= 0).sum(axis=1), kind="stable")[:count]
    return rows[np.sort(most)]


def gather(
    rows: Int[np.ndarray, "persons frames"], frames: Sequence[Float[np.ndarray, "_ ..."] | list], rest: tuple[int, ...]
) -> Float[np.ndarray, "persons frames ..."]:
    """Of what every frame holds of its faces, each of shape `rest`, what is each person's; NaN where unseen."""
    out = np.full((*rows.shape, *rest), np.nan)
    for person, frame in zip(*np.nonzero(rows >= 0), strict=True):
        out[person, frame] = frames[frame][rows[person, frame]]
    return out


def _matches(alive: list[_Track], found: Float[np.ndarray, "faces 4"]) -> list[tuple[_Track, int]]:
    """Pairs of greatest overlap first, each track and each box once."""
    if not alive or not len(found):
        return []
    shared = overlaps(np.stack([t.box for t in alive]), found)
    pairs = []
    while shared.max() >= _SAME_PLACE:
        track, index = np.unravel_index(shared.argmax(), shared.shape)
        pairs.append((alive[track], int(index)))
        shared[track], shared[:, index] = -1, -1
    return pairs


def _table(tracks: list[_Track], boxes: Sequence[Float[np.ndarray, "_ 4"]]) -> Int[np.ndarray, "persons frames"]:
    def place(track: _Track) -> float:
        return float(np.median([boxes[f][i, 0] + boxes[f][i, 2] for f, i in track.indices.items()]))

    rows = np.full((len(tracks), len(boxes)), -1)
    for row, track in zip(rows, sorted(tracks, key=place), strict=True):
        row[list(track.indices)] = list(track.indices.values())
    return rows
