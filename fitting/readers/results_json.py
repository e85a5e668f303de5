"""COCO's results format, as MMPose 0.x and AlphaPose write it: a list of people, each with the picture it is in.

`{"image_id": 785 or "12.jpg", "keypoints": [x, y, c, ...], "score", "idx"}`; `idx` is AlphaPose's number of a tracked
person. MMPose 0.x writes COCO-WholeBody in its five lists. AlphaPose leaves pictures without people out.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitting.readers.coco import has_extras, join_parts
from fitting.readers.files import counts_on, natural_key
from fitting.readers.json_values import triples
from fitting.readers.options import ReadOptions
from fitting.readers.people import People, layout_of, one_count
from fitting.readers.rows import row_names


def matches(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(entry, dict) and {"image_id", "keypoints"} <= set(entry) for entry in content)
    )


def people(path: Path, content: Any, options: ReadOptions) -> People:
    """The pictures that the file names in natural order, with empty ones for the numbers that are missing.

    Raises InputError for counts of points that no layout has, or for several.
    """
    stems = sorted({_stem(entry) for entry in content}, key=lambda stem: natural_key(Path(stem)))
    names = row_names(stems, options)
    row_of = {name: k for k, name in enumerate(names)}
    frames: list[list[np.ndarray]] = [[] for _ in names]
    numbers: list[list[int]] = [[] for _ in names]
    for entry in content:
        frames[row_of[_stem(entry)]].append(_points(path, entry))
        numbers[row_of[_stem(entry)]].append(_number(entry.get("idx")))
    layout = layout_of(path, one_count(path, frames))
    return People(
        layout=layout,
        frames=[np.array(frame).reshape(-1, len(layout), 3) for frame in frames],
        names=names,
        is_clip=counts_on(names),
        numbers=_tracked(numbers),
    )


def _points(path: Path, entry: dict[str, Any]) -> Float[np.ndarray, "points 3"]:
    return join_parts(path, entry) if has_extras(entry) else triples(path, entry["keypoints"], "keypoints")


def _stem(entry: dict[str, Any]) -> str:
    return PurePosixPath(str(entry["image_id"])).stem


def _number(value: Any) -> int:
    """AlphaPose's idx: 3, 3.0, [3] or [[3.0]]; -1 where there is none."""
    while isinstance(value, list):
        value = value[0] if value else None
    return int(value) if isinstance(value, (int, float)) and value == value else -1


def _tracked(numbers: list[list[int]]) -> list[Int[np.ndarray, " _"]] | None:
    """None where a number is missing, or where all are one: AlphaPose without tracking calls everybody 0."""
    if any(number < 0 for row in numbers for number in row) or len({n for row in numbers for n in row}) < 2:
        return None
    return [np.array(row, dtype=np.int64) for row in numbers]
