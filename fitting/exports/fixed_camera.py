"""Places under the camera that a format prescribes: its principal point in the middle of the picture, often one focal
length for all frames.

Exact where the track's camera is that one, as a fit's is unless `camera.principal` or the start's codes say otherwise.
Else the place keeps its pixel and its size, no other point quite does, and the user is told how far off they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.exports.decoded import meshes, to_pixels
from fitting.exports.target import Target, cameras, sizes_of
from fitting.track import Track
from fitting.worlds import recentred

SAME = 1e-3  # pixels between two cameras that are one
NEAR = 0.01  # pixels that nobody need be told of
FRAMES = 16  # whose meshes are looked at
REACH = 0.15  # metres from a head's place to its farthest points, where no mesh is at hand


def middle_cameras(track: Track, focal: float | None = None) -> Float[np.ndarray, "frames 3 3"]:
    """The track's cameras with the principal point in the middle of the picture, and one focal length if given."""
    K = np.array(cameras(track), dtype=np.float64)
    if focal is not None:
        K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = (sizes_of(track) - 1) / 2
    return K


def clip_focal(track: Track) -> float:
    """One focal length for all frames, pixels."""
    return float(np.median(cameras(track)[track.valid, 0, 0]))


def under(
    track: Track, onto: Float[np.ndarray, "frames 3 3"], target: Target, places: Float[np.ndarray, "frames 3"]
) -> Float[np.ndarray, "frames 3"]:
    """`places` of the track's body under the cameras `onto`; the target is told what that costs."""
    K = cameras(track)
    if np.abs(K - onto)[track.valid].max() < SAME:
        return places
    moved = recentred(places, K, onto)
    off = farthest(track, onto, target, moved - places)
    if off > NEAR:
        target.note(
            f"the format has its camera in the middle of the picture, {track.format} has another: the place was moved, "
            f"and points of the body are up to {off:.2f} pixels off"
        )
    return moved


def farthest(
    track: Track, onto: Float[np.ndarray, "frames 3 3"], target: Target, shift: Float[np.ndarray, "frames 3"]
) -> float:
    """The largest distance in pixels between a point under the track's camera and, shifted, under `onto`; over some of
    the valid frames."""
    known = np.flatnonzero(track.valid)
    rows = known[np.unique(np.linspace(0, len(known) - 1, FRAMES).round().astype(int))]
    some = track.take(rows)
    if target.body is not None:
        points = np.stack(list(meshes(target.body, some)))
    else:
        points = some.values["transl"][:, None] + REACH * np.concatenate([np.eye(3), -np.eye(3)])
    before = to_pixels(points, cameras(some))
    return float(np.linalg.norm(to_pixels(points + shift[rows, None], onto[rows]) - before, axis=-1).max())
