"""iBUG's jaw line (points 0..16) on the open head, as it is seen at each yaw.

Annotators follow the visible edge of the face: on the side that turns away the outline against the background, on the
side that turns to the camera the edge of the jaw up to the front of the ear. Both are the outline of one thing, the
picture of the face region (forehead to chin, ear to ear) on the head. Points are spread evenly from the height of the
eyes on either side to the chin. Yaw is positive when the head turns to the subject's left.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.bodies.open_model.embedding import Placement
from fitting.bodies.open_model.mesh import HeadMesh
from fitting.bodies.open_model.render import FLIP, rotation
from fitting.camera import intrinsics
from fitting.render import raycast

YAW_DEGREES = np.arange(-45, 46, 5)
DISTANCE = 1.2
"""Metres from the camera: a usual portrait."""
PIXELS, SPAN = 900, 0.30
TOP = 0.0
"""Height of the ends of the jaw line: the eyes'."""


def contour_table(
    mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], face: Int[np.ndarray, " face"]
) -> tuple[Int[np.ndarray, " rows"], Placement]:
    """Yaw (R,) in degrees and surface points (R,17): rows of negative yaw mirror those of positive yaw."""
    rows = {}
    for yaw in YAW_DEGREES[YAW_DEGREES >= 0]:
        rows[yaw] = _jaw_line(mesh, template, face, float(yaw))
        rows[-yaw] = Placement(mesh.mirror[rows[yaw].vertices[::-1]], rows[yaw].weights[::-1])
    straight = rows[0]
    left = Placement(straight.vertices[8:], straight.weights[8:])
    rows[0] = Placement(
        np.concatenate([mesh.mirror[left.vertices[:0:-1]], left.vertices]),
        np.concatenate([left.weights[:0:-1], left.weights]),
    )
    ordered = [rows[yaw] for yaw in YAW_DEGREES]
    return YAW_DEGREES, Placement(np.stack([r.vertices for r in ordered]), np.stack([r.weights for r in ordered]))


def _jaw_line(
    mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], face: Int[np.ndarray, " face"], yaw: float
) -> Placement:
    """(17,) surface points at one yaw, in iBUG's order."""
    turn = rotation(0.0, np.radians(yaw), 0.0)
    middle = np.array([0.0, -0.03, 0.0])
    camera = (template - middle) @ (FLIP @ turn).T + [0, 0, DISTANCE]
    focal = PIXELS * DISTANCE / SPAN
    hits = raycast(camera, mesh.triangles, intrinsics(focal, (PIXELS, PIXELS)), (PIXELS, PIXELS))
    pixels = camera[:, :2] / camera[:, 2:] * focal + (PIXELS - 1) / 2
    inside = _face_picture(mesh, face, hits.triangle)
    chin = pixels[_chin(mesh, template, face)]
    top = (PIXELS - 1) / 2 - (TOP - middle[1]) / SPAN * PIXELS
    outline = _outline(inside, top)
    at = _evenly(outline, chin)
    column, row = np.round(at).astype(int).T
    share = np.clip(hits.barycentrics[row, column].astype(float), 0, None)
    return Placement(mesh.triangles[hits.triangle[row, column]], share / share.sum(axis=1, keepdims=True))


def _face_picture(
    mesh: HeadMesh, face: Int[np.ndarray, " face"], triangle: Int[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels that show the face region, eyes and mouth included."""
    of_face = np.zeros(mesh.vertex_count, dtype=bool)
    of_face[face] = True
    of_face[mesh.left_eyeball] = of_face[mesh.right_eyeball] = True
    for rings in (mesh.mouth, mesh.left_eye, mesh.right_eye):
        of_face[rings.vertices.ravel()] = True
    return (triangle >= 0) & of_face[mesh.triangles].all(axis=1)[triangle]


def _chin(mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], face: Int[np.ndarray, " face"]) -> int:
    """The vertex at the bottom of the chin: the midline's extreme halfway between down and forward."""
    middle = face[mesh.mirror[face] == face]
    below_lips = middle[template[middle, 1] < template[mesh.mouth.out(10), 1].min()]
    return int(below_lips[(template[below_lips, 2] - template[below_lips, 1]).argmax()])


def _outline(inside: Bool[np.ndarray, "height width"], top: float) -> Float[np.ndarray, "points 2"]:
    """Pixels of the outermost face pixel in each direction from the middle of the lower face, from the subject's
    right eye height round below the chin to the left eye height."""
    row, column = np.nonzero(inside)
    keep = row >= top
    row, column = row[keep], column[keep]
    centre = np.array([column.mean(), row.mean()])
    angle = np.arctan2(column - centre[0], row - centre[1])  # 0 is down, positive to the picture's right
    bins = np.round(np.degrees(angle) * 2).astype(int)
    radius = np.hypot(column - centre[0], row - centre[1])
    order = np.lexsort((radius, bins))
    last = np.append(np.flatnonzero(np.diff(bins[order])), len(order) - 1)
    points = np.stack([column[order[last]], row[order[last]]], axis=1).astype(float)
    ends = [np.flatnonzero(points[:, 1] <= top + 2)]
    left = ends[0][points[ends[0], 0] < centre[0]]
    right = ends[0][points[ends[0], 0] > centre[0]]
    return points[left[-1] : right[0] + 1]


def _evenly(outline: Float[np.ndarray, "points 2"], chin: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "17 2"]:
    """Eight even steps along the outline from its start to the chin, eight from there to its end."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(outline, axis=0), axis=1).cumsum()])
    at_chin = length[np.linalg.norm(outline - chin, axis=1).argmin()]
    at = np.concatenate([np.linspace(0, at_chin, 9), np.linspace(at_chin, length[-1], 9)[1:]])
    nearest = np.abs(length[:, None] - at[None]).argmin(axis=0)
    return outline[nearest]
