"""Overlays of single frames, from the run's own files: overlay.png where there is one, else overlay.mp4."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

JPEG_QUALITY = 85


def overlays(folder: Path, names: tuple[str, ...], chosen: Iterable[int]) -> dict[int, np.ndarray]:
    """Strips (height, width, 3) of the chosen frames; those without any file are left out."""
    from PIL import Image

    found, in_video = {}, set()
    for k in chosen:
        path = folder / "images" / names[k] / "overlay.png"
        if path.is_file():
            found[k] = np.asarray(Image.open(path).convert("RGB"))
        else:
            in_video.add(k)
    video = folder / "overlay.mp4"
    if in_video and video.is_file():
        found |= from_video(video, in_video)
    return found


def from_video(path: Path, chosen: set[int]) -> dict[int, np.ndarray]:
    """Frames of a video by number; those beyond its end are left out."""
    import av

    found = {}
    with av.open(str(path)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if k in chosen:
                found[k] = frame.to_ndarray(format="rgb24")
            if k >= max(chosen):
                break
    return found


def data_uri(picture: np.ndarray) -> str:
    """A picture inside the page itself."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "jpeg", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
