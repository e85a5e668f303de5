"""MMPose 1.x's predictions: `{"keypoints": [[x, y], ...], "keypoint_scores": [...]}` for every instance.

`{"meta_info", "instance_info": [{"frame_id", "instances": [...]}]}` from its demos; a list of such frames, or for one
picture a list of instances, from its inferencer. Frames count from 0 or from 1 and are all there, empty ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.readers.files import with_size
from fitting.readers.json_values import outline
from fitting.readers.people import People, layout_of, one_count
from fitting.types import InputError


def matches(content: Any) -> bool:
    if isinstance(content, dict):
        return isinstance(content.get("instance_info"), list)
    return is_one_frame(content) and bool(content) or _are_frames(content)


def is_one_frame(content: Any) -> bool:
    """A bare list of instances, of one picture."""
    return isinstance(content, list) and all(isinstance(c, dict) and "keypoint_scores" in c for c in content)


def people(path: Path, content: Any) -> People:
    """Every frame of the file. Raises InputError for counts of points that no layout has, or for several."""
    frames = content["instance_info"] if isinstance(content, dict) else content
    if is_one_frame(frames):
        return people_of(path, [frames], (path.stem,), is_clip=False)
    if not _are_frames(frames):
        raise InputError(f"{with_size(path)}: expected frames with `instances`, found {outline(frames)}")
    numbers = [int(frame.get("frame_id", k)) for k, frame in enumerate(frames)]
    first = min(numbers)
    rows: list[list[Any]] = [[] for _ in range(max(numbers) - first + 1)]
    for number, frame in zip(numbers, frames, strict=True):
        rows[number - first] = frame["instances"]
    return people_of(path, rows, tuple(f"{k:06d}" for k in range(len(rows))), is_clip=len(rows) > 1)


def people_of(path: Path, frames: Sequence[Sequence[Any]], names: Sequence[str], is_clip: bool) -> People:
    """The instances of every frame."""
    found = [[_points(path, instance) for instance in frame] for frame in frames]
    layout = layout_of(path, one_count(path, found))
    arrays = [np.array(frame).reshape(-1, len(layout), 3) for frame in found]
    return People(layout, arrays, tuple(names), is_clip)


def _are_frames(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(frame, dict) and isinstance(frame.get("instances"), list) for frame in content)
    )


def _points(path: Path, instance: Any) -> Float[np.ndarray, "points 3"]:
    try:
        points = np.array(instance["keypoints"], dtype=np.float64)
        scores = np.array(instance["keypoint_scores"], dtype=np.float64)
        found = np.concatenate([points[:, :2], scores[:, None]], axis=1)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{with_size(path)}: expected an instance of `keypoints` [[x, y], ...] and as many `keypoint_scores`, "
            f"found {outline(instance)}"
        ) from error
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0.0)
