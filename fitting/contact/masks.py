"""Which parts of a body may touch: what hangs together does, and what lies side by side at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.types import ConfigError, ModelError, Surface
from fitting.unpickle import load_pickle

JOINED = 2  # bones: a thigh folds against the belly, two bones away


@dataclass(frozen=True, eq=False)
class Mask:
    """Pairs of parts that are looked at, and how far apart on the resting skin two places must be to be two places."""

    surface: Surface
    parts: Bool[Tensor, "parts parts"]
    near: float  # metres

    def on_edge(
        self, part: Int[Tensor, " pairs"], vertices: Int[Tensor, "pairs corners"]
    ) -> Bool[Tensor, "pairs corners"]:
        """Vertices on the edge of all that a part is compared with: which side of it one is on has no answer there."""
        return (self.surface.touched[vertices] & ~self.parts[part][:, None]).any(dim=-1)

    def far(self, a: Float[Tensor, "pairs 3"], b: Float[Tensor, "pairs 3"]) -> Bool[Tensor, " pairs"]:
        """Of places on the resting skin."""
        return (a - b).square().sum(dim=-1) > self.near**2


@lru_cache(maxsize=4)
def make_mask(surface: Surface, ignore: tuple[str, ...], near: float) -> Mask:
    """All pairs but parts within two bones of each other, or named in `ignore` as 'a,b': names of joints, or their
    numbers as in SMPLify-X's `ign_part_pairs`. Thighs are two bones apart and looked at all the same.

    Raises ConfigError for a pair that is none.
    """
    parts = surface.apart > JOINED
    numbers = {name: part for part, name in enumerate(surface.part_names)}
    for name, part in numbers.items():
        other = numbers.get(name.replace("left_", "right_"), part)
        if other != part and surface.parents[part] == surface.parents[other] == 0:
            parts[part, other] = parts[other, part] = True
    for pair in ignore:
        found = numbered(pair, surface.part_names)
        if found is not None:
            parts[found[0], found[1]] = parts[found[1], found[0]] = False
    return Mask(surface, parts, near)


def numbered(pair: str, names: Sequence[str]) -> tuple[int, int] | None:
    """Both parts of 'a,b'. None: this body lacks a joint that other bodies have, by name."""
    words = [word.strip() for word in pair.split(",")]
    if len(words) != 2 or not all(words):
        raise ConfigError(
            f"terms.interpenetration.ignore: {pair!r} is no pair: write two joints, as 'left_hip,right_hip'"
        )
    found = []
    for word in words:
        if word.isdecimal():
            if int(word) >= len(names):
                raise ConfigError(f"terms.interpenetration.ignore: no joint {word}; there are {len(names)}, from 0")
            found.append(int(word))
        elif word in names:
            found.append(names.index(word))
    return (found[0], found[1]) if len(found) == 2 else None


@cache
def read_parts(path: Path, faces: int) -> Int[Tensor, " faces"]:
    """The part of every face from SMPLify-X's `smplx_parts_segm.pkl`: a dict with `segm`, joints by number.

    Raises ModelError where the file is damaged, hostile (fitting/unpickle) or of another mesh.
    """
    content = load_pickle(path)
    found = np.asarray(content.get("segm", ())) if isinstance(content, dict) else np.zeros(0)
    if found.shape != (faces,) or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
        raise ModelError(f"{path}: no `segm` with a part for each of the {faces} faces of this body")
    return torch.as_tensor(found.astype(np.int64))


@lru_cache(maxsize=4)
def with_parts(surface: Surface, face_parts: Int[Tensor, " faces"]) -> Surface:
    """The same surface with other parts of its faces; a vertex belongs to the part of most of its faces."""
    if int(face_parts.max()) >= len(surface.part_names):
        raise ModelError(f"part {int(face_parts.max())} in a segmentation of a body with {len(surface.part_names)}")
    count, corners = len(surface.part_names), surface.faces.flatten()
    votes = torch.zeros(len(surface.rest), count, device=corners.device)
    each = face_parts.repeat_interleave(3)
    votes.index_put_((corners, each), votes.new_ones(()), accumulate=True)
    return replace(surface, face_parts=face_parts, vertex_parts=votes.argmax(dim=1), touched=votes > 0)
