"""COCO's keypoint annotations and COCO-WholeBody's: `{"images": [...], "annotations": [...]}`.

`keypoints` is x, y, v of 17 points: v 0 not labelled, 1 labelled but hidden, 2 visible (cocodataset.org). WholeBody
has `foot_kpts` (6), `face_kpts` (68), `lefthand_kpts` and `righthand_kpts` (21) beside it, and `*_valid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.layouts import COCO17, WHOLEBODY133
from fitting.readers.files import counts_on, with_size
from fitting.readers.json_values import outline, triples
from fitting.readers.people import People
from fitting.types import InputError

_HIDDEN = 0.5  # confidence of a point that the annotator could only guess
_EXTRAS = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
_VALID = {"foot_kpts": "foot_valid", "face_kpts": "face_valid", "lefthand_kpts": "lefthand_valid",
          "righthand_kpts": "righthand_valid"}  # fmt: skip


def matches(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("annotations"), list)


def people(path: Path, content: Any) -> People:
    """Every image of the file is a frame, in the file's order; crowds and people without keypoints are left out.

    Raises InputError where there are no images, or an annotation is not COCO's.
    """
    images = content.get("images")
    try:
        row_of = {image["id"]: k for k, image in enumerate(images)}
        names = [PurePosixPath(str(image.get("file_name", image["id"]))).stem for image in images]
        sizes = [(image.get("width"), image.get("height")) for image in images]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{with_size(path)}: expected `images` with id and file_name, found {outline(images)}"
        ) from error
    annotations = [a for a in content["annotations"] if isinstance(a, dict) and _has_keypoints(a)]
    whole = any(part in a for a in annotations for part in _EXTRAS)
    layout = WHOLEBODY133 if whole else COCO17
    frames: list[list[np.ndarray]] = [[] for _ in images]
    for annotation in annotations:
        if annotation.get("image_id") not in row_of:
            raise InputError(
                f"{with_size(path)}: an annotation of image {annotation.get('image_id')}, which is not there"
            )
        frames[row_of[annotation["image_id"]]].append(_points(path, annotation, whole))
    unique = len(set(names)) == len(names)
    return People(
        layout=layout,
        frames=[np.array(found).reshape(-1, len(layout), 3) for found in frames],
        names=tuple(names) if unique else tuple(str(image["id"]) for image in images),
        is_clip=counts_on(names) and len(set(sizes)) == 1,
        image_sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2) if _are_sizes(sizes) else None,
    )


def join_parts(path: Path, entry: Mapping[str, Any]) -> Float[np.ndarray, "133 3"]:
    """The five lists of one person as they stand, zeros for a list that is not there."""
    parts = [_of_count(path, entry["keypoints"], 17, "keypoints")]
    for name, count in _EXTRAS.items():
        listed = entry.get(name)
        parts.append(_of_count(path, listed, count, name) if listed else np.zeros((count, 3)))
    # The lists come feet, face, hands, as the 133 do.
    return np.concatenate(parts)


def has_extras(entry: Mapping[str, Any]) -> bool:
    return any(part in entry for part in _EXTRAS)


def _points(path: Path, annotation: Mapping[str, Any], whole: bool) -> Float[np.ndarray, "points 3"]:
    """Confidence from v: 1 visible, a half hidden. Of face and hands v says no more than that they are labelled."""
    labelled = {k: v for k, v in annotation.items() if annotation.get(_VALID.get(k, ""), True)}
    points = join_parts(path, labelled) if whole else _of_count(path, annotation["keypoints"], 17, "keypoints")
    seen = np.where(points[:, 2] >= 2, 1.0, _HIDDEN)
    seen[23:] = 1.0
    points[:, 2] = np.where(points[:, 2] > 0, seen, 0.0)
    return points


def _has_keypoints(annotation: Mapping[str, Any]) -> bool:
    return (
        bool(annotation.get("keypoints")) and not annotation.get("iscrowd") and annotation.get("num_keypoints", 1) != 0
    )


def _of_count(path: Path, values: Any, count: int, what: str) -> Float[np.ndarray, "points 3"]:
    points = triples(path, values, what)
    if len(points) != count:
        raise InputError(f"{with_size(path)}: expected {count} points in `{what}`, found {len(points)}")
    return points


def _are_sizes(sizes: list[tuple[Any, Any]]) -> bool:
    return bool(sizes) and all(isinstance(n, int) and n > 0 for size in sizes for n in size)
