"""Several clips of one person as one: the shape is sought in all, motion does not cross from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fitting.types import Codes, InputError, Observations, Pictures

Part = TypeVar("Part")


def join(clips: Sequence[Observations], names: Sequence[str]) -> Observations:
    """One person's clips end to end, in the order given; frames are named `<clip>_<frame>`.

    `names` are the clips', for frames and messages. Raises InputError for what is no clip, or cannot stand in one row:
    other keypoints, another number of frames per second.
    """
    if len(clips) == 1:
        return clips[0]
    first = clips[0]
    for clip, name in zip(clips, names, strict=True):
        check(clip, name, first, names[0])
    frames = [f"{prefix}_{frame}" for clip, prefix in zip(clips, unique(names), strict=True) for frame in clip.names]
    starts = np.cumsum([len(clip) for clip in clips])[:-1]
    pictures = all_known([clip.pictures for clip in clips])
    return Observations(
        person=first.person,
        layout=first.layout,
        keypoints=np.concatenate([clip.keypoints for clip in clips]),
        confidence=np.concatenate([clip.confidence for clip in clips]),
        names=tuple(frames),
        image_sizes=np.concatenate([clip.image_sizes for clip in clips]),
        is_clip=True,
        size_known=all(clip.size_known for clip in clips),
        fps=first.fps,
        timestamps=end_to_end([clip.timestamps for clip in clips]),
        focal_hints=end_to_end([clip.focal_hints for clip in clips]),
        pictures=None if pictures is None else JoinedPictures(tuple(pictures), tuple(frames)),
        blendshapes=end_to_end([clip.blendshapes for clip in clips]),
        head_matrix=end_to_end([clip.head_matrix for clip in clips]),
        start=join_codes([clip.start for clip in clips]),
        truth=join_codes([clip.truth for clip in clips]),
        clip_starts=tuple(int(k) for k in starts),
    )


def check(clip: Observations, name: str, first: Observations, first_name: str) -> None:
    """Raises InputError where a clip does not go with the first."""
    if not clip.is_clip:
        raise InputError(f"{name}: not a clip; clips that share a shape are videos or sequences (read.sequence: clip)")
    if clip.layout != first.layout:
        raise InputError(
            f"{name} has {clip.layout.name} keypoints and {first_name} has {first.layout.name}: give clips of one kind"
        )
    if clip.fps != first.fps:
        raise InputError(
            f"{name} has {clip.fps} frames per second and {first_name} has {first.fps}: what a recipe believes of "
            "motion holds per frame; bring the clips to one rate"
        )


def unique(names: Sequence[str]) -> list[str]:
    """Names that occur twice get their place in the row in front."""
    return [name if names.count(name) == 1 else f"{k}_{name}" for k, name in enumerate(names)]


def all_known(parts: Sequence[Part | None]) -> list[Part] | None:
    known = [part for part in parts if part is not None]
    return known if len(known) == len(parts) else None


def end_to_end(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """None where one of them is not known."""
    known = all_known(parts)
    return None if known is None else np.concatenate(known)


def join_codes(parts: Sequence[Codes | None]) -> Codes | None:
    """What is known of all clips; None where it is of different models."""
    known = all_known(parts)
    if known is None or len({codes.model for codes in known}) > 1:
        return None
    names = [name for name in known[0].values if all(name in codes.values for codes in known)]
    values = {name: np.concatenate([codes.values[name] for codes in known]) for name in names}
    valid = np.concatenate([codes.valid for codes in known])
    return Codes(values, known[0].model, valid, end_to_end([codes.K for codes in known]))


@dataclass(frozen=True)
class JoinedPictures:
    """The pictures of all clips, one after the other."""

    parts: tuple[Pictures, ...]
    names: tuple[str, ...]
    is_clip: bool = True

    @property
    def source(self) -> str:
        return ", ".join(part.source for part in self.parts)

    @property
    def image_sizes(self) -> np.ndarray:
        return np.concatenate([part.image_sizes for part in self.parts])

    @property
    def fps(self) -> float | None:
        return self.parts[0].fps

    @property
    def timestamps(self) -> np.ndarray | None:
        return end_to_end([part.timestamps for part in self.parts])

    @property
    def focal_hints(self) -> np.ndarray:
        return np.concatenate([part.focal_hints for part in self.parts])

    def __len__(self) -> int:
        return len(self.names)

    def read(self) -> Iterator[np.ndarray]:
        for part in self.parts:
            yield from part.read()
