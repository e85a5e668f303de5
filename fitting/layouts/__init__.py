"""Named keypoint layouts: one file a family, one line each in `LAYOUTS`."""

from fitting.layouts.body import BODY25, BODY25B, COCO17, COCO18, COCO19, COCO23, HALPE26, MEDIAPIPE33
from fitting.layouts.ibug68 import IBUG68
from fitting.layouts.mediapipe478 import MEDIAPIPE105, MEDIAPIPE105_IN_478, MEDIAPIPE478
from fitting.layouts.person import FACE70, with_midpoints
from fitting.layouts.whole_body import HALPE136, HOLISTIC135, OPENPOSE137, OPENPOSE137B, WHOLEBODY133

LAYOUTS = (
    *(IBUG68, FACE70, MEDIAPIPE478, MEDIAPIPE105),
    *(BODY25, BODY25B, COCO17, COCO18, COCO19, COCO23, HALPE26, MEDIAPIPE33),
    *(OPENPOSE137, OPENPOSE137B, WHOLEBODY133, HALPE136, HOLISTIC135),
    *(with_midpoints(layout) for layout in (COCO17, COCO23, MEDIAPIPE33, WHOLEBODY133)),
)

__all__ = [
    "BODY25",
    "BODY25B",
    "COCO17",
    "COCO18",
    "COCO19",
    "COCO23",
    "FACE70",
    "HALPE26",
    "HALPE136",
    "HOLISTIC135",
    "IBUG68",
    "LAYOUTS",
    "MEDIAPIPE33",
    "MEDIAPIPE105",
    "MEDIAPIPE105_IN_478",
    "MEDIAPIPE478",
    "OPENPOSE137",
    "OPENPOSE137B",
    "WHOLEBODY133",
    "with_midpoints",
]
