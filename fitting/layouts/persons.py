"""Who is who: faces or bodies found frame by frame, in no kept order, become persons with one row per frame.

Both rooms that bring several people a frame (readers of landmark dumps, detectors) need this.
A row holds, for every frame, which of that frame's people is the person; -1 = not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

_SAME_PLACE = 0.15  # least overlap of a person's box with the last one: a face that moves half its width keeps 0.33
_SAME_BODY = 0.3  # of a body's longer side: half its keypoints moved no further than that

# How alike some people (tracks) are to those of a frame; negative where they cannot be the same.
_Likeness = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "tracks found"]]


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
    last: np.ndarray  # what it looked like in frame `seen`
    seen: int
    indices: dict[int, int] = field(default_factory=dict)  # frame -> which of that frame's


def persons_in_clip(boxes: Sequence[Float[np.ndarray, "_ 4"]], max_gap: int = 60) -> Int[np.ndarray, "persons frames"]:
    """A clip: a face is the person whose last box it overlaps most; nobody's face begins a new person.

    A person unseen for more than `max_gap` frames is over. Persons come from left to right by their median place.
    """
    tracks = _follow(boxes, _overlap, lambda _, box: box, max_gap)
    return _table([t.indices for t in tracks], [b[:, 0] + b[:, 2] for b in boxes])


def bodies_in_clip(
    people: Sequence[Float[np.ndarray, "_ points 3"]], max_gap: int = 60
) -> Int[np.ndarray, "persons frames"]:
    """The same for bodies of (x, y, confidence): by the distances of the keypoints that both have, not by boxes, which
    grow and shrink with every limb that is or is not found."""
    tracks = _follow(people, _closeness, lambda old, new: np.where(new[:, 2:] > 0, new, old), max_gap)
    return _table([t.indices for t in tracks], [_middles(p) for p in people])


def persons_by_number(
    numbers: Sequence[Int[np.ndarray, " _"]], people: Sequence[Float[np.ndarray, "_ points 3"]]
) -> Int[np.ndarray, "persons frames"]:
    """Whoever has the same number is the same person."""
    found: dict[int, dict[int, int]] = {}
    for frame, row in enumerate(numbers):
        for index, number in enumerate(row.tolist()):
            found.setdefault(number, {})[frame] = index
    return _table(list(found.values()), [_middles(p) for p in people])


def body_boxes(people: Float[np.ndarray, "people points 3"]) -> Float[np.ndarray, "people 4"]:
    """Of the points with a confidence above 0; every person has one."""
    points = np.where(people[..., 2:] > 0, people[..., :2], np.nan)
    return np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=-1).reshape(-1, 4)


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


def _follow(
    frames: Sequence[np.ndarray],
    likeness: _Likeness,
    renewed: Callable[[np.ndarray, np.ndarray], np.ndarray],
    max_gap: int,
) -> list[_Track]:
    tracks: list[_Track] = []
    for frame, found in enumerate(frames):
        alive = [t for t in tracks if frame - t.seen <= max_gap + 1]
        free = set(range(len(found)))
        for track, index in _matches(alive, found, likeness):
            free.discard(index)
            track.last, track.seen = renewed(track.last, found[index]), frame
            track.indices[frame] = index
        tracks += [_Track(found[index], frame, {frame: index}) for index in sorted(free)]
    return tracks


def _matches(alive: list[_Track], found: np.ndarray, likeness: _Likeness) -> list[tuple[_Track, int]]:
    """The most alike first, each track and each of the found once."""
    if not alive or not len(found):
        return []
    alike = likeness(np.stack([t.last for t in alive]), found)
    pairs = []
    while alike.max() >= 0:
        track, index = np.unravel_index(alike.argmax(), alike.shape)
        pairs.append((alive[track], int(index)))
        alike[track], alike[:, index] = -1, -1
    return pairs


def _overlap(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    return overlaps(a, b) - _SAME_PLACE


def _closeness(a: Float[np.ndarray, "n points 3"], b: Float[np.ndarray, "m points 3"]) -> Float[np.ndarray, "n m"]:
    """Median distance of the points that both have, in longer sides of the larger one: the less the closer."""
    both = (a[:, None, :, 2] > 0) & (b[None, :, :, 2] > 0)
    apart = np.linalg.norm(a[:, None, :, :2] - b[None, :, :, :2], axis=-1)
    far = np.array([[np.median(d[k]) if k.any() else np.inf for d, k in zip(*row, strict=True)]
                    for row in zip(apart, both, strict=True)])  # fmt: skip
    sizes = [(boxes[:, 2:] - boxes[:, :2]).max(axis=1) for boxes in (body_boxes(a), body_boxes(b))]
    size = np.maximum(np.maximum(sizes[0][:, None], sizes[1]), 1e-9)
    return np.where(far <= _SAME_BODY * size, _SAME_BODY - np.minimum(far, 1e9) / size, -1.0)


def _middles(people: Float[np.ndarray, "people points 3"]) -> Float[np.ndarray, " people"]:
    boxes = body_boxes(people)
    return boxes[:, 0] + boxes[:, 2]


def _table(
    tracks: list[dict[int, int]], places: Sequence[Float[np.ndarray, " _"]]
) -> Int[np.ndarray, "persons frames"]:
    """Rows from left to right by the median of their places; a track is frame -> which of that frame's."""

    def place(track: dict[int, int]) -> float:
        return float(np.median([places[frame][index] for frame, index in track.items()]))

    rows = np.full((len(tracks), len(places)), -1)
    for row, track in zip(rows, sorted(tracks, key=place), strict=True):
        row[list(track)] = list(track.values())
    return rows
