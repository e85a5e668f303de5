"""Pictures in, keypoints out."""

from fitting.detectors.mediapipe_face import DetectorOptions, detect

__all__ = ["DetectorOptions", "detect"]
