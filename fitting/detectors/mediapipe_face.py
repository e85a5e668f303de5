"""Pictures -> MediaPipe's 478 landmarks of every person in them, one row per picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.detectors.backends import Backend, Image, Proposal, open_backend
from fitting.detectors.looks import Face, find, follow, turned
from fitting.detectors.options import DetectorOptions
from fitting.layouts import MEDIAPIPE478
from fitting.layouts.persons import box_of, gather, longest_lived, overlaps, persons_in_clip, persons_in_photos
from fitting.types import NoPersonError, Observations, Pictures


@dataclass(frozen=True)
class _Limits:
    """What is believed: the rms disagreement of the looks in face extents, and the turn to the side in degrees.

    Measured: 0.3-0.9 % on faces up to three quarters, 1.1 % on one of 30 pixels with ski goggles; 1.1-2.9 % on a
    profile (60 degrees), whose landmarks are wrong on the far side.
    """

    spread: float
    degrees: float


_NEW, _FOLLOWED = _Limits(0.015, 50.0), _Limits(0.025, 70.0)
_SURE = 0.01  # spread up to which the confidence is 1
_SAME_FACE = 0.3  # overlap of two boxes on one face
_SEARCH_EVERY = 10  # frames of a clip with nobody in it between thorough searches


@dataclass(frozen=True)
class _Sighting:
    face: Face
    head_matrix: Float[np.ndarray, "4 4"]

    @property
    def box(self) -> Float[np.ndarray, " 4"]:
        return box_of(self.face.points)


def detect(pictures: Pictures, options: DetectorOptions | None = None) -> list[Observations]:
    """One record per person, from left to right, each with a row for every picture.

    Photos: person k is a picture's k-th face from the left. Clips: followed by overlap. Raises NoPersonError where
    there is no face in the whole input, DependencyError without MediaPipe.
    """
    options = options or DetectorOptions()
    backend = open_backend(options.task_file, options.min_confidence)
    try:
        sightings = list(_sightings(pictures, backend, options))
    finally:
        backend.close()
    boxes = [np.array([s.box for s in frame]).reshape(-1, 4) for frame in sightings]
    if pictures.is_clip:
        rows = longest_lived(persons_in_clip(boxes, options.max_gap), options.max_persons)
    else:
        rows = persons_in_photos(boxes)
    if not len(rows):
        raise NoPersonError(
            f"{pictures.source}: no face found in {len(pictures)} picture(s); it needs a face seen from the front to "
            "three quarters, upright, 30 pixels or more; crop or turn the picture, lower `min_confidence`, "
            "or give a landmark file"
        )
    return _observations(pictures, sightings, rows)


def _sightings(pictures: Pictures, backend: Backend, options: DetectorOptions) -> Iterator[list[_Sighting]]:
    """The faces of every picture in turn; in a clip those of the last frame are looked for where they were."""
    last: list[_Sighting] = []
    empty = 0  # frames since the last with a face
    for k, image in enumerate(pictures.read()):
        thorough = not pictures.is_clip or (not last and empty % _SEARCH_EVERY == 0)
        last = _faces_of(image, last if pictures.is_clip else [], backend, options, thorough)
        empty = 0 if last else empty + 1
        if options.progress:
            options.progress(k + 1, len(pictures))
        yield last


def _faces_of(
    image: Image, before: list[_Sighting], backend: Backend, options: DetectorOptions, thorough: bool
) -> list[_Sighting]:
    """Those of `before` that are still there, then new ones, largest first."""
    proposals = sorted(backend.propose(image, thorough), key=lambda p: p.box[0] - p.box[2])
    # Some more than asked for are followed through a clip, so that those who stay longest can be chosen.
    room = options.max_persons + (2 if before else 0)
    faces: list[Face] = []
    for sighting in before:
        _add(follow(image, sighting.face.points, backend), _FOLLOWED, faces)
    for proposal in proposals:
        if len(faces) < room and not _is_among(proposal.box, faces):
            _add(find(image, proposal.box, backend), _NEW, faces)
    return [_Sighting(face, _matrix_of(face, proposals)) for face in faces]


def _add(face: Face | None, limits: _Limits, faces: list[Face]) -> None:
    """To `faces`, if it is believable and not there yet."""
    if face is None or face.spread > limits.spread or abs(turned(face.points)) > limits.degrees:
        return
    if not _is_among(box_of(face.points), faces):
        faces.append(face)


def _is_among(box: Float[np.ndarray, " 4"], faces: list[Face]) -> bool:
    return any(overlaps(box[None], box_of(face.points)[None]).item() > _SAME_FACE for face in faces)


def _matrix_of(face: Face, proposals: list[Proposal]) -> Float[np.ndarray, "4 4"]:
    """The head matrix of the proposal on this face; NaN where there is none."""
    for proposal in proposals:
        if proposal.head_matrix is not None and _is_among(proposal.box, [face]):
            return proposal.head_matrix
    return np.full((4, 4), np.nan)


def _observations(
    pictures: Pictures, sightings: list[list[_Sighting]], rows: Int[np.ndarray, "persons frames"]
) -> list[Observations]:
    faces = [[s.face for s in frame] for frame in sightings]
    points = gather(rows, [[f.points for f in frame] for frame in faces], (478, 2))
    confidence = np.nan_to_num(gather(rows, [[min(1.0, _SURE / f.spread) for f in frame] for frame in faces], ()))
    has_scores = any(f.blendshapes is not None for frame in faces for f in frame)
    blendshapes = gather(rows, [[f.blendshapes for f in frame] for frame in faces], (52,)) if has_scores else None
    matrices = gather(rows, [[s.head_matrix for s in frame] for frame in sightings], (4, 4)) if has_scores else None
    return [
        Observations(
            person=f"{k:03d}",
            layout=MEDIAPIPE478,
            keypoints=np.nan_to_num(points[k]),
            confidence=np.repeat(confidence[k][:, None], len(MEDIAPIPE478), axis=1),
            names=pictures.names,
            image_sizes=pictures.image_sizes,
            is_clip=pictures.is_clip,
            fps=pictures.fps,
            timestamps=pictures.timestamps,
            focal_hints=pictures.focal_hints,
            pictures=pictures,
            blendshapes=None if blendshapes is None else blendshapes[k],
            head_matrix=None if matrices is None else matrices[k],
        )
        for k in range(len(rows))
    ]
