"""Rotations of bodies as their many writers store them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.codes.source import rows
from fitting.worlds import rotmat_to_rotvec


def turns(value: Any, joints: int | tuple[int, ...], frames: int | None, what: str, path: Path) -> np.ndarray:
    """Axis-angle (frames, 3 * joints) from axis-angle or rotation matrices of so many joints, however they are nested.

    Raises InputError for any other number of them.
    """
    counts = (joints,) if isinstance(joints, int) else joints
    array = np.asarray(value)
    count = frames if frames is not None else len(array)
    matrices = array.shape[-2:] == (3, 3) and array.size in {9 * n * count for n in counts}
    if not matrices:
        flat = array.reshape(count, -1) if array.size in {3 * n * count for n in counts} else array
        return rows(flat, tuple(3 * n for n in counts), frames, what, path)
    flat = rows(array.reshape(count, -1), tuple(9 * n for n in counts), frames, what, path)
    return rotmat_to_rotvec(flat.reshape(count, -1, 3, 3)).reshape(count, -1)


def middle(size: tuple[int, int]) -> tuple[float, float]:
    """The middle of a picture of this width and height: what others, who count pixels from the edge, call
    (width / 2, height / 2)."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def camera(focal: float | np.ndarray, principal: np.ndarray | tuple[float, float]) -> Float[np.ndarray, "3 3"]:
    """K for one or two focal lengths, pixels."""
    fx, fy = np.broadcast_to(np.ravel(focal)[:2], (2,))
    return np.array([[fx, 0, principal[0]], [0, fy, principal[1]], [0, 0, 1.0]], dtype=np.float64)
