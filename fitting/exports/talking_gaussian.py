"""What AD-NeRF's and TalkingGaussian's preprocessing leaves: track_params.pt, transforms_train.json,
transforms_val.json.

The head's rigid motion about the middle of the face and the focal length; conventions at
fitting/codes/track_params.py: `cx` and `cy` count pixels from the picture's edge, as those who render it do (from a
field of view, or by rays through i + 0.5; only AD-NeRF's own rays, through i, are half a pixel aside).
Identity and expression of the Basel Face Model are zeros: nothing that trains reads them. `img_id` is the number of the
frame in the video, from 0. The original writes a running number there, which shifts every frame after one without
landmarks; frames that were not fitted are left out here instead. The first ten elevenths are for training.

au.csv is written from an OpenFace table (--au), or, on a body whose expressions are named as ARKit's, estimated from
them: AU = 5 times the action's strength.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from fitting.action_units import ActionUnits, format_openface, read_action_units
from fitting.exports.decoded import head_motion, landmarks, to_pixels
from fitting.exports.fixed_camera import clip_focal, middle_cameras, under
from fitting.exports.target import Export, Target, cameras, require_body, sizes_of
from fitting.track import Track
from fitting.writers.atomic import write_bytes, write_text

TRAINED = (10, 11)  # frames for training of all frames
TO_DECIMETRES = 10.0
FPS = 25.0
# What TalkingGaussian reads, and the facial actions of the open head that say the same.
UNITS = {
    "AU01_r": ("browInnerUp",),
    "AU02_r": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04_r": ("browDownLeft", "browDownRight"),
    "AU05_r": ("eyeWideLeft", "eyeWideRight"),
    "AU06_r": ("cheekSquintLeft", "cheekSquintRight"),
    "AU07_r": ("eyeSquintLeft", "eyeSquintRight"),
    "AU12_r": ("mouthSmileLeft", "mouthSmileRight"),
    "AU45_r": ("eyeBlinkLeft", "eyeBlinkRight"),
}
STRONGEST = 5.0
OPEN_JAW = 0.25  # radians of an open mouth: AU25 at its strongest


def write(track: Track, target: Target) -> list[Path]:
    """Raises OutputError where the track has no camera, no place, or pictures of several sizes."""
    body = require_body(target, "talking_gaussian")
    width, height = (int(n) for n in sizes_of(track)[0])
    motion = head_motion(body, track)
    focal = clip_focal(track)
    place = under(track, middle_cameras(track, focal), target, motion.place)
    written = [write_track_params(target.folder / "track_params.pt", motion.rotation, place, focal)]
    frames = np.flatnonzero(track.valid)
    trained = len(frames) * TRAINED[0] // TRAINED[1]
    rects = face_rects(track, target, (width, height))
    for name, some in (("train", frames[:trained]), ("val", frames[trained:])):
        entries = [entry(int(k), motion.rotation[k], place[k], rects) for k in some]
        content = {"focal_len": focal, "cx": width / 2, "cy": height / 2, "frames": entries}
        written.append(write_text(target.folder / f"transforms_{name}.json", json.dumps(content, indent=1) + "\n"))
    units = action_units(track, target)
    if units is not None:
        written.append(write_text(target.folder / "au.csv", format_openface(units, track.fps or FPS)))
    return written


def write_track_params(path: Path, rotation: np.ndarray, place: np.ndarray, focal: float) -> Path:
    frames = len(place)
    content = {
        "id": torch.zeros(1, 100),
        "exp": torch.zeros(frames, 79),
        "euler": torch.as_tensor(rotmat_to_euler(rotation)).float(),
        "trans": torch.as_tensor(place * TO_DECIMETRES).float(),
        "focal": torch.tensor([focal]).float(),
    }
    buffer = io.BytesIO()  # torch.save writes a file's name into it, which here would be a temporary one
    torch.save(content, buffer)
    return write_bytes(path, buffer.getvalue())


def rotmat_to_euler(rotation: np.ndarray) -> np.ndarray:
    """theta, phi, psi of R = Rx(-theta) Ry(-phi) Rz(psi)."""
    theta = np.arctan2(rotation[:, 1, 2], rotation[:, 2, 2])
    phi = -np.arcsin(np.clip(rotation[:, 0, 2], -1, 1))
    psi = np.arctan2(-rotation[:, 0, 1], rotation[:, 0, 0])
    return np.stack([theta, phi, psi], axis=1)


def entry(k: int, rotation: np.ndarray, place: np.ndarray, rects: np.ndarray | None) -> dict[str, object]:
    """Camera to head, metres, OpenGL's axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.T
    matrix[:3, 3] = -rotation.T @ place
    found: dict[str, object] = {"img_id": k, "aud_id": k, "transform_matrix": matrix.tolist()}
    return found if rects is None else {**found, "face_rect": rects[k].tolist()}


def face_rects(track: Track, target: Target, size: tuple[int, int]) -> np.ndarray | None:
    """x, y, width, height of the face in whole pixels, as AD-NeRF weights its rays: half as much again as the
    landmarks' width, and from the bridge of the nose 1.15 times the way to the chin, up and down.
    """
    body = require_body(target, "talking_gaussian")
    if "ibug68" not in body.embeddings:
        return None
    points = to_pixels(landmarks(body, track, "ibug68"), cameras(track))
    low, high = np.nanmin(points[..., 0], axis=1), np.nanmax(points[..., 0], axis=1)
    x, y = (low + high) // 2, points[:, 27, 1] // 1
    half_width, half_height = (high - x) * 1.5 // 1, (points[:, 8, 1] - y) * 1.15 // 1
    left, top = np.maximum(x - half_width, 0), np.maximum(y - half_height, 0)
    width = np.minimum(size[0] - 1 - left, 2 * half_width)
    height = np.minimum(size[1] - 1 - top, 2 * half_height)
    return np.stack([left, top, width, height], axis=1).astype(int)


def action_units(track: Track, target: Target) -> ActionUnits | None:
    """OpenFace's, else an estimate from named expressions, else none."""
    if target.action_units is not None:
        return read_action_units(target.action_units, len(track))
    names = list(getattr(target.body, "expression_names", ()))
    if "expression" not in track.values or not all(a in names for actions in UNITS.values() for a in actions):
        return None
    expression = track.values["expression"]
    rows = {
        unit: STRONGEST * np.mean([expression[:, names.index(action)] for action in actions], axis=0)
        for unit, actions in UNITS.items()
    }
    rows["AU25_r"] = STRONGEST * track.values["jaw_pose"][:, 0] / OPEN_JAW
    order = sorted(rows)
    table = np.clip(np.stack([rows[unit] for unit in order], axis=1), 0, STRONGEST)
    return ActionUnits(tuple(order), table, track.valid.astype(float))


EXPORT = Export(write, needs=("global_orient", "transl"), needs_body=True, needs_camera=True)
