"""The input's frames for scrubbing: decoded once in the background, kept small and compressed."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

import numpy as np

LONGEST = 800
"""Pixels of a kept frame's longer side: some 60 kB a frame."""


class FrameStore:
    """Frames by number as soon as they are read, which begins with `start`. `on_read` hears of every one."""

    def __init__(self, frames: Iterator[np.ndarray] | None, on_read: Callable[[int], None] = lambda k: None) -> None:
        self._kept: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(frames or iter(()), on_read), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def get(self, k: int) -> np.ndarray | None:
        """RGB; None while it is not read, or where there is none."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self._kept[k]))) if k < len(self._kept) else None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self, frames: Iterator[np.ndarray], on_read: Callable[[int], None]) -> None:
        from PIL import Image

        for k, frame in enumerate(frames):
            if self._stop.is_set():
                return
            image, buffer = Image.fromarray(frame), io.BytesIO()
            image.thumbnail((LONGEST, LONGEST))
            image.save(buffer, "jpeg", quality=85)
            self._kept.append(buffer.getvalue())
            on_read(k)
