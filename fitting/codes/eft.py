"""EFT's fits, <data set>.json: {"ver", "data": [{parm_pose (24, 3, 3), parm_shape (10), parm_cam [s, tx, ty],
bbox_scale, bbox_center, imageName, smpltype}]}.

The camera is weak perspective in a square of 200 bbox_scale pixels round bbox_center: in its -1..1, x to the right and
y down, a point of the body, in OpenCV's axes, lies at s (X + tx), s (Y + ty). SMPL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, vector
from fitting.codes.turns import turns
from fitting.track import Track
from fitting.types import InputError
from fitting.worlds import opencv

FORMAT = "EFT fits"
MODELS = ("smpl", "smplx")
SIDE = 200.0  # pixels of the square for a bbox_scale of 1
KEYS = {"parm_pose", "parm_shape", "parm_cam"}


def accepts(source: Source) -> bool:
    if source.suffix != ".json" or not source.path.is_file() or not source.path.stat().st_size:
        return False
    data = source.content.get("data") if isinstance(source.content, Mapping) else None
    return isinstance(data, list) and bool(data) and isinstance(data[0], Mapping) and set(data[0]) >= KEYS


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person of a picture, in the file's order: the second of a picture is person 001. Raises
    InputError."""
    people: list[dict[str, Frame]] = []
    seen: dict[str, int] = defaultdict(int)
    models = set()
    for k, entry in enumerate(source.content["data"]):
        name = PurePosixPath(str(entry.get("imageName", f"{k:06d}"))).stem
        if seen[name] == len(people):
            people.append({})
        people[seen[name]][name] = frame_of(entry, f"{name}: ", source.path)
        seen[name] += 1
        models.add(str(entry.get("smpltype", MODELS[0])))
    if len(models) != 1 or not models <= set(MODELS):
        raise InputError(f"{source.path}: bodies of SMPL or of SMPL-X are expected, found {', '.join(sorted(models))}")
    (model,) = models
    return [
        replace(stack([frames.get(name) for name in seen], list(seen), model, FORMAT), match="name", person=f"{n:03d}")
        for n, frames in enumerate(people)
    ]


def frame_of(entry: Mapping[str, Any], where: str, path: Path) -> Frame:
    pose = turns(np.asarray(entry["parm_pose"])[None], 24, 1, where + "parm_pose", path)[0]
    s, tx, ty = vector(entry["parm_cam"], 3, where + "parm_cam", path)
    x, y = vector(entry["bbox_center"], 2, where + "bbox_center", path)
    sigma = s * SIDE / 2 * vector(entry["bbox_scale"], 1, where + "bbox_scale", path)[0]
    return Frame(
        {
            "betas": vector(entry["parm_shape"], 10, where + "parm_shape", path),
            "global_orient": pose[:3],
            "body_pose": pose[3:],
        },
        world_from_codes=opencv(np.eye(3)[None], np.zeros((1, 3)))[0],
        weak=np.array([sigma, x + sigma * tx, y + sigma * ty]),
    )
