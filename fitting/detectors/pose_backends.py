"""MediaPipe's two programming interfaces for bodies behind one: the models in the 0.10.21 wheel, or .task files.

Both are asked for single pictures only, as for faces. On four photographs moved by known motions, the tracking mode of
Holistic lags by 0.4-1.1 frames and scatters by 1.1-1.7 % of the person's size; single pictures by 0.6-1.0 %, and the
two looks of `body_looks.py` by 0.4-0.7 %, without lag.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from fitting.detectors.backends import WARM_UP, Image, load_mediapipe, require_models
from fitting.detectors.crops import Look, cut, square_at
from fitting.detectors.quiet import quiet
from fitting.types import InputError

_MISSING_HANDS = np.full((2, 21, 2), np.nan)
# Places in the pose: wrist, and the knuckles of index and little finger, left and right.
_WRISTS, _KNUCKLES = (15, 16), ((17, 19), (18, 20))


@dataclass(frozen=True)
class Parts:
    """One person as the models saw them, in the pixels of the picture they were shown (centres at integers)."""

    pose: Float[np.ndarray, "33 3"]  # x, y, visibility
    hands: Float[np.ndarray, "2 21 2"]  # the subject's left and right; NaN where not found


@runtime_checkable
class PoseBackend(Protocol):
    def people(self, image: Image) -> list[Parts]: ...

    def close(self) -> None: ...


def open_pose_backend(task_file: Path | None, min_confidence: float) -> PoseBackend:
    """The Tasks API where .task files are given, else the models in the wheel. Raises DependencyError, InputError."""
    mediapipe = load_mediapipe()
    if task_file is not None:
        return TasksPose(mediapipe, task_bundles(Path(task_file)), min_confidence)
    require_models(mediapipe, "a folder with pose_landmarker.task, hand_landmarker.task and face_landmarker.task")
    return LegacyPose(mediapipe, min_confidence)


def task_bundles(path: Path) -> dict[str, Path]:
    """pose, hand, face -> the .task file of it: of a folder, or a file and those beside it. Known by what is inside.

    Raises InputError where there is no pose.
    """
    found: dict[str, Path] = {}
    for bundle in [path, *sorted((path if path.is_dir() else path.parent).glob("*.task"))]:
        if not bundle.is_file() or not zipfile.is_zipfile(bundle):
            continue
        with zipfile.ZipFile(bundle) as archive:
            inside = archive.namelist()
        for kind in ("pose", "hand", "face"):
            if f"{kind}_detector.tflite" in inside:
                found.setdefault(kind, bundle)
    if "pose" not in found:
        others = ", ".join(sorted(p.name for p in found.values())) or "its .task files"
        raise InputError(
            f"task_file: {path}: no pose among {others}: "
            "give Google's pose_landmarker.task, with hand_landmarker.task and face_landmarker.task beside it"
        )
    return found


class LegacyPose:
    """`mp.solutions` Holistic, one person a picture. Complexity 1 is the only one whose model is in the wheel."""

    def __init__(self, mediapipe: ModuleType, min_confidence: float) -> None:
        with quiet():
            self._holistic = mediapipe.solutions.holistic.Holistic(
                static_image_mode=True, model_complexity=1, min_detection_confidence=min_confidence
            )
            self._holistic.process(WARM_UP)

    def people(self, image: Image) -> list[Parts]:
        with quiet():
            found = self._holistic.process(np.ascontiguousarray(image))
        if not found.pose_landmarks:
            return []
        hands = [
            _pixels(hand.landmark, image)[:, :2] if hand else _MISSING_HANDS[0]
            for hand in (found.left_hand_landmarks, found.right_hand_landmarks)
        ]
        return [Parts(_pixels(found.pose_landmarks.landmark, image), np.stack(hands))]

    def close(self) -> None:
        with quiet():
            self._holistic.close()


class TasksPose:
    """`mp.tasks` PoseLandmarker, several people a picture, and HandLandmarker on what is round their wrists."""

    def __init__(self, mediapipe: ModuleType, bundles: dict[str, Path], min_confidence: float) -> None:
        vision = mediapipe.tasks.vision
        self._mediapipe = mediapipe
        pose_options = partial(vision.PoseLandmarkerOptions, num_poses=5, min_pose_detection_confidence=min_confidence)
        self._pose = _open(mediapipe, vision.PoseLandmarker, pose_options, bundles["pose"])
        self._hand = None
        if "hand" in bundles:
            hand_options = partial(vision.HandLandmarkerOptions, num_hands=2)
            self._hand = _open(mediapipe, vision.HandLandmarker, hand_options, bundles["hand"])

    def people(self, image: Image) -> list[Parts]:
        found = self._detect(self._pose, image).pose_landmarks
        poses = [_pixels(pose, image) for pose in found]
        return [Parts(pose, np.stack([self._hand_of(image, pose, side) for side in (0, 1)])) for pose in poses]

    def close(self) -> None:
        with quiet():
            for model in (self._pose, self._hand):
                if model is not None:
                    model.close()

    def _hand_of(self, image: Image, pose: Float[np.ndarray, "33 3"], side: int) -> Float[np.ndarray, "21 2"]:
        """The hand that begins nearest to the wrist, within half a hand of it."""
        if self._hand is None:
            return _MISSING_HANDS[0]
        wrist, knuckles = pose[_WRISTS[side], :2], pose[list(_KNUCKLES[side]), :2].mean(axis=0)
        palm = max(float(np.linalg.norm(knuckles - wrist)), 4.0)
        square = square_at(wrist + 1.2 * (knuckles - wrist), 5 * palm, Look())
        crop = cut(image, square)
        found = [_pixels(hand, crop)[:, :2] for hand in self._detect(self._hand, crop).hand_landmarks]
        hands = [square.to_picture(hand) for hand in found]
        near = [hand for hand in hands if np.linalg.norm(hand[0] - wrist) < palm]
        return min(near, key=lambda hand: float(np.linalg.norm(hand[0] - wrist)), default=_MISSING_HANDS[0])

    def _detect(self, model: Any, image: Image) -> Any:
        with quiet():
            return model.detect(
                self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            )


def _open(mediapipe: ModuleType, model: Any, options: Callable[..., Any], bundle: Path) -> Any:
    try:
        with quiet():
            # As bytes: a path is resolved against the package's folder on some systems.
            base = mediapipe.tasks.BaseOptions(model_asset_buffer=bundle.read_bytes())
            return model.create_from_options(options(base_options=base))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"task_file: {bundle} ({bundle.stat().st_size} bytes) does not load: {error}") from error


def _pixels(landmarks: Any, image: Image) -> Float[np.ndarray, "points 3"]:
    """Fractions count from the picture's edge, half a pixel before the centre of the first."""
    height, width = image.shape[:2]
    return np.array([(p.x * width - 0.5, p.y * height - 0.5, p.visibility or 0.0) for p in landmarks])
