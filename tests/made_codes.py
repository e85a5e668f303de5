"""A FLAME file filled with the open head, a clip on it, and what regressors would have left of it on the disk.

The writers here follow the descriptions of the formats and share nothing with Keyfit's own readers and writers: plain
numpy, pickle, json and torch.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse

from fitting.bodies.flame_files import FlameArrays, read_flame
from fitting.layouts import MEDIAPIPE105_IN_478
from fitting.places import models

SIZE, FOCAL = (640, 480), 900.0


def flame_shelf(folder: Path, name: str = "FLAME2020/generic_model.pkl", change: dict | None = None) -> Path:
    """`folder`/name in FLAME's pickle format, 300 + 100 directions, with both landmark embeddings; returns the file."""
    head = read_flame(models() / "open_head.npz")
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    shapedirs = np.zeros((len(head.v_template), 3, 400))
    shapedirs[..., : head.identity_dirs.shape[2]] = head.identity_dirs
    shapedirs[..., 300 : 300 + head.expression_dirs.shape[2]] = head.expression_dirs
    arrays = {
        "v_template": head.v_template,
        "f": head.faces.astype(np.uint32),
        "shapedirs": shapedirs,
        "posedirs": np.zeros((len(head.v_template), 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(head.J_regressor),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "weights": head.weights,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        **(change or {}),
    }
    file.write_bytes(pickle.dumps(arrays, protocol=2))
    np.savez(file.parent / "mediapipe_landmark_embedding.npz", **mediapipe_embedding(head))
    np.save(file.parent / "landmark_embedding.npy", np.array(ibug_embedding(head), dtype=object), allow_pickle=True)
    return file


def triangle_places(head: FlameArrays, vertices: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three vertices and weights each as FLAME's files say it: a triangle's number, weights in its own order."""
    number = {tuple(sorted(face)): k for k, face in enumerate(head.faces.tolist())}
    faces = np.array([number[tuple(sorted(v))] for v in vertices.reshape(-1, 3).tolist()])
    ordered = [
        [dict(zip(v, w, strict=True))[c] for c in head.faces[f].tolist()]
        for f, v, w in zip(faces, vertices.reshape(-1, 3).tolist(), weights.reshape(-1, 3).tolist(), strict=True)
    ]
    return faces.reshape(vertices.shape[:-1]), np.array(ordered).reshape(vertices.shape)


def mediapipe_embedding(head: FlameArrays) -> dict[str, np.ndarray]:
    place = {int(p): k for k, p in enumerate(head.extras["mediapipe478_points"])}
    rows = [place[index] for index in MEDIAPIPE105_IN_478]
    faces, weights = triangle_places(
        head, head.extras["mediapipe478_vertices"][rows], head.extras["mediapipe478_weights"][rows]
    )
    return {
        "lmk_face_idx": faces.astype(np.uint32),
        "lmk_b_coords": weights,
        "landmark_indices": np.array(MEDIAPIPE105_IN_478),
    }


def ibug_embedding(head: FlameArrays) -> dict[str, np.ndarray]:
    """Rows 0..39 for yaws 0..39, rows 40..78 for -1..-39, each the open head's nearest row."""
    static = triangle_places(head, head.extras["ibug68_static_vertices"], head.extras["ibug68_static_weights"])
    yaws = np.array([*range(40), *range(-1, -40, -1)])
    rows = np.abs(head.extras["ibug68_contour_yaw"][None] - yaws[:, None]).argmin(axis=1)
    dynamic = triangle_places(
        head, head.extras["ibug68_contour_vertices"][rows], head.extras["ibug68_contour_weights"][rows]
    )
    return {
        "static_lmk_faces_idx": static[0],
        "static_lmk_bary_coords": static[1],
        "dynamic_lmk_faces_idx": dynamic[0],
        "dynamic_lmk_bary_coords": dynamic[1],
    }


# ------------------------------------------------------------------ a clip and its codes


@dataclass(frozen=True)
class Clip:
    """True parameters of a talking head, (frames, size) each, axis-angle; a camera that looks at it."""

    betas: np.ndarray
    expression: np.ndarray
    global_orient: np.ndarray
    jaw_pose: np.ndarray
    transl: np.ndarray

    def __len__(self) -> int:
        return len(self.transl)


def made_clip(frames: int, seed: int = 0, betas: int = 100, expressions: int = 50) -> Clip:
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 25

    def wave(size: int, scale: float, slowest: float = 5.0) -> np.ndarray:
        turns = 2 * np.pi * (time / rng.uniform(1, slowest, size) + rng.uniform(0, 1, size))
        return scale * np.sin(turns)

    jaw = np.concatenate([0.1 + wave(1, 0.1, 2), wave(2, 0.01)], axis=1)
    return Clip(
        betas=np.tile(rng.normal(0, 0.7, betas), (frames, 1)),
        expression=np.abs(wave(expressions, 0.3)),
        global_orient=wave(3, 0.15),
        jaw_pose=jaw,
        transl=wave(3, 0.02) + [0.02, -0.03, -0.9],
    )


def rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, one axis-angle vector."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


# ------------------------------------------------------------------ EMOCA


def write_emoca(results: Path, clip: Clip, missing: set[int] = frozenset(), second: set[int] = frozenset()) -> None:
    """Folders <frame from 1>_<person>; frames in `missing` (from 0) have none, those in `second` have two."""
    results.mkdir(parents=True, exist_ok=True)
    pose = np.concatenate([clip.global_orient, clip.jaw_pose], axis=1).astype(np.float32)
    for k in range(len(clip)):
        if k in missing:
            continue
        for person in range(2 if k in second else 1):
            folder = results / f"{k + 1:06d}_{person:03d}"
            folder.mkdir()
            sign = 1 if person == 0 else -1
            np.save(folder / "shape.npy", sign * clip.betas[k].astype(np.float32))
            np.save(folder / "exp.npy", sign * clip.expression[k].astype(np.float32))
            np.save(folder / "pose.npy", sign * pose[k])


def write_bboxes(path: Path, crops: list[list[tuple[float, float, float]]]) -> None:
    """detections/bboxes.pkl: five pickles in one file; names are paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [[Path("detections") / f"{k + 1:06d}_{p:03d}.png" for p in range(len(f))] for k, f in enumerate(crops)]
    centres = [[np.array([x, y]) for x, y, _ in frame] for frame in crops]
    sides = [[int(side) for _, _, side in frame] for frame in crops]
    with path.open("wb") as stream:
        for part in (names, centres, sides, len(crops) - 1, names):
            pickle.dump(part, stream)
