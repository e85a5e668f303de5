"""A video file, decoded as a stream: memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from fitting.readers.files import VIDEO_SUFFIXES, require_content, with_size
from fitting.readers.options import ReadOptions
from fitting.types import DependencyError, InputError

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class VideoFile:
    """Pictures from a video: every frame that decodes, at its own time, turned upright."""

    source: str
    path: Path
    names: tuple[str, ...]
    image_sizes: Int[np.ndarray, "frames 2"]
    fps: float | None
    timestamps: Float[np.ndarray, " frames"]
    focal_hints: Float[np.ndarray, " frames"]
    is_clip: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def read(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return (upright(frame) for frame in _decode(self.path))


def accepts(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def read(path: Path, options: ReadOptions) -> VideoFile:
    """Counts the frames by decoding them once: what a container's header says is often wrong.

    Raises InputError where nothing decodes, DependencyError without PyAV.
    """
    times: list[float | None] = []
    sizes = []
    for frame in _decode(require_content(path)):
        sizes.append(_upright_size(frame))
        times.append(frame.time)
    if not times:
        raise InputError(f"{with_size(path)}: no frame of this video decodes; play it in a viewer, or convert it again")
    rate = options.fps or _rate(path)
    return VideoFile(
        source=str(path),
        path=path,
        names=tuple(f"{k:06d}" for k in range(len(times))),
        image_sizes=np.array(sizes, dtype=np.int64),
        fps=rate,
        timestamps=_filled(times, rate),
        focal_hints=np.full(len(times), np.nan),
        is_clip=options.sequence != "photos",
    )


def _decode(path: Path) -> Iterator[VideoFrame]:
    """Frames in order of display. A damaged packet is passed over, so that a cut-off file gives what it has."""
    av = _pyav()
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise InputError(
            f"{with_size(path)}: not a readable video: {error.strerror}; play it, or copy it again"
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{with_size(path)}: found no video track, only {len(container.streams)} other(s)")
        container.streams.video[0].thread_type = "AUTO"
        for packet in _packets(container, av):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue


def _packets(container: Any, av: Any) -> Iterator[Any]:
    try:
        yield from container.demux(video=0)
    except av.FFmpegError:  # the file ends within a packet
        return


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise DependencyError(
            "reading a video needs PyAV, which is not installed: pip install av; "
            "or unpack the video to a folder of images and name that"
        ) from error
    return av


def _rate(path: Path) -> float | None:
    with _pyav().open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return float(rate) if rate else None


def _filled(times: list[float | None], rate: float | None) -> Float[np.ndarray, " frames"]:
    """Seconds; a frame without a time comes one frame after the one before it."""
    step = 1 / (rate or 25.0)
    filled: list[float] = []
    for time in times:
        after = filled[-1] + step if filled else 0.0
        filled.append(after if time is None else time)
    return np.array(filled)


def _quarter_turns(frame: VideoFrame) -> int:
    """How often to turn the frame by 90 degrees counter-clockwise: FFmpeg's av_display_rotation_get."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _upright_size(frame: VideoFrame) -> tuple[int, int]:
    return (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)


def upright(frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame)))
