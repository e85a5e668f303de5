"""One .json file: what it holds tells which tool wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fitting.readers import coco, mediapipe_body, mediapipe_json, mmpose, openpose, results_json
from fitting.readers.json_values import load
from fitting.readers.options import ReadOptions
from fitting.readers.people import People, observe_people
from fitting.types import Observations


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def read(path: Path, options: ReadOptions) -> list[Observations]:
    """One record per person. Raises InputError where no format fits, NoPersonError where nobody is in it."""
    content = load(path)
    if mediapipe_body.matches(content):
        return mediapipe_body.read_content(path, content, options)
    people = _people(path, content, options)
    return observe_people(path, people, options) if people else mediapipe_json.read_content(path, content, options)


def _people(path: Path, content: Any, options: ReadOptions) -> People | None:
    """None for none of these formats."""
    if openpose.matches(content):
        name = path.stem.removesuffix("_keypoints")
        return openpose.people_of(path, [openpose.parse(path, content)], (name,), is_clip=False)
    if coco.matches(content):
        return coco.people(path, content)
    if results_json.matches(content):
        return results_json.people(path, content, options)
    return mmpose.people(path, content) if mmpose.matches(content) else None
