"""SMPLify-X's results/<image>/<person>.pkl: described at fitting/codes/smplifyx.py.

`camera_translation` belongs to the focal length of these parameters and the middle of the picture; both are written
beside the rest, as focal_length and camera_center, since 5000 pixels is what its readers assume. Pixels count from the
picture's edge there, so its middle is (width / 2, height / 2). body_pose is axis-angle, never VPoser's code; hands are
12 components about the mean hand, or all 45 numbers from it where the model has no components.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from fitting.exports.bodies import SIDES, centred, fingers, from_mean, hand_components, in_camera, zeros_for
from fitting.exports.target import Export, Target, cameras, require_body, sizes_of
from fitting.track import Track, sized
from fitting.types import Body
from fitting.writers.atomic import write_bytes

BETAS, EXPRESSIONS, COMPONENTS = 10, 10, 12
PROTOCOL = 2


def write(track: Track, target: Target) -> list[Path]:
    """One file for every frame that has codes. Raises OutputError."""
    body = require_body(target, "smplifyx")
    K, sizes = cameras(track), sizes_of(track)
    arrays = parameters(centred(track, target), body)
    folder = target.folder / "results"
    written = []
    for k in np.flatnonzero(track.valid):
        content = {name: rows[k : k + 1].astype(np.float32) for name, rows in arrays.items()}
        content["camera_rotation"] = np.eye(3, dtype=np.float32)[None]
        content["focal_length"] = np.array([K[k, 0, 0], K[k, 1, 1]])
        content["camera_center"] = sizes[k] / 2
        content["image_size"] = np.array(sizes[k])
        path = folder / track.names[k] / f"{track.person}.pkl"
        written.append(write_bytes(path, pickle.dumps(content, PROTOCOL)))
    return written


def parameters(track: Track, body: Body) -> dict[str, np.ndarray]:
    """Rows of every block the model has, in the camera's axes; which there are tells readers the model."""
    values = track.values
    orient, place = in_camera(track, body)
    found = {"betas": sized(values["betas"], BETAS), "global_orient": orient, "camera_translation": place}
    found["body_pose"] = values["body_pose"]
    for side in SIDES:
        if track.codes.model != "smpl":
            pose = fingers(track, body, side)
            few = hand_components(body, side, pose, COMPONENTS)
            found[f"{side}_hand_pose"] = from_mean(body, side, pose) if few is None else few
    if track.codes.model == "smplx":
        found |= {name: values.get(name, zeros_for(track, 1)) for name in ("jaw_pose", "leye_pose", "reye_pose")}
        found["expression"] = sized(values.get("expression", np.zeros((len(track), EXPRESSIONS))), EXPRESSIONS)
    return found


EXPORT = Export(
    write,
    models=("smplx", "smplh", "smpl"),
    needs=("betas", "global_orient", "body_pose", "transl"),
    needs_body=True,
    needs_camera=True,
    names_persons=True,
)
