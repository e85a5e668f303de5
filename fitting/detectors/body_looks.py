"""A body is looked at several times, and its points are believed as far as the looks agree.

MediaPipe's pose shifts with the crop it is shown: on photographs moved by known motions its points scatter by 0.7 to
1.7 % of the person's size. So a person is cut out a few times with small known changes, half of them mirrored, and
the answers, brought back, are averaged. Scatter of four photographs with 1, 2, 4 and 6 looks, in % of the size:
0.69 0.44 0.37 0.30; 1.7 1.1 0.89 0.83; 1.4 0.91 0.54 0.46; 0.97 0.63 0.41 0.34. A mirrored look shows where the
network guesses sides: there the looks disagree, and the point's confidence falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from fitting.detectors.backends import Image
from fitting.detectors.crops import Look, cut, square_at
from fitting.detectors.pose_backends import Parts, PoseBackend
from fitting.layouts import MEDIAPIPE33
from fitting.layouts.persons import overlaps
from fitting.layouts.sides import other_side

_CROP = 768  # pixels: the hands are cut out of the crop once more
_ROOM = 1.8  # of a person in the crop: longer sides of the box
_TWIN = other_side(MEDIAPIPE33)
_VISIBLE = 0.3  # visibility of the points that make up a person's box
_SURE = 0.02  # disagreement of the looks in sizes up to which a point's confidence is its visibility
_ANOTHER = 0.15  # median distance in sizes from the looks' middle of a look that saw somebody else
_LOST = 0.06  # median disagreement in sizes of looks that saw nobody

LOOKS = (
    Look(1.06, 4.0, (0.03, 0.02), mirrored=True),
    Look(0.97, -4.0, (-0.03, 0.02)),
    Look(1.1, 2.0, (0.02, -0.03), mirrored=True),
    Look(1.0, -2.0, (-0.02, -0.03)),
)
FEW_LOOKS = LOOKS[:2]


@dataclass(frozen=True)
class Body:
    """What the looks agree on, in pixels of the whole picture, with confidence."""

    pose: Float[np.ndarray, "33 3"]
    hands: Float[np.ndarray, "2 21 3"]  # the subject's left and right; NaN where not found
    box: Float[np.ndarray, " 4"]


def look_at(
    image: Image,
    box: Float[np.ndarray, " 4"],
    backend: PoseBackend,
    looks: tuple[Look, ...] = LOOKS,
    face: Float[np.ndarray, " 4"] | None = None,
) -> Body | None:
    """The person in a box, or None where most looks do not find one, or not the same. With `face`, its owner."""
    found = [parts for look in looks if (parts := _look(image, box, look, backend))]
    if face is not None:
        found = [parts for parts in found if is_head(face, parts.pose)]
    if 2 * len(found) <= len(looks):
        return None
    middle = np.median([parts.pose for parts in found], axis=0)
    seen, own_box = in_sight(middle, image), visible_box(middle, image)
    if own_box is None:
        return None
    size = float((own_box[2:] - own_box[:2]).max())
    # What is out of sight is guessed anew by every look, and says nothing about who was seen.
    same = [p for p in found if np.median(np.linalg.norm((p.pose - middle)[seen, :2], axis=-1)) < _ANOTHER * size]
    if 2 * len(same) <= len(looks):
        return None
    pose, spread = _agreed([p.pose[:, :2] for p in same], size)
    if np.median(spread[seen]) > _LOST:
        return None
    visibility = np.mean([p.pose[:, 2] for p in same], axis=0)
    certain = visibility * np.minimum(1.0, _SURE / np.maximum(spread, 1e-9))
    hands = [_hand([p.hands[side] for p in same], len(looks), size) for side in (0, 1)]
    return Body(np.column_stack([pose, certain]), _apart(np.stack(hands), pose), own_box)


def is_head(face: Float[np.ndarray, " 4"], pose: Float[np.ndarray, "33 3"]) -> bool:
    """Whether the nose lies in the box, or near it."""
    margin = 0.3 * (face[2:] - face[:2])
    nose = pose[0, :2]
    return bool((nose > face[:2] - margin).all() and (nose < face[2:] + margin).all())


def without_faces(image: Image, faces: Sequence[Float[np.ndarray, " 4"]]) -> Image:
    """Painted over: the pose network takes the clearest face of a crop, whoever's the crop is."""
    if not faces:
        return image
    painted = image.copy()
    for face in faces:
        left, top, right, bottom = np.clip(np.round(face), 0, None).astype(int)
        painted[top : bottom + 1, left : right + 1] = 128
    return painted


def in_sight(pose: Float[np.ndarray, "33 3"], image: Image) -> Bool[np.ndarray, " 33"]:
    """Points within the picture that the network thinks it sees."""
    height, width = image.shape[:2]
    inside = (pose[:, :2] >= -0.5) & (pose[:, :2] <= (width - 0.5, height - 0.5))
    return inside.all(axis=1) & (pose[:, 2] > _VISIBLE)


def visible_box(pose: Float[np.ndarray, "33 3"], image: Image) -> Float[np.ndarray, " 4"] | None:
    """(left, top, right, bottom) of what is seen of a person in the picture; None where that is next to nothing."""
    points = pose[in_sight(pose, image), :2]
    if len(points) < 3 or np.ptp(points, axis=0).max() < 8:
        return None
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _look(image: Image, box: Float[np.ndarray, " 4"], look: Look, backend: PoseBackend) -> Parts | None:
    """Of the people in the crop the one whose box fits best, in pixels of the whole picture."""
    region = _around(box, image)
    side = look.scale * float((region[2:] - region[:2]).max())
    square = square_at((region[:2] + region[2:]) / 2 + side * np.array(look.shift), side, look, pixels=_CROP)
    found = []
    for parts in backend.people(cut(image, square)):
        pose = np.column_stack([square.to_picture(parts.pose[:, :2]), parts.pose[:, 2]])
        hands = square.to_picture(parts.hands)
        found.append(Parts(pose[_TWIN], hands[::-1]) if look.mirrored else Parts(pose, hands))
    boxes = [visible_box(parts.pose, image) for parts in found]
    fits = [0.0 if b is None else overlaps(box[None], b[None]).item() for b in boxes]
    return found[int(np.argmax(fits))] if fits and max(fits) > 0 else None


def _around(box: Float[np.ndarray, " 4"], image: Image) -> Float[np.ndarray, " 4"]:
    """The box with room on all sides, but no more than there is picture: the network takes its bearings from where a
    picture ends, and loses them where a person is cut off by nothing."""
    room = (_ROOM - 1) / 2 * float((box[2:] - box[:2]).max())
    height, width = image.shape[:2]
    low, high = np.maximum(box[:2] - room, -0.5), np.minimum(box[2:] + room, (width - 0.5, height - 0.5))
    return np.concatenate([low, high])


def _agreed(
    answers: list[Float[np.ndarray, "points 2"]], size: float
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, " points"]]:
    """Mean, and root mean square disagreement in sizes as of a single look."""
    mean = np.mean(answers, axis=0)
    squares = ((np.array(answers) - mean) ** 2).sum(axis=(0, 2)) / max(len(answers) - 1, 1)
    return mean, np.sqrt(squares) / size


def _hand(answers: list[Float[np.ndarray, "21 2"]], looks: int, size: float) -> Float[np.ndarray, "21 3"]:
    """NaN where most looks did not find it, or found two different things."""
    seen = [hand for hand in answers if np.isfinite(hand).all()]
    if 2 * len(seen) <= looks:
        return np.full((21, 3), np.nan)
    points, spread = _agreed(seen, size)
    extent = max(float(np.ptp(points, axis=0).max()), 1e-9)
    if np.median(spread) * size > 0.25 * extent:
        return np.full((21, 3), np.nan)
    return np.column_stack([points, np.minimum(1.0, _SURE / np.maximum(spread, 1e-9))])


def _apart(hands: Float[np.ndarray, "2 21 3"], pose: Float[np.ndarray, "33 2"]) -> Float[np.ndarray, "2 21 3"]:
    """One hand found as both is the hand whose wrist is nearer."""
    if not np.isfinite(hands).all():
        return hands
    extent = np.ptp(hands[..., :2], axis=1).max()
    if np.median(np.linalg.norm(hands[0, :, :2] - hands[1, :, :2], axis=-1)) > 0.25 * extent:
        return hands
    far = np.linalg.norm(hands[:, 0, :2] - pose[[15, 16]], axis=-1)
    kept = hands.copy()
    kept[int(far.argmax())] = np.nan
    return kept
