"""EMOCA's folders: <frame>_<person>/ with shape.npy (100), exp.npy (50), pose.npy (6: global, jaw), tex.npy (50).

Frames count from 1; a frame without a face has no folder; two faces are _000 and _001. There is no camera: the crop of
detections/bboxes.pkl tells where the face is, or else the landmarks of the video do. Images have their names instead of
numbers. Shape, head, jaw and camera are DECA's, only the expression is EMOCA's own: FLAME 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.codes.code_folders import FaceFolder, ReadFace, Vectors, find_faces, is_video, read_crops, read_faces
from fitting.codes.frames import Frame, numbered, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source
from fitting.track import Track

FORMAT = "EMOCA folder"
MODEL = "flame2020"
MARK = "exp.npy"


def accepts(source: Source) -> bool:
    return source.path.is_dir() and bool(_folders(source.path))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person. Raises InputError that names the file which is empty, damaged or of another size."""
    faces = _folders(source.path)
    tracks = tracks_of(faces, read_face, MODEL, FORMAT)
    return [replace(t, notes=(*t.notes, PERSONS)) for t in tracks] if len(tracks) > 1 else tracks


PERSONS = (
    "persons are told apart by the number of the face in its frame, as the program gave it: it may change in a clip"
)


def _folders(path: Path) -> list[FaceFolder]:
    faces = find_faces(path, MARK)
    return faces if faces and (faces[0].path / "pose.npy").is_file() else []


def read_face(folder: Path, vectors: Vectors) -> Frame:
    pose = vectors.read(folder / "pose.npy", 6)
    return Frame(
        {
            "betas": vectors.read(folder / "shape.npy", 100),
            "expression": vectors.read(folder / MARK, 50),
            "global_orient": pose[:3],
            "jaw_pose": pose[3:],
        },
        extras=extras(folder, vectors, {"tex": ("tex.npy", 50)}),
    )


def extras(folder: Path, vectors: Vectors, files: Mapping[str, tuple[str, int]]) -> dict[str, np.ndarray]:
    """Those of the files that are there: name in the track, file, numbers."""
    there = {name: (folder / file, size) for name, (file, size) in files.items() if (folder / file).is_file()}
    return {name: vectors.read(path, size) for name, (path, size) in there.items()}


def tracks_of(faces: list[FaceFolder], read: ReadFace, model: str, format: str) -> list[Track]:
    """Frames of every person in order, with the crops that lie beside them."""
    people = read_faces(faces, read)
    if not is_video(faces):
        return [
            replace(stack(list(f.values()), list(f), model, format), match="name", person=f"{p:03d}")
            for p, f in people.items()
        ]
    crops = read_crops(faces[0].path.parent)
    last = max(int(face.frame) for face in faces)
    found = []
    for person, by_name in people.items():
        frames = {int(name): frame for name, frame in by_name.items()}
        if crops and all((number, person) in crops for number in frames):
            frames = {n: replace(f, crop=crops[n, person]) for n, f in frames.items()}
        track = numbered(frames, model, format, first=1)
        found.append(replace(padded(track, last), person=f"{person:03d}"))
    return found


def padded(track: Track, count: int) -> Track:
    """Rows without codes at the end, so that all persons have as many."""
    rows = [*range(len(track)), *[-1] * (count - len(track))]
    longer = track.take(np.array(rows))
    return replace(longer, names=tuple(f"{k:06d}" for k in range(count)))
