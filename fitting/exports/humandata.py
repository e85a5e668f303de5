"""HumanData npz: image_path, bbox_xywh (N, 5), a dict smpl or smplx, meta, misc, config: described at
fitting/codes/humandata.py; of a fit also keypoints2d (N, 190, 3) and keypoints2d_mask, what was detected.

Its dicts are pickles inside the npz: that is the format, and they hold nothing but numpy arrays and plain values.
Fingers count from the mean hand, misc.flat_hand_mean False.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fitting.exports.bodies import SIDES, SMPLX_JOINTS, boxes, from_mean, in_camera
from fitting.exports.human_data_points import CONVENTION, in_human_data
from fitting.exports.spin import picture_name
from fitting.exports.target import Export, Target, cameras, require_body, sizes_of
from fitting.track import Track
from fitting.types import Body
from fitting.writers.atomic import replacing

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold


def write(track: Track, target: Target) -> list[Path]:
    """One file; frames without codes are left out, as the format has no place for them. Raises OutputError."""
    body = require_body(target, "humandata")
    kept = np.flatnonzero(track.valid)
    K, sizes = cameras(track)[kept], sizes_of(track)[kept]
    box = boxes(track, target, body)[kept]
    focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
    content: dict[str, Any] = {
        "image_path": [picture_name(track.names[k]) for k in kept],
        "bbox_xywh": np.concatenate([box[:, :2], box[:, 2:] - box[:, :2], np.ones((len(kept), 1))], axis=1),
        track.codes.model: {name: rows[kept].astype(np.float32) for name, rows in blocks(track, body).items()},
        "meta": {"height": sizes[:, 1], "width": sizes[:, 0], "focal_length": focal, "principal_point": K[:, :2, 2]},
        "misc": {"flat_hand_mean": False, "cam_param_type": "prespective", "kps3d_root_aligned": False},
        "config": "keyfit",
    }
    if target.observations is not None:
        found = in_human_data(target.observations)
        content |= {**found, "keypoints2d": found["keypoints2d"][kept], "keypoints2d_convention": CONVENTION}
    path = target.folder / "humandata.npz"
    write_with_objects(path, content)
    return [path]


def blocks(track: Track, body: Body) -> dict[str, np.ndarray]:
    """(N, joints, 3), (N, 3) and coefficients, in the camera's axes."""
    orient, place = in_camera(track, body)
    found = {"global_orient": orient, "transl": place, "betas": track.values["betas"]}
    if "expression" in track.values:
        found["expression"] = track.values["expression"]
    for name, joints in SMPLX_JOINTS.items():
        if name in track.values and name != "global_orient":
            rows = track.values[name]
            if name in (f"{side}_hand_pose" for side in SIDES):
                rows = from_mean(body, name.partition("_")[0], rows)
            found[name] = rows if joints == 1 else rows.reshape(len(track), -1, 3)
    return found


def write_with_objects(path: Path, content: dict[str, Any]) -> None:
    """As np.savez_compressed, without the time of day; plain dicts, lists and text become pickles of 0-d arrays."""
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            array = value if isinstance(value, np.ndarray) else boxed(value)
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=array.dtype.hasobject)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


def boxed(value: Any) -> np.ndarray:
    """A dict as a 0-d array of objects; text and lists of text as text arrays."""
    if isinstance(value, dict):
        array = np.empty((), dtype=object)
        array[()] = value
        return array
    return np.array(value)


EXPORT = Export(
    write,
    models=("smplx", "smplh", "smpl"),
    needs=("betas", "global_orient", "body_pose", "transl"),
    needs_body=True,
    needs_camera=True,
)
