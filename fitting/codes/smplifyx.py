"""SMPLify-X's results/<image>/<person>.pkl: one body in one image; a folder of them, or one file.

camera_rotation (1, 3, 3), camera_translation (1, 3), betas, global_orient, body_pose (1, 63) or SMPL's (1, 69), or
VPoser's code (1, 32); left_hand_pose and right_hand_pose, components (1, 6..45) about the mean hand; jaw, eyes,
expression. A point is seen at R X + t in OpenCV's axes with a focal length of 5000 pixels and a principal point of
(width / 2, height / 2), neither of which is in the file. That is the middle of the picture: OpenPose's keypoints and
the renderer count pixels from the edge. What is in a file tells the model: an expression SMPL-X, hands SMPL-H, neither
SMPL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, natural_key, vector
from fitting.codes.turns import camera, middle, turns
from fitting.track import Track
from fitting.types import InputError
from fitting.worlds import opencv

FORMAT = "SMPLify-X results"
FOCAL = 5000.0
KEYS = {"global_orient", "body_pose", "betas", "camera_translation"}
FACE = ("jaw_pose", "leye_pose", "reye_pose")
HANDS = ("left_hand_pose", "right_hand_pose")
VPOSER = 32
CODE = "its body_pose is VPoser's code: it needs the VPoser that made it, --vposer_ckpt, of the same version"


def accepts(source: Source) -> bool:
    """One pkl, the folder `results`, the output folder above it, or one image's folder."""
    files = result_files(source.path)
    return bool(files) and KEYS <= Source(files[0][2]).keys


def result_files(path: Path) -> list[tuple[str, str, Path]]:
    """(image, person, file), images in natural order."""
    if path.is_file():
        return [(path.parent.name, "000", path)] if path.suffix == ".pkl" else []
    top = path / "results" if (path / "results").is_dir() else path
    found = [(p.parent.name, p.stem, p) for p in top.glob("*/*.pkl") if p.stem.isdecimal()]
    own = [(top.name, p.stem, p) for p in top.glob("*.pkl") if p.stem.isdecimal()]
    return sorted(found or own, key=lambda entry: (natural_key(Path(entry[0])), entry[1]))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person's number; an image without that person is an empty row. Raises InputError."""
    files = result_files(source.path)
    images = list(dict.fromkeys(image for image, _, _ in files))
    people: dict[str, dict[str, Frame]] = defaultdict(dict)
    model = model_of(frozenset(map(str, load(files[0][2]))))
    for image, person, file in files:
        people[person][image] = frame_of(load(file), file, options)
    tracks = []
    for person, frames in sorted(people.items()):
        track = stack([frames.get(image) for image in images], images, model, FORMAT)
        coded = "pose_embedding" in track.values
        tracks.append(
            replace(
                track, match="name", person=f"{int(person):03d}", hands_from_mean=True, notes=(CODE,) if coded else ()
            )
        )
    return tracks


def model_of(keys: frozenset[str]) -> str:
    return "smplx" if "expression" in keys else "smplh" if "left_hand_pose" in keys else "smpl"


def frame_of(content: Any, path: Path, options: CodesOptions) -> Frame:
    if not isinstance(content, Mapping) or not KEYS <= set(content):
        raise InputError(f"{path}: a dict with {', '.join(sorted(KEYS))} is expected")
    values = {"betas": vector(content["betas"], tuple(range(1, 401)), "betas", path)}
    values["global_orient"] = turns(content["global_orient"], 1, 1, "global_orient", path)[0]
    values |= body_pose(content["body_pose"], path)
    for name in HANDS:
        if name in content:
            values |= hand(name, content[name], path)
    for name in FACE:
        if name in content:
            values[name] = turns(content[name], 1, 1, name, path)[0]
    if "expression" in content:
        values["expression"] = vector(content["expression"], tuple(range(1, 101)), "expression", path)
    rotation = vector(content.get("camera_rotation", np.eye(3)), 9, "camera_rotation", path).reshape(1, 3, 3)
    shift = vector(content["camera_translation"], 3, "camera_translation", path)
    K = None
    if options.image_size is not None:
        K = camera(options.focal or FOCAL, middle(options.image_size))
    if "focal_length" in content and "camera_center" in content:  # Keyfit writes them beside the rest
        K = camera(np.ravel(content["focal_length"]), np.ravel(content["camera_center"]) - 0.5)
    return Frame(values, K=K, world_from_codes=opencv(rotation, shift[None])[0], image_size=options.image_size)


def body_pose(value: Any, path: Path) -> dict[str, np.ndarray]:
    """63 or 69 numbers, matrices, or 32 of VPoser's code."""
    if np.size(value) == VPOSER:
        return {"pose_embedding": vector(value, VPOSER, "body_pose", path)}
    return {"body_pose": turns(value, (21, 23), 1, "body_pose", path)[0]}


def hand(name: str, value: Any, path: Path) -> dict[str, np.ndarray]:
    """Components, or 15 joints."""
    size = np.size(value)
    if size in (45, 135) and np.asarray(value).shape[-2:] == (3, 3) or size == 45:
        return {name: turns(value, 15, 1, name, path)[0]}
    return {name.replace("_pose", "_pca"): vector(value, tuple(range(1, 45)), name, path)}
