"""SPIN's and HMR's data sets (.npz with imgname, center, scale, pose (N, 72), shape (N, 10)) and SPIN's fits (.npy,
(N, 82): pose 72, shape 10; or .npz with pose and shape).

Bodies of single pictures in OpenCV's camera axes; where they stand is not in the files: they are placed by keypoints.
SMPL.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from fitting.codes.frames import apart
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, rows
from fitting.track import Track
from fitting.types import Codes, InputError
from fitting.worlds import opencv

FORMAT = "SPIN data"
MODEL = "smpl"
FITS = 82


def accepts(source: Source) -> bool:
    if source.suffix == ".npy" and source.path.stat().st_size:
        return np.ndim(source.content) == 2 and np.shape(source.content)[1] == FITS
    return source.suffix == ".npz" and {"pose", "shape"} <= source.keys and "exp" not in source.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One row per picture and one track per person of a picture, in the file's order; entries without a fit
    (`has_smpl` 0) are empty. Raises InputError."""
    content, path = source.content, source.path
    if isinstance(content, np.ndarray):
        content = {"pose": content[:, :72], "shape": content[:, 72:]}
    count = len(content["pose"])
    pose, shape = rows(content["pose"], 72, count, "pose", path), rows(content["shape"], 10, count, "shape", path)
    valid = np.ravel(content["has_smpl"]).astype(bool) if "has_smpl" in content else np.ones(count, dtype=bool)
    if len(valid) != count:
        raise InputError(f"{path}: has_smpl has {len(valid)} rows, pose has {count}")
    names = [PurePosixPath(str(name)).stem for name in content["imgname"]] if "imgname" in content else None
    values = {"betas": shape, "global_orient": pose[:, :3], "body_pose": pose[:, 3:]}
    unknown = np.full((count, 3), np.nan)
    track = Track(
        Codes(values, MODEL, valid),
        tuple(names or (f"{k:06d}" for k in range(count))),
        FORMAT,
        match="name" if names else "order",
        world_from_codes=opencv(np.tile(np.eye(3), (count, 1, 1)), unknown),
    )
    return apart(track, [str(name) for name in content["imgname"]]) if names else [track]
