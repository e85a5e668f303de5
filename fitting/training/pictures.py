"""Single frames of a video or a folder of pictures, opened when they are asked for: nothing is preloaded."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from fitting.readers import image, video
from fitting.readers.files import IMAGE_SUFFIXES, files_in
from fitting.types import InputError


@runtime_checkable
class Frames(Protocol):
    """Pictures by number, (height, width, 3) RGB."""

    def __len__(self) -> int: ...

    def __getitem__(self, k: int) -> np.ndarray: ...


class ImageFrames:
    """The pictures of a folder in natural order, or one picture."""

    def __init__(self, path: Path) -> None:
        self.paths = files_in(path, IMAGE_SUFFIXES) if path.is_dir() else [path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: int) -> UInt8[np.ndarray, "height width 3"]:
        return image.load(self.paths[k])


class VideoFrames:
    """Frames of a video by number: from the key frame before, so that any order works and none is kept.

    The times of all frames are read from the container's packets, which decodes nothing. The file is opened anew in
    every worker process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def times(self) -> list[int]:
        import av

        with av.open(str(self.path)) as container:
            packets = container.demux(container.streams.video[0])
            return sorted(packet.pts for packet in packets if packet.pts is not None)

    @cached_property
    def opened(self) -> Any:
        import av

        return av.open(str(self.path))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # an open file does not travel to another process

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, k: int) -> UInt8[np.ndarray, "height width 3"]:
        stream = self.opened.streams.video[0]
        self.opened.seek(self.times[k], stream=stream, backward=True)
        for frame in self.opened.decode(stream):
            if frame.pts is not None and frame.pts >= self.times[k]:
                return video.upright(frame)
        raise InputError(f"{self.path}: frame {k} does not decode")


def open_frames(path: Path) -> Frames:
    """Raises InputError for a path that holds no pictures."""
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        frames: Frames = ImageFrames(path)
    elif video.accepts(path):
        frames = VideoFrames(path)
    else:
        raise InputError(f"{path}: neither a folder of pictures nor a video")
    if len(frames) == 0:
        raise InputError(f"{path}: no pictures in it")
    return frames
