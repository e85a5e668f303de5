"""Where a head is, from the square that a regressor cut out round it: EMOCA keeps that and no camera.

The square is made from the 68 landmarks of the face: its middle is the middle of their box, its side the mean of the
box's width and height, times 1.1 and 1.25, without its fraction of a pixel. So a posed head whose own 68 points fill
the box has a known size and place: under weak perspective as under a pinhole camera of known focal length.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.track import Track, parameters_of
from fitting.types import Body, InputError
from fitting.worlds import placed

BOX_TO_CROP = 1.1 * 1.25
LAYOUTS = ("ibug68", "mediapipe478")
CHUNK = 512  # frames in memory together
STEPS = 12  # of size and place in turn; what is left is a tenth after each
FOCAL_FACTOR = 1.2  # as camera.focal_factor of a recipe


def weak_from_crops(track: Track, body: Body) -> Track:
    """Weak perspective in the full image for a track that has crops and no camera. Without 68 landmarks on the body
    the track stays as it is."""
    if track.crops is None or track.weak is not None or "transl" in track.values or LAYOUTS[0] not in body.embeddings:
        return track
    points = posed_points(track, body, LAYOUTS[0])[..., :2]
    low, high = points.min(axis=1), points.max(axis=1)
    cx, cy, side = track.crops.T
    sigma = side / BOX_TO_CROP / (high - low).mean(axis=1)
    middle = (low + high) / 2
    return replace(track, weak=np.stack([sigma, cx - sigma * middle[:, 0], cy + sigma * middle[:, 1]], axis=1))


def placed_in_crops(track: Track, body: Body, K: Float[np.ndarray, "frames 3 3"]) -> Track:
    """`transl` for a track that has crops and no camera: under `K` the box of the 68 landmarks has the crop's middle
    and size, to a thousandth of a pixel. Without 68 landmarks on the body the track stays as it is."""
    weak = weak_from_crops(track, body)
    if track.crops is None or weak.weak is None:
        return track
    found = placed(weak, K, face_front(track, body))
    points, place = posed_points(track, body, LAYOUTS[0]), found.values["transl"].copy()
    focal = np.stack([K[:, 0, 0], -K[:, 1, 1]], axis=1)
    for _ in range(STEPS):
        low, high = box(points + place[:, None], K)
        size, middle = (high - low).mean(axis=1), (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):  # rows without codes have no crop
            place[:, :2] += (track.crops[:, :2] - middle) / focal * -place[:, 2:]
            place *= (size / (track.crops[:, 2] / BOX_TO_CROP))[:, None]
    return found.with_values({"transl": np.where(track.valid[:, None], place, 0.0)})


def box(
    points: Float[np.ndarray, "frames points 3"], K: Float[np.ndarray, "frames 3 3"]
) -> tuple[Float[np.ndarray, "frames 2"], Float[np.ndarray, "frames 2"]]:
    """Least and greatest pixels of points in the world."""
    camera = world_to_camera(torch.as_tensor(points))
    pixels = camera_to_pixels(camera, torch.as_tensor(np.asarray(K, dtype=np.float64))).numpy()
    return pixels.min(axis=1), pixels.max(axis=1)


def face_front(track: Track, body: Body) -> Float[np.ndarray, " frames"]:
    """How far the face stands in front of the model's origin, metres: the plane whose size a picture shows. Of a whole
    person that is the origin's own."""
    has_arms = "left_shoulder" in body.joint_names
    layout = next((name for name in LAYOUTS if name in body.embeddings and not has_arms), None)
    if layout is None:
        return np.zeros(len(track))
    return posed_points(track, body, layout)[..., 2].mean(axis=1)


def posed_points(track: Track, body: Body, layout: str) -> Float[np.ndarray, "frames points 3"]:
    """A layout's points on the body under the codes, without `transl`."""
    restricted = body.restrict(body.embeddings[layout])
    still = track.with_values({"transl": None})
    parts = []
    for first in range(0, len(track), CHUNK):
        parameters = parameters_of(restricted, still, slice(first, min(first + CHUNK, len(track))))
        with torch.no_grad():
            parts.append(restricted.pose(parameters).points[:, 0].double().cpu().numpy())
    return np.concatenate(parts)


def assumed_cameras(track: Track, focal: float | None) -> Float[np.ndarray, "frames 3 3"]:
    """K for codes that came without: the focal length given, or 1.2 times the longer side. Raises InputError."""
    if track.image_sizes is None:
        raise InputError(f"{track.format}: the size of the full image is not known: give it with --image_size")
    sizes = [(int(width), int(height)) for width, height in track.image_sizes]
    return np.stack([intrinsics(focal or FOCAL_FACTOR * max(size), size) for size in sizes])
