"""What a detector may be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DetectorOptions:
    max_persons: int = 5
    """At most so many: the largest people of a photo, the persons of a clip who are there longest."""
    parts: Literal["face", "body"] = "face"
    """Faces in 478 points, or whole people in `holistic135`."""
    task_file: Path | None = None
    """MediaPipe's face_landmarker.task: gives blendshapes and head matrices. For bodies pose_landmarker.task, or a
    folder with it and those of hand and face. Without, the models in the wheel."""
    min_confidence: float = 0.5
    """What MediaPipe's detector must be sure of, 0..1."""
    max_gap: int = 60
    """A person of a clip who was away for more frames than this comes back as another."""
    progress: Callable[[int, int], None] | None = None
    """Called after every picture with how many are done, and how many there are."""
