"""Pictures -> body, hands and face of every person in them by MediaPipe, one row per picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.detectors import looks
from fitting.detectors.backends import Backend, Image, open_backend
from fitting.detectors.body_looks import FEW_LOOKS, LOOKS, Body, is_head, look_at, visible_box, without_faces
from fitting.detectors.crops import Look, cut, square_at
from fitting.detectors.options import DetectorOptions
from fitting.detectors.pose_backends import PoseBackend, open_pose_backend, task_bundles
from fitting.layouts import HOLISTIC135
from fitting.layouts.mediapipe_parts import in_picture, join_parts
from fitting.layouts.persons import bodies_in_clip, body_boxes, gather, longest_lived, overlaps, persons_in_photos
from fitting.types import NoPersonError, Observations, Pictures

_SEARCH_EVERY = 10  # frames of a clip between searches for people who are not followed yet
_FEWEST = 3  # frames of a clip in which a person is seen: the network finds somebody in a shadow now and then
_SAME_BOX = 0.5  # overlap with the box of the frame before up to which that is used again
_HEAD = slice(0, 11)  # of the pose: nose, eyes, ears, mouth
_FACE_SPREAD, _FACE_DEGREES = 0.02, 50.0  # what is believed of a face: of a profile the far side is wrong
_SURE_FACE = 0.01  # spread of a face's looks up to which its confidence is 1


@dataclass(frozen=True)
class _Tools:
    poses: PoseBackend
    faces: Backend | None  # None: .task files without a face


@dataclass(frozen=True)
class _Sighting:
    body: Body
    points: Float[np.ndarray, "135 3"]  # of HOLISTIC135: pixels, confidence
    box: Float[np.ndarray, " 4"]  # where to look next


def detect(pictures: Pictures, options: DetectorOptions | None = None) -> list[Observations]:
    """One record per person, from left to right, each with a row for every picture.

    The pose network finds one person a picture. So people are looked for round their faces, each with the other
    faces painted over; somebody without a face that is found is found only where nobody else is.
    Photos: person k is a picture's k-th from the left. Clips: people are followed. Raises NoPersonError where nobody
    is found, DependencyError without MediaPipe.
    """
    options = options or DetectorOptions()
    with ExitStack() as stack:
        poses = stack.enter_context(closing(open_pose_backend(options.task_file, options.min_confidence)))
        face_file = None if options.task_file is None else task_bundles(options.task_file).get("face")
        faces = None
        if options.task_file is None or face_file is not None:
            faces = stack.enter_context(closing(open_backend(face_file, options.min_confidence)))
        found = [[s.points for s in frame] for frame in _sightings(pictures, _Tools(poses, faces), options)]
    frames = [np.array(people).reshape(-1, len(HOLISTIC135), 3) for people in found]
    if pictures.is_clip:
        rows = bodies_in_clip(frames, options.max_gap)
        rows = longest_lived(rows[(rows >= 0).sum(axis=1) >= min(_FEWEST, len(frames))], options.max_persons)
    else:
        rows = persons_in_photos([body_boxes(people) for people in frames])
    if not len(rows):
        raise NoPersonError(
            f"{pictures.source}: no person found in {len(pictures)} picture(s); it needs an upright person who takes "
            "up a good part of the picture; crop or turn the picture, lower `min_confidence`, or give a keypoint file"
        )
    return _observations(pictures, frames, rows)


def _sightings(pictures: Pictures, tools: _Tools, options: DetectorOptions) -> Iterator[list[_Sighting]]:
    last: list[_Sighting] = []
    for k, image in enumerate(pictures.read()):
        before = last if pictures.is_clip else []
        search = not before or k % _SEARCH_EVERY == 0
        faces = _faces(image, tools) if search or len(before) > 1 else []
        bodies = _followed(image, before, faces, tools)
        if search or len(bodies) < len(before):
            _search(image, bodies, faces or _faces(image, tools), tools, options, pictures.is_clip)
        points = (_points(image, body, tools, pictures.is_clip) for body in bodies)
        last = [_Sighting(b, p, _steady_box(b, before)) for b, p in zip(bodies, points, strict=True)]
        if options.progress:
            options.progress(k + 1, len(pictures))
        yield last


def _faces(image: Image, tools: _Tools) -> list[Float[np.ndarray, " 4"]]:
    """Boxes, the largest first."""
    proposals = tools.faces.propose(image, thorough=False) if tools.faces else []
    return sorted((p.box for p in proposals), key=lambda box: float(box[0] - box[2]))


def _followed(image: Image, before: list[_Sighting], faces: list[Float[np.ndarray, " 4"]], tools: _Tools) -> list[Body]:
    """Those who are still where they were a frame ago."""
    bodies: list[Body] = []
    for sighting in before:
        others = [face for face in faces if not is_head(face, sighting.body.pose)]
        _add(look_at(without_faces(image, others), sighting.box, tools.poses, FEW_LOOKS), bodies)
    return bodies


def _steady_box(body: Body, before: list[_Sighting]) -> Float[np.ndarray, " 4"]:
    """The box of the frame before while it still fits: a crop that jumps with every point that comes and goes makes
    all points jump. On clips/single_face.mp4 that doubled the second differences of the nose."""
    own = body.box[None]
    return next((s.box for s in before if overlaps(own, s.box[None]).item() > _SAME_BOX), body.box)


def _search(
    image: Image,
    bodies: list[Body],
    faces: list[Float[np.ndarray, " 4"]],
    tools: _Tools,
    options: DetectorOptions,
    is_clip: bool,
) -> None:
    """Adds the owners of faces that are nobody's yet; where there is nobody at all, whoever the picture shows."""
    wanted = FEW_LOOKS if is_clip else LOOKS
    for k, face in enumerate(faces):
        if len(bodies) >= options.max_persons or any(is_head(face, body.pose) for body in bodies):
            continue
        alone = without_faces(image, faces[:k] + faces[k + 1 :])
        box = _body_box(alone, face, tools.poses)
        if box is not None:
            _add(look_at(alone, box, tools.poses, wanted, face), bodies)
    for parts in tools.poses.people(image) if not bodies else ():
        box = visible_box(parts.pose, image)
        if box is not None and len(bodies) < options.max_persons:
            _add(look_at(image, box, tools.poses, wanted), bodies)


def _body_box(image: Image, face: Float[np.ndarray, " 4"], poses: PoseBackend) -> Float[np.ndarray, " 4"] | None:
    """Of whoever has this face: as seen in a square of eight faces that hangs from it, then in one round the body."""
    width = float((face[2:] - face[:2]).max())
    box = _seen_in(image, (face[:2] + face[2:]) / 2 + (0, 2.5 * width), 8 * width, poses)
    if box is None:
        return None
    return _seen_in(image, (box[:2] + box[2:]) / 2, 1.5 * float((box[2:] - box[:2]).max()), poses)


def _seen_in(
    image: Image, centre: Float[np.ndarray, " 2"], side: float, poses: PoseBackend
) -> Float[np.ndarray, " 4"] | None:
    """The box of the person in a square, in pixels of the picture."""
    square = square_at(centre, side, Look(), pixels=512)
    found = poses.people(cut(image, square))
    if not found:
        return None
    pose = np.column_stack([square.to_picture(found[0].pose[:, :2]), found[0].pose[:, 2]])
    return visible_box(pose, image)


def _add(body: Body | None, bodies: list[Body]) -> None:
    """To `bodies`, if it is not somebody there already."""
    if body is not None and not any(_is_same(body, other) for other in bodies):
        bodies.append(body)


def _is_same(a: Body, b: Body) -> bool:
    size = max(float((box[2:] - box[:2]).max()) for box in (a.box, b.box))
    return float(np.median(np.linalg.norm(a.pose[:, :2] - b.pose[:, :2], axis=-1))) < 0.1 * size


def _points(image: Image, body: Body, tools: _Tools, is_clip: bool) -> Float[np.ndarray, "135 3"]:
    """All parts in one layout; what lies outside of the picture is a guess of the network."""
    face = _face(image, body, tools, looks.LOOKS[:2] if is_clip else looks.LOOKS)
    points = join_parts(body.pose[None], (body.hands[:1], body.hands[1:]), face[None])[0]
    fractions = (points[:, :2] + 0.5) / (image.shape[1], image.shape[0])
    points[:, 2] = in_picture(np.column_stack([fractions, points[:, 2]]))
    return points


def _face(image: Image, body: Body, tools: _Tools, wanted: tuple[Look, ...]) -> Float[np.ndarray, "478 3"]:
    """The face on the body's head as `looks.py` finds it; NaN where there is none to be believed."""
    nothing = np.full((478, 3), np.nan)
    head = body.pose[_HEAD]
    if tools.faces is None or head[:, 2].mean() < 0.3:
        return nothing
    face = looks.find(image, np.concatenate([head[:, :2].min(axis=0), head[:, :2].max(axis=0)]), tools.faces, wanted)
    if face is None or face.spread > _FACE_SPREAD or abs(looks.turned(face.points)) > _FACE_DEGREES:
        return nothing
    return np.column_stack([face.points, np.full(478, min(1.0, _SURE_FACE / face.spread))])


def _observations(
    pictures: Pictures, frames: list[Float[np.ndarray, "_ 135 3"]], rows: Int[np.ndarray, "persons frames"]
) -> list[Observations]:
    points = np.nan_to_num(gather(rows, frames, (len(HOLISTIC135), 3)))
    return [
        Observations(
            person=f"{k:03d}",
            layout=HOLISTIC135,
            keypoints=points[k, ..., :2],
            confidence=points[k, ..., 2],
            names=pictures.names,
            image_sizes=pictures.image_sizes,
            is_clip=pictures.is_clip,
            fps=pictures.fps,
            timestamps=pictures.timestamps,
            focal_hints=pictures.focal_hints,
            pictures=pictures,
        )
        for k in range(len(rows))
    ]
