"""iBUG's 68 landmarks on the open head, placed by their definition, not through another detector's points.

Definitions: Sagonas et al., 300 Faces in-the-Wild (2013). Where the definition says 'evenly between two corners', the
shares along the curve are those of 300-W's mean shape (thirds of the lids are at 31 and 68 %, for example). Curves come
from the mesh's own edge loops (lids, lips), its profile (nose) and its outline at each yaw (jaw line). The template's
origin lies midway between the eyes, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.bodies.open_head_embedding import Placement
from fitting.bodies.open_head_mesh import HeadMesh
from fitting.bodies.open_head_paint import BROW_HALF_WIDTH, BROW_LINE
from fitting.bodies.open_head_rings import Rings

LID_RING, OUTER_LIP_RING, LIP_CORNER_RING, INNER_LIP_RING = 2, 7, 5, 1
LID_SHARES = {"upper": (0.31, 0.67), "lower": (0.29, 0.65)}
"""Along x from the outer to the inner corner."""
NOSTRIL_X = (0.0147, 0.0077)
"""Of points 31/35 and 32/34, metres from the midline."""


@dataclass(frozen=True)
class Surface:
    """A triangle mesh on which points are looked up by their position."""

    vertices: np.ndarray
    triangles: np.ndarray

    def nearest(self, points: np.ndarray) -> Placement:
        """Surface points nearest to positions (N,3)."""
        import trimesh

        mesh = trimesh.Trimesh(self.vertices, self.triangles, process=False)
        closest, _, triangle = trimesh.proximity.closest_point(mesh, points)
        corners = self.triangles[triangle]
        weights = trimesh.triangles.points_to_barycentric(self.vertices[corners], closest)
        weights = np.clip(weights, 0, None)
        return Placement(corners, weights / weights.sum(axis=1, keepdims=True))


def static_positions(mesh: HeadMesh, template: np.ndarray, front: "FrontMap") -> np.ndarray:
    """(51,3) points 17..67 on the template, exactly mirror-symmetric."""
    brow = left_brow(front)
    nose = nose_points(front)
    left_eye = lid_points(mesh.left_eye, template)
    outer, inner = lip_points(mesh.mouth, template)
    flip = np.array([-1.0, 1.0, 1.0])
    right_eye = (left_eye * flip)[[3, 2, 1, 0, 5, 4]]
    return np.concatenate([(brow * flip)[::-1], brow, nose, right_eye, left_eye, outer, inner])


@dataclass(frozen=True)
class FrontMap:
    """The skin seen from straight ahead: height of the surface over x and y."""

    x: np.ndarray
    """(W,) metres, increasing."""
    y: np.ndarray
    """(H,) metres, increasing."""
    z: np.ndarray
    """(H,W) metres, -inf where there is none."""

    def at(self, x: float, y: float) -> np.ndarray:
        row, column = np.abs(self.y - y).argmin(), np.abs(self.x - x).argmin()
        return np.array([x, y, self.z[row, column]])

    def profile(self, x: float) -> np.ndarray:
        return self.z[:, np.abs(self.x - x).argmin()]


def front_map(template: np.ndarray, triangles: np.ndarray, step: float = 2.5e-4) -> FrontMap:
    """Rays along -z over the face, every quarter of a millimetre."""
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    x, y = np.arange(-0.08, 0.08 + step, step), np.arange(-0.11, 0.07, step)
    grid = np.stack(np.meshgrid(x, y) + [np.full((len(y), len(x)), 0.2)], axis=-1).reshape(-1, 3).astype(np.float32)
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(template[triangles], dtype=np.float32))
    hit = scene.run(grid, np.tile(np.float32([0, 0, -1]), (len(grid), 1)), output=True)
    depth = np.where(np.asarray(hit["primID"]) >= 0, 0.2 - np.asarray(hit["tfar"]), -np.inf)
    return FrontMap(x, y, depth.reshape(len(y), len(x)))


def left_brow(front: FrontMap) -> np.ndarray:
    """(5,3) points 22..26: the upper edge of the hair, evenly from the inner to the outer end."""
    edge = BROW_LINE + BROW_HALF_WIDTH[:, None] * [0.0, 1.0]
    dense = np.stack([np.interp(np.linspace(0, 1, 400), np.linspace(0, 1, len(edge)), column) for column in edge.T], axis=1)
    length = np.concatenate([[0], np.linalg.norm(np.diff(dense, axis=0), axis=1).cumsum()])
    at = np.linspace(0, length[-1], 5)
    return np.array([front.at(np.interp(s, length, dense[:, 0]), np.interp(s, length, dense[:, 1])) for s in at])


def nose_points(front: FrontMap) -> np.ndarray:
    """(9,3) points 27..35: the bridge from between the eyes to the tip, then the base from the right wing to the left."""
    middle = front.profile(0.0)
    below_eyes = (front.y < 0) & (front.y > -0.06)
    tip = front.y[below_eyes][middle[below_eyes].argmax()]
    bridge = [front.at(0.0, y) for y in np.linspace(0.002, tip, 4)]
    base = {x: front.at(x, _nose_base(front, x, tip)) for x in (*NOSTRIL_X, 0.0)}
    left = [base[0.0], base[NOSTRIL_X[1]], base[NOSTRIL_X[0]]]
    right = [p * [-1, 1, 1] for p in left[:0:-1]]
    return np.array(bridge + right + left)


def _nose_base(front: FrontMap, x: float, tip: float) -> float:
    """Height at which the underside of the nose meets the upper lip in the slice at x: its deepest point below the chord."""
    z = front.profile(x)
    rows = np.flatnonzero((front.y < tip + 0.002) & (front.y > tip - 0.022) & np.isfinite(z))
    low, high = rows[0], rows[z[rows].argmax()]
    between = np.arange(low, high + 1)
    chord = np.interp(front.y[between], front.y[[low, high]], z[[low, high]])
    return front.y[between][(z[between] - chord).argmin()]


def lid_points(eye: Rings, template: np.ndarray) -> np.ndarray:
    """(6,3) points 42..47 of the left eye: inner corner, upper lid inwards to outwards, outer corner, lower lid back."""
    margin = template[eye.out(LID_RING)]
    inner, outer = margin[0], margin[eye.left_corner]
    width = outer[0] - inner[0]

    def on(side: np.ndarray, share: float) -> np.ndarray:
        curve = np.concatenate([[inner], margin[side], [outer]])
        x = outer[0] - share * width
        return np.array([x, *(np.interp(x, curve[:, 0], curve[:, k]) for k in (1, 2))])

    upper = [on(eye.upper, share) for share in LID_SHARES["upper"]]
    lower = [on(eye.lower, share) for share in LID_SHARES["lower"]]
    return np.array([inner, upper[1], upper[0], outer, lower[0], lower[1]])


def lip_points(mouth: Rings, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(12,3) points 48..59 on the outer border and (8,3) points 60..67 where the lips meet, right corner first."""
    border, corners = template[mouth.out(OUTER_LIP_RING)], template[mouth.out(LIP_CORNER_RING)]
    right, left = corners[0], corners[mouth.left_corner]
    upper = np.concatenate([[right], border[mouth.upper], [left]])
    lower = np.concatenate([[right], border[mouth.lower], [left]])
    peak = abs(border[mouth.upper][border[mouth.upper][:, 1].argmax(), 0])
    half = left[0]
    beside = 0.5 * (peak + half)
    outer_x = (-beside, -peak, 0.0, peak, beside)
    outer = [right, *(_on_curve(upper, x) for x in outer_x), left, *(_on_curve(lower, -x) for x in outer_x)]
    contact = template[mouth.out(INNER_LIP_RING)]
    inner_corners = contact[0] * [0.92, 1, 1], contact[mouth.left_corner] * [0.92, 1, 1]
    inner_x = (-peak, 0.0, peak)
    inner = [inner_corners[0], *(_on_curve(contact[mouth.upper], x) for x in inner_x)]
    inner += [inner_corners[1], *(_on_curve(contact[mouth.lower], -x) for x in inner_x)]
    return np.array(outer), np.array(inner)


def _on_curve(curve: np.ndarray, x: float) -> np.ndarray:
    order = np.argsort(curve[:, 0])
    return np.array([x, *(np.interp(x, curve[order, 0], curve[order, k]) for k in (1, 2))])
