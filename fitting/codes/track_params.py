"""track_params.pt of AD-NeRF and TalkingGaussian: euler (N, 3) radians, trans (N, 3) decimetres, focal (1,) pixels,
and id (1, 100), exp (N, 79) of the Basel Face Model, which is not FLAME: of those only the head's pose and the focal
length can be used.

A point is seen at R X + trans by a camera that looks down -z with y up, R = Rx(-theta) Ry(-phi) Rz(psi); the principal
point is the picture's middle, (width / 2, height / 2) where pixels count from the edge, as its renderers do. The
model's origin is the middle of the face, FLAME's is not: `transl` is left out, and the head is placed by landmarks.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float

from fitting.camera import intrinsics
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, rows
from fitting.track import Track
from fitting.types import Codes
from fitting.worlds import rotmat_to_rotvec

FORMAT = "track_params.pt"
MODEL = "bfm09"
NOTE = "only the head's rotation and the focal length are used: identity and expression are of the Basel Face Model"
DECIMETRES = 0.1


def accepts(source: Source) -> bool:
    file = source if source.path.is_file() else Source(source.path / FORMAT)
    return file.suffix == ".pt" and file.path.is_file() and {"euler", "trans", "focal"} <= file.keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for arrays of other sizes."""
    file = source if source.path.is_file() else Source(source.path / FORMAT)
    content, path = file.content, file.path
    frames = len(content["euler"])
    euler = rows(content["euler"], 3, frames, "euler", path)
    focal = float(np.ravel(content["focal"])[0])
    K = None
    if options.image_size is not None:
        width, height = options.image_size
        K = np.tile(intrinsics(focal, (width, height)), (frames, 1, 1))
    return [
        Track(
            Codes({"global_orient": rotmat_to_rotvec(euler_to_rotmat(euler))}, MODEL, np.ones(frames, dtype=bool), K),
            tuple(f"{k:06d}" for k in range(frames)),
            FORMAT,
            image_sizes=None if options.image_size is None else np.tile(options.image_size, (frames, 1)),
            extras={"face_place": rows(content["trans"], 3, frames, "trans", path) * DECIMETRES},
            notes=(NOTE, f"focal length {focal:.1f} pixels") if K is None else (NOTE,),
        )
    ]


def euler_to_rotmat(euler: Float[np.ndarray, "frames 3"]) -> Float[np.ndarray, "frames 3 3"]:
    """Rx(-theta) Ry(-phi) Rz(psi), each in the right-handed sense."""
    signed = torch.as_tensor(euler * [-1, -1, 1], dtype=torch.float64)
    return roma.euler_to_rotmat("XYZ", signed).numpy()
