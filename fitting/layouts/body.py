"""Bodies without hands and face: OpenPose's, COCO's, Halpe's and MediaPipe's orders. Left and right are the subject's.

Orders: OpenPose's doc/02_output.md (BODY_25, COCO) and its experimental models (BODY_25B); the COCO keypoint task;
Halpe-FullBody's readme; MediaPipe's pose landmarker. Where OpenPose's 25 and 25B are confused nobody notices at
first: both have 25 points, but 25B has the left side first and no neck.
"""

from __future__ import annotations

from fitting.layouts.naming import both
from fitting.layouts.person import MIDPOINTS, person_layout

_RIGHT_ARM = ("right_shoulder", "right_elbow", "right_wrist")
_LEFT_ARM = ("left_shoulder", "left_elbow", "left_wrist")
_RIGHT_LEG = ("right_hip", "right_knee", "right_ankle")
_LEFT_LEG = ("left_hip", "left_knee", "left_ankle")
_RIGHT_FIRST = ("right_eye", "left_eye", "right_ear", "left_ear")

# OpenPose's 25B, COCO-WholeBody: one foot after the other.
FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
COCO17_NAMES = ("nose", *both("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
HALPE26_NAMES = (*COCO17_NAMES, "head_top", *MIDPOINTS, *both("big_toe", "small_toe", "heel"))

_COCO19_NAMES = ("nose", "neck", *_RIGHT_ARM, *_LEFT_ARM, "mid_hip", *_RIGHT_LEG, *_LEFT_LEG, *_RIGHT_FIRST)
BODY25_NAMES = (*_COCO19_NAMES, *FEET)
BODY25B_NAMES = (*COCO17_NAMES, "upper_neck", "head_top", *FEET)
_COCO18_NAMES = tuple(name for name in _COCO19_NAMES if name != "mid_hip")

_MEDIAPIPE33_NAMES = (
    *("nose", "left_eye_inner_corner", "left_eye", "left_eye_outer_corner"),
    *("right_eye_inner_corner", "right_eye", "right_eye_outer_corner"),
    *both("ear", "mouth_corner", "shoulder", "elbow", "wrist", "pinky_1", "index_1", "thumb_2"),
    *both("hip", "knee", "ankle", "heel", "big_toe"),
)

BODY25 = person_layout("body25", BODY25_NAMES)
BODY25B = person_layout("body25b", BODY25B_NAMES)
COCO17 = person_layout("coco17", COCO17_NAMES)
COCO23 = person_layout("coco23", COCO17_NAMES + FEET)  # COCO-WholeBody's without face and hands
COCO18 = person_layout("coco18", _COCO18_NAMES)
COCO19 = person_layout("coco19", _COCO19_NAMES)
HALPE26 = person_layout("halpe26", HALPE26_NAMES)
MEDIAPIPE33 = person_layout("mediapipe33", _MEDIAPIPE33_NAMES)
