"""An mp4 that any player shows (h264, yuv420p), frame by frame: memory does not grow with its length."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fitting.writers.atomic import replacing

# crf 18 looks lossless at a glance; bitexact leaves the encoder's build out of the file. Without mbtree=0 the same
# pictures now and then gave other bytes (x264 of PyAV 18.1; seen in 1 of 10 runs, with one thread too).
_OPTIONS = {"crf": "18", "preset": "veryfast", "flags": "+bitexact", "x264-params": "mbtree=0"}


@contextlib.contextmanager
def video_writer(
    path: Path, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[UInt8[np.ndarray, "height width 3"]], None]]:
    """Yields a function that appends one RGB picture of `size` (width, height; even). Raises OutputError.

    The file has a temporary name until the block ends well.
    """
    import av

    with replacing(path) as part, av.open(str(part), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(1001)  # 29.97... becomes 30000/1001
        stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        count = 0

        def append(picture: UInt8[np.ndarray, "height width 3"]) -> None:
            nonlocal count
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = count, 1 / rate
            count += 1
            container.mux(stream.encode(frame))

        yield append
        container.mux(stream.encode())
