"""One person's parameters over an input, whoever found them: what readers of codes give and writers for trainers take.

Where the source says how its frame stands to Keyfit's world (`camera.py`), that is kept beside the codes until a body
is at hand: both turn about the body's root joint, whose place depends on its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import roma
import torch
from jaxtyping import Float, Int

from fitting.gaps import fill_rotations, fill_rows
from fitting.types import Body, Codes, InputError, Parameters

ROTATIONS = "_pose"
"""Blocks whose rows are rotations end so, or are `global_orient`."""


@dataclass(frozen=True)
class Track:
    """Codes with the names of their frames and what their source says beyond them.

    `match` says how rows find the frames of an input: 'number', row k is frame k and frames at the end may be missing;
    'order', the same and as many rows as frames; 'name', by the frame's name; 'every', one row that holds for all.
    """

    codes: Codes
    names: tuple[str, ...]  # one per row
    format: str  # what was read, for messages: 'EMOCA folder'
    person: str = "000"
    match: Literal["number", "order", "name", "every"] = "order"
    image_sizes: Int[np.ndarray, "frames 2"] | None = None  # width, height
    fps: float | None = None
    source: tuple[str, ...] | None = (
        None  # fitted, interpolated, held, missing; None: `codes.valid` is all that is known
    )
    # Rigid motion after `transl`, into the world; None: none. Its rotation needs the root joint's place to be absorbed.
    world_from_codes: Float[np.ndarray, "frames 4 4"] | None = None
    # Weak perspective in the full image: pixels per metre, and the pixel of the model's origin.
    weak: Float[np.ndarray, "frames 3"] | None = None
    # Square of the full image that the regressor saw: middle x, y and side, pixels.
    crops: Float[np.ndarray, "frames 3"] | None = None
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)  # tex, light, eyelids, ...: one row per frame
    # Fingers in `left_hand_pose` and `right_hand_pose`, or coefficients in left_hand_pca and right_hand_pca, count from
    # the model's mean hand, which the source does not hold; False: from a flat hand, as everywhere in Keyfit.
    hands_from_mean: bool = False
    has_camera: bool = True  # False: the world is that of a capture, no camera stands in its origin
    notes: tuple[str, ...] = ()  # what a user should know

    def __len__(self) -> int:
        return len(self.names)

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        return self.codes.values

    @property
    def valid(self) -> np.ndarray:
        return self.codes.valid

    def with_values(self, changes: Mapping[str, np.ndarray | None]) -> Track:
        """Blocks replaced; None takes one away."""
        values = {n: v for n, v in {**self.codes.values, **changes}.items() if v is not None}
        return replace(self, codes=replace(self.codes, values=values))

    def take(self, rows: np.ndarray) -> Track:
        """The rows with these indices; -1 is a frame without codes."""
        rows = np.asarray(rows, dtype=np.int64)

        def pick(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else np.asarray(array)[np.maximum(rows, 0)]

        codes = Codes(
            {name: np.asarray(value)[np.maximum(rows, 0)] for name, value in self.values.items()},
            self.codes.model,
            np.where(rows >= 0, self.valid[np.maximum(rows, 0)], False),
            pick(self.codes.K),
        )
        return replace(
            self,
            codes=codes,
            names=tuple(self.names[max(k, 0)] for k in rows),
            image_sizes=pick(self.image_sizes),
            source=None,
            world_from_codes=pick(self.world_from_codes),
            weak=pick(self.weak),
            crops=pick(self.crops),
            extras={name: np.asarray(value)[np.maximum(rows, 0)] for name, value in self.extras.items()},
        )


def matched(track: Track, names: Sequence[str]) -> Track:
    """The rows that belong to an input's frames of these names; a frame without codes has an invalid row.

    Raises InputError for codes of another number of frames, or of other frames.
    """
    frames = len(names)
    if track.match == "every":
        return track.take(np.zeros(frames, dtype=int))
    if track.match == "name":
        rows = {name: k for k, name in enumerate(track.names)}
        found = np.array([rows.get(name, -1) for name in names])
        if (found < 0).all():
            raise InputError(
                f"start, {track.format}: not one of its frames ({', '.join(track.names[:3])}, ...) is among those "
                f"of the input ({', '.join(names[:3])}, ...): give the codes that belong to this input"
            )
        return track.take(found)
    if len(track) > frames or len(track) < frames and track.match == "order":
        raise InputError(
            f"start of {track.codes.model!r} ({track.format}) has {len(track)} frames, the input has {frames}: "
            "give the codes that belong to this input"
        )
    return track.take(np.array([k if k < len(track) else -1 for k in range(frames)]))


def gaps(track: Track) -> str | None:
    """One line on the frames without codes; None where there are none."""
    lost = np.flatnonzero(~track.valid)
    if len(lost) == 0:
        return None
    first = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
    return (
        f"{track.format}, person {track.person}: {len(lost)} of {len(track.valid)} frames have no codes ({first}, "
        "counted from 0)"
    )


def is_rotation(block: str) -> bool:
    return block == "global_orient" or block.endswith(ROTATIONS)


def filled(track: Track) -> Track:
    """Rows that are not valid interpolated between their neighbours, or held at the ends; `source` says which. Those
    that the source has filled itself stay as they are.

    Raises InputError when no row is valid.
    """
    valid = track.valid
    if not valid.any():
        raise InputError(f"{track.format}: not one of its {len(track)} frames has codes")
    if valid.all() or track.source is not None and "missing" not in track.source:
        return replace(track, source=track.source or ("fitted",) * len(track))
    seen = torch.as_tensor(valid)
    values = {name: _filled(name, rows, seen) for name, rows in track.values.items()}
    known = np.flatnonzero(valid)
    inside = (np.arange(len(track)) > known[0]) & (np.arange(len(track)) < known[-1])
    source = tuple("fitted" if v else "interpolated" if i else "held" for v, i in zip(valid, inside, strict=True))
    K = track.codes.K
    return replace(
        track,
        codes=replace(track.codes, values=values, K=None if K is None else _nearest(K, valid)),
        source=source,
        weak=None if track.weak is None else _filled("weak", track.weak, seen),
        crops=None if track.crops is None else _filled("crops", track.crops, seen),
        world_from_codes=None if track.world_from_codes is None else _nearest(track.world_from_codes, valid),
        extras={name: _nearest(rows, valid) for name, rows in track.extras.items()},
    )


def _filled(name: str, rows: np.ndarray, seen: torch.Tensor) -> np.ndarray:
    value = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    if not is_rotation(name):
        return fill_rows(value, seen).numpy()
    matrices = roma.rotvec_to_rotmat(value.unflatten(1, (-1, 3)))
    return roma.rotmat_to_rotvec(fill_rotations(matrices, seen)).flatten(1).numpy()


def _nearest(rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(valid)
    after = np.searchsorted(known, np.arange(len(valid))).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    every = np.arange(len(valid))
    closer = np.where(np.abs(known[before] - every) <= np.abs(known[after] - every), before, after)
    return np.asarray(rows)[known[closer]]


def parameters_of(body: Body, track: Track, rows: slice) -> Parameters:
    """Some rows as parameters of a body, one problem per row; what the codes do not have is neutral, or 0."""
    count = rows.stop - rows.start
    neutral = body.neutral(count, 1)
    changes = {}
    for block in body.blocks:
        if block.name in track.values:
            value = track.values[block.name][rows]
            value = value if block.kind == "rotation" else sized(value, block.size)
            changes[block.name] = block.from_rows(value)[:, None].to(neutral["transl"])
    return neutral.replace(changes)


def sized(rows: Float[np.ndarray, "frames _"], columns: int) -> Float[np.ndarray, "frames _"]:
    """Cut off, or filled up with zeros."""
    kept = np.zeros((len(rows), columns), dtype=np.asarray(rows).dtype)
    count = min(columns, np.shape(rows)[1])
    kept[:, :count] = np.asarray(rows)[:, :count]
    return kept
