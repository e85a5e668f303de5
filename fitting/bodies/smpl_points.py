"""Keypoints of licensed SMPL-family files by name: joints of the skeleton, and points found on the mesh itself.

No table of vertex numbers: nose, eyes, ears, toes, heels and finger tips are found on the mean body at rest by what
they are (the foremost of the face, the furthest along the last finger bone, ...), so that they hold for any mesh in
the format. Iris centres and the 51 + 17 landmarks of the face are in SMPL-X files.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from fitting.bodies.flame_embeddings import contour_of_rows, pinned
from fitting.bodies.keypoint_table import KeypointTable, TablePoint
from fitting.bodies.smpl_files import SmplArrays
from fitting.layouts import IBUG68
from fitting.types import Contour

_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_SIGN = {"left": 1.0, "right": -1.0}  # +x is the subject's left
TIP_VERTICES = 6
EYE_OUT, EYE_UP = 0.031, 0.032
"""Metres from the tip of the nose to a pupil, sideways and up, where the file has no eyes (means of adults)."""


def smpl_table(arrays: SmplArrays, joint_names: tuple[str, ...]) -> KeypointTable:
    """What of the named keypoints a licensed file has. `neck` and `mid_hip` are its joints, as SMPLify-X takes them."""
    mesh = _Mesh(arrays, joint_names)
    points = {"neck": mesh.joint("neck"), "mid_hip": mesh.joint("pelvis"), "head_top": mesh.head_top()}
    points["nose"] = mesh.nose()
    for side in ("left", "right"):
        points |= {f"{side}_{limb}": mesh.joint(f"{side}_{limb}") for limb in _LIMBS}
        points[f"{side}_mediapipe_hip"] = mesh.joint(f"{side}_hip")  # it sees hips higher than COCO's annotators
        points |= mesh.feet(side) | mesh.head_side(side)
        if f"{side}_index1" in joint_names:
            points |= mesh.hand(side)
    return KeypointTable(points | face_landmarks(arrays), face_contour(arrays))


def face_landmarks(arrays: SmplArrays) -> dict[str, TablePoint]:
    """iBUG's 51 fixed points of the face, where the file has them."""
    if "lmk_faces_idx" not in arrays.extras:
        return {}
    triangles, shares = (np.asarray(arrays.extras[f"lmk_{key}"]) for key in ("faces_idx", "bary_coords"))
    vertices, weights = pinned(triangles.reshape(-1), shares, arrays.faces, arrays.path)
    rows = zip(IBUG68.point_names[17:], vertices.numpy(), weights.numpy(), strict=True)
    return {name: TablePoint(corners, share) for name, corners, share in rows}


def face_contour(arrays: SmplArrays) -> Contour | None:
    """The sliding jaw line, where the file has it."""
    keys = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    if any(key not in arrays.extras for key in keys):
        return None
    tables = (np.asarray(arrays.extras[keys[0]]), np.asarray(arrays.extras[keys[1]]))
    return contour_of_rows(tables, arrays.faces, arrays.path)


class _Mesh:
    """The mean body at rest, and whose vertices are whose."""

    def __init__(self, arrays: SmplArrays, joint_names: tuple[str, ...]) -> None:
        self.vertices = np.asarray(arrays.v_template, dtype=np.float64)
        self.joints = np.asarray(arrays.J_regressor, dtype=np.float64) @ self.vertices
        self.names = joint_names
        self.owner = np.asarray(arrays.weights).argmax(axis=1)

    def place(self, joint: str) -> Float[np.ndarray, " 3"]:
        return self.joints[self.names.index(joint)]

    def joint(self, joint: str) -> TablePoint:
        return TablePoint(np.zeros(1, dtype=np.int64), np.ones(1), self.names.index(joint))

    def of(self, *joints: str) -> Bool[np.ndarray, " vertices"]:
        return np.isin(self.owner, [self.names.index(name) for name in joints if name in self.names])

    def furthest(
        self, among: Bool[np.ndarray, " vertices"], direction: Float[np.ndarray, " 3"], count: int = 1
    ) -> TablePoint:
        ids = np.flatnonzero(among)
        reach = self.vertices[ids] @ direction
        picked = np.sort(ids[np.argsort(-reach, kind="stable")[:count]])
        return TablePoint(picked, np.full(len(picked), 1 / len(picked)))

    def nearest(self, among: Bool[np.ndarray, " vertices"], place: np.ndarray) -> TablePoint:
        ids = np.flatnonzero(among)
        return TablePoint(ids[[np.linalg.norm(self.vertices[ids] - place, axis=1).argmin()]], np.ones(1))

    def head(self) -> Bool[np.ndarray, " vertices"]:
        """Skin of the head: SMPL-X has eyeballs of their own."""
        return self.of("head", "jaw")

    def head_top(self) -> TablePoint:
        return self.furthest(self.head(), np.array([0.0, 1.0, 0.0]))

    def nose(self) -> TablePoint:
        middle = np.abs(self.vertices[:, 0] - self.place("head")[0]) < 0.02
        return self.furthest(self.head() & middle, np.array([0.0, 0.0, 1.0]))

    def head_side(self, side: str) -> dict[str, TablePoint]:
        """Pupil and ear."""
        nose = self.vertices[self.nose().vertices[0]]
        ball = self.of(f"{side}_eye_smplhf")
        out = np.array([_SIGN[side], 0.0, 0.0])
        if ball.any():
            eye = self.furthest(ball, np.array([0.0, 0.0, 1.0]))
        else:
            across = np.abs(self.vertices[:, :2] - (nose + EYE_OUT * out + [0, EYE_UP, 0])[:2])
            eye = self.furthest(self.head() & (np.linalg.norm(across, axis=1) < 0.006), np.array([0.0, 0.0, 1.0]))
        level = np.abs(self.vertices[:, 1] - (nose[1] + 0.5 * EYE_UP)) < 0.03
        found = {f"{side}_eye": eye, f"{side}_ear": self.furthest(self.head() & level, out)}
        return found | {f"{side}_pupil": eye} if ball.any() else found

    def feet(self, side: str) -> dict[str, TablePoint]:
        """Big toe: the foremost of the foot's inner third; small toe: the furthest out and forwards; heel: the
        hindmost below the ankle."""
        toes = self.of(f"{side}_foot")
        x = _SIGN[side] * self.vertices[:, 0]
        inner = toes & (x < np.quantile(x[toes], 0.35))
        forward, outward = np.array([0.0, 0.0, 1.0]), np.array([_SIGN[side], 0.0, 0.0])
        sole = self.of(f"{side}_ankle", f"{side}_foot") & (self.vertices[:, 1] < self.place(f"{side}_ankle")[1])
        return {
            f"{side}_big_toe": self.furthest(inner, forward),
            f"{side}_small_toe": self.furthest(toes, 0.9 * outward + 0.44 * forward),
            f"{side}_heel": self.furthest(sole, -forward),
        }

    def hand(self, side: str) -> dict[str, TablePoint]:
        """21 of a hand: the wrist, three joints a finger, and its tip."""
        points = {f"{side}_hand_root": self.joint(f"{side}_wrist")}
        for finger in _FINGERS:
            points |= {f"{side}_{finger}_{k}": self.joint(f"{side}_{finger}{k}") for k in (1, 2, 3)}
            bone = self.place(f"{side}_{finger}3") - self.place(f"{side}_{finger}2")
            points[f"{side}_{finger}_4"] = self.furthest(self.of(f"{side}_{finger}3"), bone, TIP_VERTICES)
        return points
