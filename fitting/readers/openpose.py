"""OpenPose's json: the people of one frame.

`{"people": [{"pose_keypoints_2d": [x, y, c, ...], "face_keypoints_2d", "hand_left_keypoints_2d",
"hand_right_keypoints_2d", "person_id": [-1]}]}`, pixels; what was not found is 0, 0, 0 (doc/02_output.md). Versions
before 1.2 leave `_2d` out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.layouts import COCO18, COCO19, OPENPOSE137, OPENPOSE137B
from fitting.layouts.convert import to_layout
from fitting.readers.files import with_size
from fitting.readers.json_values import outline, triples
from fitting.readers.openpose_body import body_layout_of
from fitting.readers.people import People
from fitting.types import InputError, Layout

_PARTS = {"hand_left": 21, "hand_right": 21, "face": 70}
_SURER_25B = 1.4  # its confidences of well seen points lie at 0.6-0.7, those of BODY_25 at 0.8-0.9


@dataclass(frozen=True)
class Person:
    """One person of one frame as the file has it."""

    body: Float[np.ndarray, "points 3"]
    rest: Float[np.ndarray, "112 3"]  # hands and face, in the order of `_PARTS`
    number: int  # -1: OpenPose did not track


def matches(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def parse(path: Path, content: Any) -> list[Person]:
    """The people of a file, none included. Raises InputError for other content and for wrong counts of points."""
    if not matches(content):
        raise InputError(f"{with_size(path)}: expected OpenPose's `people`, found {outline(content)}")
    return [_person(path, entry) for entry in content["people"]]


def people_of(path: Path, frames: Sequence[Sequence[Person]], names: Sequence[str], is_clip: bool) -> People:
    """All frames in one layout: the body's alone where nobody has hands or a face, else body, hands and face.

    18 points are 19 without the mid-hip, which is made up; with hands they find their places among the 25.
    """
    everybody = [person for frame in frames for person in frame]
    body = body_layout_of(path, [person.body for person in everybody])
    whole = any(person.rest[:, 2].any() for person in everybody)
    layout = _whole(body) if whole else COCO19 if body is COCO18 else body
    gain = _SURER_25B if "upper_neck" in body.point_names else 1.0
    found = [[_points(person, body, layout, gain) for person in frame] for frame in frames]
    tracked = bool(everybody) and all(person.number >= 0 for person in everybody)
    return People(
        layout=layout,
        frames=[np.array(people).reshape(-1, len(layout), 3) for people in found],
        names=tuple(names),
        is_clip=is_clip,
        numbers=[np.array([p.number for p in frame], dtype=np.int64) for frame in frames] if tracked else None,
    )


def _whole(body: Layout) -> Layout:
    return OPENPOSE137B if "upper_neck" in body.point_names else OPENPOSE137


def _points(person: Person, body: Layout, layout: Layout, gain: float) -> Float[np.ndarray, "points 3"]:
    points = person.body * [1.0, 1.0, gain] if len(person.body) else np.zeros((len(body), 3))
    if layout is body:
        return points
    joined = to_layout(points, body, layout)
    if layout is not COCO19:  # which has no hands and no face
        joined[-len(person.rest) :] = person.rest
    return joined


def _person(path: Path, entry: Any) -> Person:
    if not isinstance(entry, dict):
        raise InputError(f"{with_size(path)}: expected a person with `pose_keypoints_2d`, found {outline(entry)}")
    rest = []
    for part, count in _PARTS.items():
        points = triples(path, _list(entry, part), f"{part}_keypoints_2d")
        if len(points) not in (0, count):
            raise InputError(f"{with_size(path)}: expected {count} points of {part}, found {len(points)}")
        rest.append(points if len(points) else np.zeros((count, 3)))
    return Person(
        body=triples(path, _list(entry, "pose"), "pose_keypoints_2d"),
        rest=np.concatenate(rest),
        number=_number(entry.get("person_id")),
    )


def _list(entry: dict[str, Any], part: str) -> Any:
    return entry.get(f"{part}_keypoints_2d") or entry.get(f"{part}_keypoints") or []


def _number(value: Any) -> int:
    """[3] or 3; -1 where there is none."""
    number = value[0] if isinstance(value, list) and value else value
    return int(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else -1
