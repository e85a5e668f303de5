"""Named keypoint layouts: one file a family, one line each in `LAYOUTS`."""

from fitting.layouts.ibug68 import IBUG68
from fitting.layouts.mediapipe478 import MEDIAPIPE105, MEDIAPIPE105_IN_478, MEDIAPIPE478

LAYOUTS = (IBUG68, MEDIAPIPE478, MEDIAPIPE105)

__all__ = ["IBUG68", "LAYOUTS", "MEDIAPIPE105", "MEDIAPIPE105_IN_478", "MEDIAPIPE478"]
