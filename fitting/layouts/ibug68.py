"""iBUG's 68 points (300-W): jaw line, brows, nose, eyes, lips. Left and right are the subject's.

0-16 jaw line from the right ear to the left, 17-21 right brow, 22-26 left brow, 27-30 bridge, 31-35 nostrils,
36-41 right eye, 42-47 left eye, 48-59 outer lip, 60-67 inner lip: Sagonas et al., 300 Faces in-the-Wild, 2013.
"""

from __future__ import annotations

from fitting.layouts.naming import mirrored
from fitting.types import Layout

_JAW = tuple(f"right_jaw_{k}" for k in range(8)) + ("chin",) + tuple(f"left_jaw_{k}" for k in range(7, -1, -1))
_BROWS = tuple(f"right_brow_{k}" for k in range(5)) + tuple(f"left_brow_{k}" for k in range(4, -1, -1))
_BRIDGE = tuple(f"nose_bridge_{k}" for k in range(4))
_NOSTRILS = ("right_nostril_0", "right_nostril_1", "nose_base", "left_nostril_1", "left_nostril_0")
_RIGHT_EYE = ("outer_corner", "upper_outer", "upper_inner", "inner_corner", "lower_inner", "lower_outer")
_LEFT_EYE = ("inner_corner", "upper_inner", "upper_outer", "outer_corner", "lower_outer", "lower_inner")
_EYES = tuple(f"right_eye_{n}" for n in _RIGHT_EYE) + tuple(f"left_eye_{n}" for n in _LEFT_EYE)
_OUTER_LIP = (
    *("right_mouth_corner", "right_upper_lip_1", "right_upper_lip_0", "upper_lip", "left_upper_lip_0"),
    *("left_upper_lip_1", "left_mouth_corner", "left_lower_lip_1", "left_lower_lip_0", "lower_lip"),
    *("right_lower_lip_0", "right_lower_lip_1"),
)
_INNER_LIP = (
    *("right_inner_mouth_corner", "right_inner_upper_lip", "inner_upper_lip", "left_inner_upper_lip"),
    *("left_inner_mouth_corner", "left_inner_lower_lip", "inner_lower_lip", "right_inner_lower_lip"),
)
_NAMES = _JAW + _BROWS + _BRIDGE + _NOSTRILS + _EYES + _OUTER_LIP + _INNER_LIP

IBUG68 = Layout(
    name="ibug68",
    point_names=_NAMES,
    pairs=mirrored(_NAMES),
    groups={
        "brows": tuple(range(17, 27)),
        "lids": tuple(range(36, 48)),
        "irises": (),
        "lips": tuple(range(48, 68)),
        "nose": tuple(range(27, 36)),
        "contour": tuple(range(17)),
        "skin": (),
    },
    size_pair=((36,), (45,)),
    distances={
        "eyes": ((37, 41), (38, 40), (43, 47), (44, 46)),
        "lips": ((61, 67), (62, 66), (63, 65)),
        "outer_lips": ((49, 59), (50, 58), (51, 57), (52, 56), (53, 55)),
        "mouth_corners": ((54, 48), (64, 60)),
    },
)
