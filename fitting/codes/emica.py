"""EMICA's folders (INFERNO): as EMOCA's, with shape.npy (300), exp.npy (100), globalpose.npy, jawpose.npy, cam.npy (3).

FLAME 2020, shape by MICA. `cam` is weak perspective in the crop of detections/bboxes.pkl.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fitting.codes.code_folders import FaceFolder, Vectors, find_faces
from fitting.codes.crops import crop_to_weak
from fitting.codes.emoca import MARK, MODEL, extras, tracks_of
from fitting.codes.frames import Frame
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source
from fitting.track import Track

FORMAT = "EMICA folder"
EXTRAS = {"cam": ("cam.npy", 3), "tex": ("tex.npy", 50), "light": ("lightcode.npy", 27)}


def accepts(source: Source) -> bool:
    return source.path.is_dir() and bool(_folders(source.path))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One track per person, with a camera in the full image where the crops are known. Raises InputError."""
    return [with_camera(track) for track in tracks_of(_folders(source.path), read_face, MODEL, FORMAT)]


def _folders(path: Path) -> list[FaceFolder]:
    faces = find_faces(path, MARK)
    return faces if faces and (faces[0].path / "globalpose.npy").is_file() else []


def read_face(folder: Path, vectors: Vectors) -> Frame:
    return Frame(
        {
            "betas": vectors.read(folder / "shape.npy", (300, 100)),
            "expression": vectors.read(folder / MARK, (100, 50)),
            "global_orient": vectors.read(folder / "globalpose.npy", 3),
            "jaw_pose": vectors.read(folder / "jawpose.npy", 3),
        },
        extras=extras(folder, vectors, EXTRAS),
    )


def with_camera(track: Track) -> Track:
    """Weak perspective in the full image, where both `cam` and the crop are known."""
    if track.crops is None or "cam" not in track.extras:
        return track
    return replace(track, weak=crop_to_weak(track.extras["cam"], track.crops))
