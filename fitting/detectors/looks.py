"""A face is looked at several times, and believed if the looks agree.

A landmark network's answer shifts with the crop it is shown, by about 0.5 % of the eye distance. So every face is cut
out level and of one size, a few times with small known changes (scale, turn, shift, mirror), and the answers, brought
back, are averaged: the scatter falls to a third. Where there is no face, or one the network does not understand
(a profile), the answers disagree: that is the check which keeps drifting and invented faces out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from fitting.detectors.backends import Backend, Image, Mesh
from fitting.detectors.crops import CROP, Look, Square, cut, square_at
from fitting.layouts import MEDIAPIPE478
from fitting.layouts.sides import other_side

_NOSE_TIP = 4
_RIGHT_CORNER, _LEFT_CORNER = (ends[0] for ends in MEDIAPIPE478.size_pair)
_TWIN = other_side(MEDIAPIPE478)


# As many mirrored as not, so that what the network does otherwise on the right than on the left cancels. Scatter on
# photographs moved by known motions, in % of the eye distance: 1 look 0.43, 2 0.29, 3 0.25, 4 0.21, 5 0.19.
LOOKS = (
    Look(1.7, 4.0, (0.03, 0.02), mirrored=True),
    Look(1.9, -4.0, (-0.03, 0.02)),
    Look(2.0, 2.0, (0.02, -0.03), mirrored=True),
    Look(1.6, -2.0, (-0.02, -0.03)),
)


@dataclass(frozen=True)
class Face:
    """What the looks agree on, in pixels of the whole picture. `spread`: their rms disagreement in face extents."""

    points: Float[np.ndarray, "478 2"]
    spread: float
    blendshapes: Float[np.ndarray, " 52"] | None = None


def around_face(points: Float[np.ndarray, "478 2"], look: Look) -> Square:
    """A square that stands on the line through the eyes."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = look.scale * (high - low).max()
    right, down = points[_LEFT_CORNER] - points[_RIGHT_CORNER]
    return square_at((low + high) / 2 + side * np.array(look.shift), side, look, float(np.arctan2(down, right)))


def find(image: Image, box: Float[np.ndarray, " 4"], backend: Backend, looks: tuple[Look, ...] = LOOKS) -> Face | None:
    """The face in a detector's box, or None."""
    first = _look(image, square_at((box[:2] + box[2:]) / 2, 2.2 * (box[2:] - box[:2]).max(), Look()), backend)
    return follow(image, first.points, backend, looks) if first else None


def follow(
    image: Image, points: Float[np.ndarray, "478 2"], backend: Backend, looks: tuple[Look, ...] = LOOKS
) -> Face | None:
    """The face that lay at `points` a moment ago, or None where a look does not find it."""
    again = _look(image, around_face(points, Look()), backend)
    if again is None:
        return None
    found = (_look(image, around_face(again.points, look), backend) for look in looks)
    seen = [mesh for mesh in found if mesh]
    if len(seen) < len(looks):
        return None
    points = np.mean([mesh.points for mesh in seen], axis=0)
    distances = np.linalg.norm([mesh.points - points for mesh in seen], axis=-1)
    scores = [m.blendshapes for m, look in zip(seen, looks, strict=True) if not look.mirrored]
    straight = [s for s in scores if s is not None]
    return Face(
        points,
        spread=float(np.sqrt((distances**2).mean()) / np.ptp(points, axis=0).max()),
        blendshapes=np.mean(straight, axis=0) if straight else None,
    )


def turned(points: Float[np.ndarray, "478 2"]) -> float:
    """How far the head is turned to the side, degrees: the nose's place between the eyes.

    On MediaPipe's canonical face the tip lies 4.4 cm before the outer eye corners, which are 8.9 cm apart.
    """
    right, left = points[_RIGHT_CORNER], points[_LEFT_CORNER]
    across = left - right
    aside = (points[_NOSE_TIP] - (left + right) / 2) @ across / max(across @ across, 1e-9)
    return float(np.degrees(np.arctan(aside * 8.9 / 4.4)))


def _look(image: Image, square: Square, backend: Backend) -> Mesh | None:
    """The face nearest the crop's middle, in pixels of the whole picture."""
    found = backend.meshes(cut(image, square))
    if not found:
        return None
    middle = (CROP - 1) / 2
    mesh = min(found, key=lambda m: float(np.linalg.norm(m.points.mean(axis=0) - middle)))
    points = mesh.points[_TWIN] if square.mirrored else mesh.points
    return replace(mesh, points=square.to_picture(points))
