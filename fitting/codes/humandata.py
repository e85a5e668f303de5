"""HumanData (.npz of MMHuman3D and SMPLer-X): image_path, and a dict smpl or smplx {global_orient, body_pose, betas,
transl, left_hand_pose, right_hand_pose, jaw_pose, leye_pose, reye_pose, expression}; meta and misc with focal_length,
principal_point, flat_hand_mean.

Axis-angle, OpenCV's camera axes. Hands count from the mean hand unless misc.flat_hand_mean says otherwise. The dicts
are pickles inside the npz: they are read by the allow-list.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fitting.codes.frames import apart
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, rows
from fitting.codes.turns import camera, turns
from fitting.track import Track
from fitting.types import Codes, InputError
from fitting.worlds import opencv

FORMAT = "HumanData"
MODELS = ("smplx", "smplh", "smpl")
JOINTS: Mapping[str, tuple[int, ...]] = {
    "global_orient": (1,), "body_pose": (21, 23), "left_hand_pose": (15,), "right_hand_pose": (15,), "jaw_pose": (1,),
    "leye_pose": (1,), "reye_pose": (1,),
}  # fmt: skip


def accepts(source: Source) -> bool:
    return source.suffix == ".npz" and bool(set(MODELS) & source.keys) and "image_path" in source.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One row per picture and one track per person of a picture, in the file's order. Raises InputError."""
    content, path = source.content, source.path
    model = next(name for name in MODELS if name in content)
    body = content[model]
    if not isinstance(body, Mapping) or "body_pose" not in body:
        raise InputError(f"{path}: {model}: a dict with body_pose is expected, found {type(body).__name__}")
    count = len(np.asarray(body["body_pose"]))
    values = {name: turns(body[name], n, count, name, path) for name, n in JOINTS.items() if name in body}
    for name in ("betas", "expression"):
        if name in body:
            values[name] = rows(body[name], tuple(range(1, 401)), count, name, path)
    known = "transl" in body
    if known:
        values["transl"] = rows(body["transl"], 3, count, "transl", path)
    names = [PurePosixPath(str(name)).stem for name in np.ravel(content["image_path"])]
    K, size = cameras(content, count, path)
    track = Track(
        Codes(values, model, np.ones(count, dtype=bool), K),
        tuple(names),
        FORMAT,
        match="name",
        image_sizes=size,
        world_from_codes=opencv(np.tile(np.eye(3), (count, 1, 1)), np.full((count, 3), 0.0 if known else np.nan)),
        hands_from_mean="left_hand_pose" in values and not flat_hands(content),
    )
    return apart(track, [str(name) for name in np.ravel(content["image_path"])])


def section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def flat_hands(content: Mapping[str, Any]) -> bool:
    return bool(section(content, "misc").get("flat_hand_mean", False))


def cameras(content: Mapping[str, Any], count: int, path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """K and picture sizes, from whatever of meta and misc says it."""
    meta, misc = section(content, "meta"), section(content, "misc")

    def find(name: str) -> np.ndarray | None:
        value = next((part[name] for part in (meta, misc) if name in part), None)
        return None if value is None else np.asarray(value, dtype=np.float64)

    height, width = find("height"), find("width")
    sizes = None
    if height is not None and width is not None:
        sizes = np.stack([np.broadcast_to(n.ravel(), (count,)) for n in (width, height)], axis=1).astype(np.int64)
    focal, principal = find("focal_length"), find("principal_point")
    if focal is None or (principal is None and sizes is None):
        return None, sizes
    focals = np.broadcast_to(
        np.atleast_2d(focal) if focal.size <= 2 else focal.reshape(count, -1),
        (count, focal.size if focal.size <= 2 else focal.size // count),
    )
    middles = (sizes - 1) / 2 if principal is None and sizes is not None else np.broadcast_to(principal, (count, 2))
    return np.stack([camera(f, m) for f, m in zip(focals, middles, strict=True)]), sizes
