"""PHALP's and 4D-Humans' tracks, results/demo_<video>.pkl, by joblib: a dict over frames of lists over detections.

smpl {betas (10,), body_pose (23, 3, 3), global_orient (1, 3, 3)}, camera (3,), tid, tracked_time, size [height,
width]. `camera` is the body's place for a picture padded to a square and a focal length of 5000 at 256 pixels: in the
full image 5000 * longer side / 256, principal point in the middle. tracked_time above 0 is a guess without a
detection: no codes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, natural_key, vector
from fitting.codes.turns import camera, middle, turns
from fitting.track import Track
from fitting.types import FitError, InputError
from fitting.unpickle import CODES, load_joblib
from fitting.worlds import opencv

FORMAT = "PHALP tracks"
MODEL = "smpl"
FOCAL, PICTURE = 5000.0, 256
LEAST_FRAMES = 2  # a person that is there for less is no track


def accepts(source: Source) -> bool:
    if source.suffix != ".pkl" or not source.path.is_file():
        return False
    head = source.path.open("rb").read(2)
    if head[:1] not in (b"\x78", b"\x80") and head != b"\x1f\x8b":
        return False
    try:
        content = load_joblib(source.path, CODES)
    except FitError:
        if head[:1] == b"\x80":  # no joblib: other readers of pickles may know it
            return False
        raise
    first = next(iter(content.values()), None) if isinstance(content, Mapping) else None
    return isinstance(first, Mapping) and {"smpl", "camera"} <= set(first)


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person, the one with most frames first. Raises InputError."""
    content = load_joblib(source.path, CODES)
    names = sorted(map(str, content), key=lambda name: natural_key(Path(name)))
    people: dict[int, dict[int, Frame]] = defaultdict(dict)
    for k, name in enumerate(names):
        for person, frame in detections(content[name], name, source.path):
            people[person][k] = frame
    seen = Counter({person: len(frames) for person, frames in people.items()})
    order = [person for person, count in seen.most_common() if count >= min(LEAST_FRAMES, len(names))]
    if not order:
        raise InputError(f"{source.path}: nobody is tracked in any of its {len(names)} frames")
    stems = [Path(name).stem for name in names]
    return [
        replace(stack([people[p].get(k) for k in range(len(names))], stems, MODEL, FORMAT), person=f"{n:03d}")
        for n, p in enumerate(order)
    ]


def detections(entry: Mapping[str, Any], name: str, path: Path) -> list[tuple[int, Frame]]:
    """(person, codes) of one frame, those with a fresh detection."""
    bodies = list(entry.get("smpl", []))
    ids = next((list(entry[key]) for key in ("tid", "tracked_ids") if len(entry.get(key, [])) == len(bodies)), None)
    if ids is None:
        raise InputError(f"{path}: {name}: {len(bodies)} bodies, but no list of so many ids")
    ages = list(entry.get("tracked_time", []))
    found = []
    for k, body in enumerate(bodies):
        fresh = len(ages) != len(bodies) or int(np.ravel(ages[k])[0]) == 0
        if fresh and isinstance(body, Mapping):
            size = entry["size"][k] if len(entry.get("size", [])) == len(bodies) else entry["size"][0]
            found.append((int(np.ravel(ids[k])[0]), frame_of(body, entry["camera"][k], size, f"{name}: ", path)))
    return found


def frame_of(body: Mapping[str, Any], place: Any, size: Any, where: str, path: Path) -> Frame:
    height, width = (int(n) for n in np.ravel(size)[:2])
    values = {
        "betas": vector(body["betas"], 10, where + "betas", path),
        "global_orient": turns(np.asarray(body["global_orient"])[None], 1, 1, where + "global_orient", path)[0],
        "body_pose": turns(np.asarray(body["body_pose"])[None], 23, 1, where + "body_pose", path)[0],
    }
    shift = vector(place, 3, where + "camera", path)
    return Frame(
        values,
        K=camera(FOCAL * max(width, height) / PICTURE, middle((width, height))),
        world_from_codes=opencv(np.eye(3)[None], shift[None])[0],
        image_size=(width, height),
    )
