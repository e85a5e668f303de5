"""EasyMocap's folder of <frame>.json: a list of people [{id, Rh (1, 3), Th (1, 3), poses, expression, shapes}].

V = R(Rh) LBS(poses) + Th: the body turns about the origin, not about its pelvis; the first three of `poses` are 0. 72
numbers are SMPL's 24 joints; 78 SMPL-H's 22 and six components a hand; 87 SMPL-X's with jaw and eyes. Hands count from
the mean hand. The frame is taken for the camera's (OpenCV), as EasyMocap's monocular fits leave it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, numbered
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load_json, trailing_number, vector
from fitting.track import Track
from fitting.types import InputError
from fitting.worlds import opencv, rotvec_to_rotmat

FORMAT = "EasyMocap folder"
MODELS = {72: "smpl", 78: "smplh", 87: "smplx"}
NOTE = "places are taken to be in the camera's axes: with several cameras, they are those of the first"


def accepts(source: Source) -> bool:
    file = source if source.path.is_file() else source.first(".json")
    if file is None or file.suffix != ".json" or not file.path.stat().st_size:
        return False
    content = file.content
    people = content.get("annots") if isinstance(content, Mapping) else content
    first = people[0] if isinstance(people, list) and people else None
    return isinstance(first, Mapping) and {"Rh", "Th", "poses"} <= set(first)


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per id. Raises InputError."""
    files = [f for f in source.files if f.suffix == ".json"] if source.path.is_dir() else [source.path]
    people: dict[int, dict[int, Frame]] = defaultdict(dict)
    model = ""
    for k, file in enumerate(files):
        number = trailing_number(file.stem)
        content = load_json(file)
        for person in content.get("annots", []) if isinstance(content, Mapping) else content:
            size = np.size(person["poses"])
            if size not in MODELS:
                raise InputError(f"{file}: poses: 72, 78 or 87 numbers are expected, found {size}")
            model = MODELS[size]
            people[int(person["id"])][k if number is None else number] = frame_of(person, size, file)
    return [
        replace(numbered(frames, model, FORMAT, 0), person=f"{n:03d}", hands_from_mean=True, notes=(NOTE,))
        for n, (_, frames) in enumerate(sorted(people.items()))
    ]


def frame_of(person: Mapping[str, Any], size: int, file: Path) -> Frame:
    poses = vector(person["poses"], size, "poses", file)
    body = 69 if size == 72 else 63
    values = {
        "betas": vector(person["shapes"], (10, 16), "shapes", file),
        "global_orient": poses[:3],
        "body_pose": poses[3 : 3 + body],
    }
    if size > 72:
        values |= {"left_hand_pca": poses[66:72], "right_hand_pca": poses[72:78]}
    if size == 87:
        values |= {"jaw_pose": poses[78:81], "leye_pose": poses[81:84], "reye_pose": poses[84:]}
        values["expression"] = vector(person["expression"], (10, 50), "expression", file)
    turn, shift = (vector(person[name], 3, name, file) for name in ("Rh", "Th"))
    return Frame(values, world_from_codes=opencv(rotvec_to_rotmat(turn)[None], shift[None])[0])
