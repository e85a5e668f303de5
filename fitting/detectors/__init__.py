"""Pictures in, keypoints out."""

from __future__ import annotations

from fitting.detectors import mediapipe_body, mediapipe_face
from fitting.detectors.options import DetectorOptions
from fitting.types import Observations, Pictures

__all__ = ["DetectorOptions", "detect"]


def detect(pictures: Pictures, options: DetectorOptions | None = None) -> list[Observations]:
    """One record per person, from left to right, each with a row for every picture; faces or whole people, as
    `options.parts` says. Raises NoPersonError where nobody is found, DependencyError without MediaPipe."""
    options = options or DetectorOptions()
    module = mediapipe_body if options.parts == "body" else mediapipe_face
    return module.detect(pictures, options)
