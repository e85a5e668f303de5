"""Bodies with hands and face in one layout: OpenPose's, COCO-WholeBody's, Halpe's, and what MediaPipe finds.

Points of a hand and of the face have the same names everywhere, so that a body needs one table for all.
"""

from __future__ import annotations

from fitting.layouts.body import BODY25_NAMES, BODY25B_NAMES, COCO17_NAMES, FEET, HALPE26_NAMES
from fitting.layouts.ibug68 import IBUG68
from fitting.layouts.naming import both, hand_names
from fitting.layouts.person import FACE70, MIDPOINTS, person_layout

_HANDS = hand_names("left") + hand_names("right")
_FACE = IBUG68.point_names

OPENPOSE137 = person_layout("openpose137", BODY25_NAMES + _HANDS + FACE70.point_names)
OPENPOSE137B = person_layout("openpose137b", BODY25B_NAMES + _HANDS + FACE70.point_names)
WHOLEBODY133 = person_layout("wholebody133", COCO17_NAMES + FEET + _FACE + _HANDS)
HALPE136 = person_layout("halpe136", HALPE26_NAMES + _FACE + _HANDS)

# MediaPipe's pose without the points that its hands and its face have too, neck and mid-hip, its hands, and of its
# 478 face points those that stand where iBUG's do.
HOLISTIC135 = person_layout(
    "holistic135", (*COCO17_NAMES, *both("heel", "big_toe"), *MIDPOINTS, *_HANDS, *FACE70.point_names)
)
