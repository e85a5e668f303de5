"""What the names of points say: their side, their mirror image, the points of a hand."""

from __future__ import annotations

_SIDES = ("left_", "right_")
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


def both(*names: str) -> tuple[str, ...]:
    """Left before right for each name: ('eye',) -> ('left_eye', 'right_eye')."""
    return tuple(side + name for name in names for side in _SIDES)


def without_side(name: str) -> str:
    """'left_ear' -> 'ear'"""
    return name.removeprefix(_SIDES[0]).removeprefix(_SIDES[1])


def mirrored(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(left, right) indices of the names that differ only in their side."""
    index = {name: k for k, name in enumerate(names)}
    rights = (k for k, name in enumerate(names) if name.startswith("right_"))
    return tuple((index[names[k].replace("right_", "left_", 1)], k) for k in rights)


def hand_names(side: str) -> tuple[str, ...]:
    """OpenPose's, COCO-WholeBody's and MediaPipe's 21 of a hand: its root, then four of each finger, the tip last."""
    fingers = (f"{side}_{finger}_{joint}" for finger in _FINGERS for joint in (1, 2, 3, 4))
    return f"{side}_hand_root", *fingers
