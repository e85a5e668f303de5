"""GAGAvatar_track's optim.pkl and smoothed.pkl: {frame: {shapecode (300), expcode (100), posecode (6: zeros, jaw),
eyecode (6), transform_matrix (3, 4), bbox}}.

transform_matrix is pytorch3d's [R | T]: a point, as a row, is seen at x R + T, in axes with x to the left, y up and z
forward, of FLAME's vertices times 5. The picture is a 512-pixel crop and the focal length, 12 in units of its half, is
not in the file. FLAME 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, numbered, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, natural_key, trailing_number, vector
from fitting.track import Track

FORMAT = "GAGAvatar_track parameters"
MODEL = "flame2020"
SIZE, SCALE, FOCAL = 512, 5.0, 12.0
TO_WORLD = np.diag([-1.0, 1.0, -1.0])  # pytorch3d's axes -> x right, y up, z towards the viewer
NOTE = "the camera is that of the tracker's 512-pixel crop, with its usual focal length of 12 half widths"


def accepts(source: Source) -> bool:
    if source.suffix != ".pkl" or not source.path.is_file():
        return False
    first = next(iter(source.content.values()), None) if isinstance(source.content, Mapping) else None
    return isinstance(first, Mapping) and {"expcode", "posecode", "transform_matrix"} <= set(first)


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Frames named <video>_<number> keep their numbers; others their names. Raises InputError."""
    names = sorted(map(str, source.content), key=lambda name: natural_key(Path(name)))
    frames = [frame_of(source.content[name], f"{name}: ", source.path) for name in names]
    numbers = [trailing_number(name) for name in names]
    same = len({name.rstrip("0123456789") for name in names}) == 1
    if same and all(number is not None for number in numbers) and len(names) > 1:
        track = numbered(dict(zip(numbers, frames, strict=True)), MODEL, FORMAT, first=0)  # type: ignore[arg-type]
    else:
        track = replace(stack(frames, names, MODEL, FORMAT), match="name")
    return [replace(track, notes=(NOTE,))]


def frame_of(content: Mapping[str, Any], where: str, path: Path) -> Frame:
    pose, eyes = (vector(content[key], 6, where + key, path) for key in ("posecode", "eyecode"))
    matrix = vector(content["transform_matrix"], 12, where + "transform_matrix", path).reshape(3, 4)
    motion = np.eye(4)
    motion[:3, :3] = TO_WORLD @ matrix[:, :3].T
    motion[:3, 3] = TO_WORLD @ matrix[:, 3] / SCALE
    focal, middle = FOCAL * SIZE / 2, (SIZE - 1) / 2
    return Frame(
        {
            "betas": vector(content["shapecode"], (100, 300), where + "shapecode", path),
            "expression": vector(content["expcode"], (50, 100), where + "expcode", path),
            "global_orient": pose[:3],
            "jaw_pose": pose[3:],
            "leye_pose": eyes[:3],
            "reye_pose": eyes[3:],
        },
        K=np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]]),
        world_from_codes=motion,
        image_size=(SIZE, SIZE),
    )
