"""iBUG's 68 landmarks on the open head, placed by their definition, not through another detector's points.

Definitions: Sagonas et al., 300 Faces in-the-Wild (2013). Where the definition says 'evenly between two corners', the
shares along the curve are those of 300-W's mean shape (thirds of the lids are at 31 and 68 %, for example). Curves come
from the mesh's own edge loops (lids, lips), its profile (nose) and its outline at each yaw (jaw line). The template's
origin lies midway between the eyes, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.embedding import Placement, barycentric_grid
from fitting.bodies.open_model.mesh import HeadMesh
from fitting.bodies.open_model.paint import BROW_HALF_WIDTH, BROW_LINE
from fitting.bodies.open_model.rings import Rings
from fitting.layouts import IBUG68
from fitting.render.raycast import build_scene, cast

LID_RING, OUTER_LIP_RING, LIP_CORNER_RING, INNER_LIP_RING = 2, 7, 5, 1
LID_SHARES = {"upper": (0.31, 0.67), "lower": (0.29, 0.65)}
"""Along x from the outer to the inner corner."""
LIP_SHARES = (0.63, 0.27)
"""Of points 53 and 52 (cupid's bow), likewise 55 and 56, along x from the middle to the corner."""
NOSTRIL_X = (0.0147, 0.0077)
"""Of points 31/35 and 32/34, metres from the midline."""


def nearest_on_surface(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int[np.ndarray, "triangles 3"],
    points: Float[np.ndarray, "points 3"],
) -> Placement:
    """Surface points nearest to positions (N,3), to a twentieth of a triangle's side."""
    grid = barycentric_grid(20)
    centres = vertices[triangles].mean(axis=1)
    corners, weights = [], []
    for point in points:
        near = triangles[np.argsort(((centres - point) ** 2).sum(axis=1))[:20]]
        samples = np.einsum("gk,tki->tgi", grid, vertices[near])
        triangle, best = np.unravel_index(((samples - point) ** 2).sum(axis=2).argmin(), samples.shape[:2])
        corners.append(near[triangle])
        weights.append(grid[best])
    return Placement(np.array(corners), np.array(weights))


def place_static(
    mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], outside: Int[np.ndarray, "triangles 3"]
) -> Placement:
    """(51,) points 17..67 on the triangles `outside` (T,3); the right side mirrors the left."""
    positions = static_positions(mesh, template, front_map(template, mesh.triangles))
    found = nearest_on_surface(template, outside, positions)
    for left, right in IBUG68.pairs:
        if right >= 17:
            found.vertices[right - 17] = mesh.mirror[found.vertices[left - 17]]
            found.weights[right - 17] = found.weights[left - 17]
    return found


def static_positions(
    mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"], front: FrontMap
) -> Float[np.ndarray, "51 3"]:
    """Points 17..67 on the template, exactly mirror-symmetric."""
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

    x: Float[np.ndarray, " width"]
    """Metres, increasing."""
    y: Float[np.ndarray, " height"]
    """Metres, increasing."""
    z: Float[np.ndarray, "height width"]
    """Metres, -inf where there is none."""

    def at(self, x: float, y: float) -> Float[np.ndarray, " 3"]:
        row, column = np.abs(self.y - y).argmin(), np.abs(self.x - x).argmin()
        return np.array([x, y, self.z[row, column]])

    def profile(self, x: float) -> Float[np.ndarray, " height"]:
        return self.z[:, np.abs(self.x - x).argmin()]


def front_map(
    template: Float[np.ndarray, "vertices 3"], triangles: Int[np.ndarray, "triangles 3"], step: float = 2.5e-4
) -> FrontMap:
    """Rays along -z over the face, every quarter of a millimetre."""
    x, y = np.arange(-0.08, 0.08 + step, step), np.arange(-0.11, 0.07, step)
    grid = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), 0.2)], axis=-1).reshape(-1, 3)
    _, _, distance = cast(build_scene(template, triangles), grid, np.tile([0.0, 0.0, -1.0], (len(grid), 1)))
    return FrontMap(x, y, 0.2 - distance.reshape(len(y), len(x)))


def left_brow(front: FrontMap) -> Float[np.ndarray, "5 3"]:
    """Points 22..26: the upper edge of the hair, evenly from the inner to the outer end."""
    edge = BROW_LINE + BROW_HALF_WIDTH[:, None] * [0.0, 1.0]
    dense = np.stack(
        [np.interp(np.linspace(0, 1, 400), np.linspace(0, 1, len(edge)), column) for column in edge.T], axis=1
    )
    length = np.concatenate([[0], np.linalg.norm(np.diff(dense, axis=0), axis=1).cumsum()])
    at = np.linspace(0, length[-1], 5)
    x, y = (np.interp(at, length, column) for column in dense.T)
    return np.array([front.at(*place) for place in zip(x, y, strict=True)])


def nose_points(front: FrontMap) -> Float[np.ndarray, "9 3"]:
    """Points 27..35: the bridge from between the eyes to the tip, then the base from right to left."""
    middle = front.profile(0.0)
    below_eyes = (front.y < 0) & (front.y > -0.06)
    tip = front.y[below_eyes][middle[below_eyes].argmax()]
    bridge = [front.at(0.0, y) for y in np.linspace(0.002, tip, 4)]
    wing, root = (_nose_base(front, x, tip) for x in (NOSTRIL_X[0], 0.0))
    # Between them the slice runs into the nostril: the sill lies on the line from wing to root.
    left = [front.at(0.0, root), front.at(NOSTRIL_X[1], 0.5 * (wing + root)), front.at(NOSTRIL_X[0], wing)]
    right = [p * [-1, 1, 1] for p in left[:0:-1]]
    return np.array(bridge + right + left)


def _nose_base(front: FrontMap, x: float, tip: float) -> float:
    """Height at which nose and upper lip meet in the slice at x: its deepest point below the chord."""
    z = front.profile(x)
    rows = np.flatnonzero((front.y < tip + 0.002) & (front.y > tip - 0.022) & np.isfinite(z))
    low, high = rows[0], rows[z[rows].argmax()]
    between = np.arange(low, high + 1)
    chord = np.interp(front.y[between], front.y[[low, high]], z[[low, high]])
    return front.y[between][(z[between] - chord).argmin()]


def lid_points(eye: Rings, template: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "6 3"]:
    """Points 42..47 of the left eye: inner corner, upper lid, outer corner, lower lid back."""
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


def lip_points(
    mouth: Rings, template: Float[np.ndarray, "vertices 3"]
) -> tuple[Float[np.ndarray, "12 3"], Float[np.ndarray, "8 3"]]:
    """Points 48..59 on the outer border and 60..67 where the lips meet, right corner first."""
    border, corners = template[mouth.out(OUTER_LIP_RING)], template[mouth.out(LIP_CORNER_RING)]
    right, left = corners[0], corners[mouth.left_corner]
    upper = np.concatenate([[right], border[mouth.upper], [left]])
    lower = np.concatenate([[right], border[mouth.lower], [left]])
    far, near = (share * left[0] for share in LIP_SHARES)
    outer_x = (-far, -near, 0.0, near, far)
    outer = [right, *(_on_curve(upper, x) for x in outer_x), left, *(_on_curve(lower, -x) for x in outer_x)]
    contact = template[mouth.out(INNER_LIP_RING)]
    inner_corners = contact[0] * [0.92, 1, 1], contact[mouth.left_corner] * [0.92, 1, 1]
    inner_x = (-near, 0.0, near)
    inner = [inner_corners[0], *(_on_curve(contact[mouth.upper], x) for x in inner_x)]
    inner += [inner_corners[1], *(_on_curve(contact[mouth.lower], -x) for x in inner_x)]
    return np.array(outer), np.array(inner)


def _on_curve(curve: Float[np.ndarray, "points 3"], x: float) -> Float[np.ndarray, " 3"]:
    order = np.argsort(curve[:, 0])
    return np.array([x, *(np.interp(x, curve[order, 0], curve[order, k]) for k in (1, 2))])
