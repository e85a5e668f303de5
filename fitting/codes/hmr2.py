"""HMR2's (4D-Humans') outputs, which its users save as npz, npy, pkl or pt: the dict of its forward pass.

pred_smpl_params {global_orient (B, 1, 3, 3), body_pose (B, 23, 3, 3), betas (B, 10)}, or the three beside each other;
pred_cam_t_full (B, 3), the place in the full image, for a focal length of 5000 / 256 times the longer side. Without it
the body is placed by keypoints: pred_cam_t alone is that of the crop. B are frames, or detections in one picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fitting.codes.options import CodesOptions
from fitting.codes.phalp import FOCAL, MODEL, PICTURE
from fitting.codes.source import Source, rows
from fitting.codes.turns import camera, middle, turns
from fitting.track import Track
from fitting.types import Codes, InputError
from fitting.worlds import opencv

FORMAT = "HMR2 outputs"
PLACES = ("pred_cam_t_full", "cam_t_full")


def accepts(source: Source) -> bool:
    keys = source.keys if source.path.is_file() and source.suffix in (".npz", ".npy", ".pkl", ".pt") else frozenset()
    return "pred_smpl_params" in keys or {"pred_global_orient", "pred_body_pose"} <= keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track. Raises InputError for arrays of other sizes."""
    content, path = source.content, source.path
    smpl: Mapping[str, Any] = content.get("pred_smpl_params") or {
        name: content[f"pred_{name}"] for name in ("global_orient", "body_pose", "betas") if f"pred_{name}" in content
    }
    if not {"global_orient", "body_pose", "betas"} <= set(smpl):
        raise InputError(f"{path}: global_orient, body_pose and betas are expected, found {', '.join(map(str, smpl))}")
    count = len(np.asarray(smpl["betas"]))
    values = {
        "betas": rows(smpl["betas"], 10, count, "betas", path),
        "global_orient": turns(smpl["global_orient"], 1, count, "global_orient", path),
        "body_pose": turns(smpl["body_pose"], 23, count, "body_pose", path),
    }
    place = next((rows(content[key], 3, count, key, path) for key in PLACES if key in content), None)
    size = options.image_size
    K = None
    if place is not None and size is not None:
        K = np.tile(camera(FOCAL * max(size) / PICTURE, middle(size)), (count, 1, 1))
    shift = np.full((count, 3), np.nan) if place is None else place
    return [
        Track(
            Codes(values, MODEL, np.ones(count, dtype=bool), K),
            tuple(f"{k:06d}" for k in range(count)),
            FORMAT,
            image_sizes=None if size is None else np.tile(size, (count, 1)),
            world_from_codes=opencv(np.tile(np.eye(3), (count, 1, 1)), shift),
        )
    ]
