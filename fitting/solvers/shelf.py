"""Where eliminated windows wait for the way back: in memory as far as allowed, the others in a temporary file.

To read one back costs less than to make it again. Where there is no room for the file, or no place, it is not kept.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from fitting.solvers.chain import Eliminated, Links

SPARE = 4  # times its size that must be free on the disk for a window to be written there


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass
class Shelf:
    """Windows by their first frame."""

    free: int  # bytes of memory left
    held: dict[int, Eliminated] = field(default_factory=dict)
    written: dict[int, tuple[Place | None, ...]] = field(default_factory=dict)
    kind: type[Eliminated] = Eliminated
    file: BinaryIO | None = None

    def put(self, first: int, done: Eliminated, is_last: bool) -> None:
        """The last window is asked for next: it is held in any case."""
        self.kind = type(done)
        if done.bytes <= self.free or is_last:
            self.held[first] = done
            self.free -= done.bytes
        else:
            self._write(first, done)

    def get(self, first: int, device: torch.device) -> Eliminated | None:
        if first not in self.written:
            return self.held.get(first)
        own, near, far, near_blocks, far_blocks, inverse, tie, border = (
            None if place is None else self._read(place).to(device) for place in self.written[first]
        )
        assert own is not None and near is not None and far is not None
        assert inverse is not None and tie is not None and border is not None
        return self.kind(Links(own, near, far, near_blocks, far_blocks), inverse, tie, border)

    def select(self, rows: Tensor) -> Shelf:
        """Of some of the problems what is held in memory."""
        held = {first: done.select(rows) for first, done in self.held.items()}
        return Shelf(self.free, held, kind=self.kind)

    def _write(self, first: int, done: Eliminated) -> None:
        places: list[Place | None] = []
        try:
            if shutil.disk_usage(tempfile.gettempdir()).free <= SPARE * done.bytes:
                return
            if self.file is None:
                self.file = tempfile.TemporaryFile(buffering=0)
            for tensor in (*done.links, done.inverse, done.tie, done.border):
                if tensor is None:
                    places.append(None)
                    continue
                array = tensor.contiguous().cpu().numpy()
                places.append(Place(self.file.seek(0, 2), array.shape, array.dtype))
                array.tofile(self.file)
        except OSError:  # a full disk, no folder to write to: this window will be made again
            return
        self.written[first] = tuple(places)

    def _read(self, place: Place) -> Tensor:
        assert self.file is not None
        self.file.seek(place.offset)
        count = int(np.prod(place.shape))
        return torch.from_numpy(np.fromfile(self.file, place.dtype, count).reshape(place.shape))
