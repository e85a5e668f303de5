"""MediaPipe's two programming interfaces behind one: the models inside the 0.10.21 wheel, or a .task file.

Both are asked for single pictures only. Their tracking modes are faster but worse: on a photograph moved by known
motions the legacy tracker's landmarks scatter by 0.9 % of the eye distance and the Tasks API's, which smooths, lag
by 0.1 frame and scatter by 2.3 %; the looks of `looks.py` scatter by 0.2 % and do not lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from fitting.detectors.quiet import quiet
from fitting.layouts.persons import box_of
from fitting.types import DependencyError, InputError

Image = UInt8[np.ndarray, "height width 3"]
WARM_UP = np.zeros((64, 64, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Mesh:
    """One face as a model saw it, in the pixels of the picture it was shown (centres at integers)."""

    points: Float[np.ndarray, "478 2"]
    blendshapes: Float[np.ndarray, " 52"] | None = None
    head_matrix: Float[np.ndarray, "4 4"] | None = None  # canonical face (cm, y up) to a camera of this picture


@dataclass(frozen=True)
class Proposal:
    """Where a face may be: (left, top, right, bottom), pixels. The head's matrix is told by the whole picture only."""

    box: Float[np.ndarray, " 4"]
    head_matrix: Float[np.ndarray, "4 4"] | None = None


@runtime_checkable
class Backend(Protocol):
    def propose(self, image: Image, thorough: bool) -> list[Proposal]:
        """`thorough`: small faces are worth some time."""
        ...

    def meshes(self, image: Image) -> list[Mesh]:
        """Faces that fill a good part of the picture."""
        ...

    def close(self) -> None: ...


def open_backend(task_file: Path | None, min_confidence: float) -> Backend:
    """The Tasks API where a .task file is given, else the models in the wheel. Raises DependencyError, InputError."""
    mediapipe = load_mediapipe()
    if task_file is not None:
        return TasksBackend(mediapipe, Path(task_file), min_confidence)
    require_models(mediapipe, "Google's face_landmarker.task")
    return LegacyBackend(mediapipe, min_confidence)


class LegacyBackend:
    """`mp.solutions`: full-range BlazeFace for where, FaceMesh with attention for what."""

    def __init__(self, mediapipe: ModuleType, min_confidence: float) -> None:
        with quiet():
            self._finder = _full_range(mediapipe, min_confidence)
            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=3, refine_landmarks=True, min_detection_confidence=min_confidence
            )
            self._mesh.process(WARM_UP)  # threads that load the networks still write after the constructor returned
            self._finder.process(WARM_UP)

    def propose(self, image: Image, thorough: bool) -> list[Proposal]:
        return [Proposal(box) for box in _found_boxes(self._finder, image)]

    def meshes(self, image: Image) -> list[Mesh]:
        with quiet():
            found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        return [Mesh(_pixels(face.landmark, image)) for face in found]

    def close(self) -> None:
        with quiet():
            self._finder.close()
            self._mesh.close()


class TasksBackend:
    """`mp.tasks` FaceLandmarker: blendshapes and head matrices too. Small faces are searched for in tiles."""

    def __init__(self, mediapipe: ModuleType, task_file: Path, min_confidence: float) -> None:
        if not task_file.is_file() or task_file.stat().st_size == 0:
            found = "an empty file" if task_file.is_file() else "no such file"
            raise InputError(f"task_file: {task_file}: {found}; download face_landmarker.task again")
        vision = mediapipe.tasks.vision
        options = vision.FaceLandmarkerOptions(
            # As bytes: a path is resolved against the package's folder on some systems.
            base_options=mediapipe.tasks.BaseOptions(model_asset_buffer=task_file.read_bytes()),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=10,
            min_face_detection_confidence=min_confidence,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._mediapipe = mediapipe
        try:
            with quiet():
                self._landmarker = vision.FaceLandmarker.create_from_options(options)
                self.meshes(WARM_UP)
        except (RuntimeError, ValueError) as error:
            size = task_file.stat().st_size
            raise InputError(f"task_file: {task_file} ({size} bytes): not a face landmarker: {error}") from error

    def propose(self, image: Image, thorough: bool) -> list[Proposal]:
        found = [Proposal(box_of(mesh.points), mesh.head_matrix) for mesh in self.meshes(image)]
        for left, top, side in tiles(image.shape[1], image.shape[0]) if thorough else ():
            tile = self.meshes(image[top : top + side, left : left + side])
            found += [Proposal(box_of(mesh.points) + (left, top, left, top)) for mesh in tile]
        return found

    def meshes(self, image: Image) -> list[Mesh]:
        with quiet():
            picture = self._mediapipe.Image(
                image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
            )
            found = self._landmarker.detect(picture)
        return [
            Mesh(_pixels(face, image), np.array([b.score for b in blend]), np.asarray(matrix, dtype=np.float64))
            for face, blend, matrix in zip(
                found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True
            )
        ]

    def close(self) -> None:
        with quiet():
            self._landmarker.close()


def tiles(width: int, height: int) -> list[tuple[int, int, int]]:
    """(left, top, side) of squares that overlap by half, a half and a third of the longer side of the picture.

    A short-range detector misses faces below a tenth of the picture; in these one of a thirtieth is found.
    """
    found = []
    for part in (2, 3):
        side = max(width, height) // part
        if side < 48:
            continue
        lefts = range(0, max(width - side // 2, 1), side // 2)
        tops = range(0, max(height - side // 2, 1), side // 2)
        found += [(min(x, max(width - side, 0)), min(y, max(height - side, 0)), side) for y in tops for x in lefts]
    return sorted(set(found), key=lambda t: (-t[2], t[1], t[0]))


def load_mediapipe() -> ModuleType:
    """Raises DependencyError where it is not installed, or does not load."""
    try:
        with quiet():
            import mediapipe
    except ImportError as error:
        raise DependencyError(
            f"finding people in pictures needs MediaPipe, which does not load ({error}): pip install mediapipe "
            "(0.10.21 carries its models); landmark files (.npy, .pts, .csv, .npz, ...) work without"
        ) from error
    return mediapipe


def require_models(mediapipe: ModuleType, task_file: str) -> None:
    """Raises DependencyError for a MediaPipe that needs files of its own."""
    if not hasattr(mediapipe, "solutions"):
        raise DependencyError(
            f"MediaPipe {getattr(mediapipe, '__version__', '')} carries no models: give `task_file` ({task_file}), "
            "or on Python < 3.13 pip install mediapipe==0.10.21; "
            "landmark files (.npy, .pts, .csv, .npz, .json, ...) work without"
        )


def _full_range(mediapipe: ModuleType, min_confidence: float) -> Any:
    """BlazeFace for faces up to 5 m away: it finds what FaceMesh's own short-range detector (2 m) does not."""
    return mediapipe.solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=min_confidence)


def _found_boxes(finder: Any, image: Image) -> list[Float[np.ndarray, " 4"]]:
    with quiet():
        found = finder.process(np.ascontiguousarray(image)).detections or []
    height, width = image.shape[:2]
    boxes = [d.location_data.relative_bounding_box for d in found]
    corners = [(b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height) for b in boxes]
    return [np.array(c) * (width, height, width, height) - 0.5 for c in corners]


def _pixels(landmarks: Any, image: Image) -> Float[np.ndarray, "478 2"]:
    """MediaPipe's fractions count from the picture's edge, half a pixel before the centre of the first.

    Measured on the crops of `looks.py` (256 pixels) by mirroring them: 0.37 pixels, not 0.5; the 0.13 are 0.1 % of the
    face's extent.
    """
    height, width = image.shape[:2]
    return np.array([(p.x * width, p.y * height) for p in landmarks]) - 0.5
