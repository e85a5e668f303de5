"""MediaPipe's pose, two hands and face mesh put together as one person, in the layout `holistic135`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.layouts.body import MEDIAPIPE33
from fitting.layouts.convert import to_layout
from fitting.layouts.whole_body import HOLISTIC135

# fmt: off
# Of the 478 those nearest to iBUG's points, and the centres of the irises. Measured on the open head, which has both
# tables: brows 4-7 mm, nose 0-4, lids 0-3, lips 0-5, the jaw line 8-20 (a mesh's oval is not an outline).
FACE70_IN_478 = (
    127, 234, 93, 132, 172, 136, 150, 176, 152, 400, 379, 365, 397, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
    468, 473,
)
# fmt: on

_FIRST_OF_FACE = HOLISTIC135.point_names.index("right_jaw_0")
_STAND_IN = 0.5
_NOT_BODY = tuple(k for k in range(len(HOLISTIC135)) if k not in HOLISTIC135.groups["body"])
_HANDS = tuple(HOLISTIC135.groups[f"{side}_hand"] for side in ("left", "right"))


def join_parts(
    pose: Float[np.ndarray, "frames 33 3"],
    hands: tuple[Float[np.ndarray, "frames 21 3"], Float[np.ndarray, "frames 21 3"]],
    face: Float[np.ndarray, "frames face 3"],
) -> Float[np.ndarray, "frames 135 3"]:
    """(x, y, confidence) of HOLISTIC135, from the same of the parts; a part that was not found is NaN.

    `hands` are the subject's left and right. A face of 468 points has no pupils. Where a hand or the face was not
    found, the few points that the pose has of it take their places, at half their confidence: they are coarse. What
    was not found has confidence 0.
    """
    joined = to_layout(np.nan_to_num(pose), MEDIAPIPE33, HOLISTIC135)
    joined[:, _NOT_BODY, 2] *= _STAND_IN
    for places, found in zip(_HANDS, hands, strict=True):
        _put(joined, places, found)
    count = 70 if face.shape[1] == 478 else 68
    places = tuple(range(_FIRST_OF_FACE, _FIRST_OF_FACE + count))
    _put(joined, places, face[:, FACE70_IN_478[:count]])
    return joined


def _put(
    joined: Float[np.ndarray, "frames 135 3"], places: tuple[int, ...], found: Float[np.ndarray, "frames points 3"]
) -> None:
    """Into the frames in which the part was found."""
    frames = np.isfinite(found).all(axis=(1, 2))
    joined[np.ix_(frames, np.array(places))] = found[frames]


def in_picture(points: Float[np.ndarray, "*batch points 3"]) -> Float[np.ndarray, "*batch points"]:
    """The confidence of points in fractions of the picture: 0 outside, where MediaPipe guesses."""
    inside = ((points[..., :2] >= 0) & (points[..., :2] <= 1)).all(axis=-1)
    return np.where(inside, points[..., 2], 0.0)
