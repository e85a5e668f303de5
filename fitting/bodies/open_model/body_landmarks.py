"""SMPL-X's own landmark arrays: 51 fixed points on triangles, and a jaw line of 17 for each degree of yaw.

Programs that use SMPL-X files look for them; Keyfit itself reads the table of keypoints instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

LAST_YAW = 39


def landmark_arrays(
    template: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"], head: Mapping[str, np.ndarray],
    to_body: Int[np.ndarray, " head"],
) -> dict[str, np.ndarray]:  # fmt: skip
    """From the open head's file; `to_body` is the body's vertex for each of the head's."""
    fixed = to_body[head["ibug68_static_vertices"]], head["ibug68_static_weights"]
    # Rows 0..39 of SMPL-X's table are for 0..39 degrees to the subject's left, rows 40..78 for -1..-39.
    degrees = np.r_[0 : LAST_YAW + 1, -1 : -LAST_YAW - 1 : -1]
    row = np.abs(head["ibug68_contour_yaw"][None] - degrees[:, None]).argmin(axis=1)
    sliding = to_body[head["ibug68_contour_vertices"]], head["ibug68_contour_weights"]
    index, share = on_faces(template, faces, sliding[0].reshape(-1, 3), sliding[1].reshape(-1, 3))
    shape = sliding[0].shape[:2]
    first = on_faces(template, faces, *fixed)
    return {
        "lmk_faces_idx": first[0].astype(np.int32),
        "lmk_bary_coords": first[1],
        "dynamic_lmk_faces_idx": index.reshape(shape)[row].astype(np.int32),
        "dynamic_lmk_bary_coords": share.reshape(*shape, 3)[row],
    }


def on_faces(
    template: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "triangles 3"],
    vertices: Int[np.ndarray, "points 3"],
    weights: Float[np.ndarray, "points 3"],
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, "points 3"]]:
    """Triangles and barycentric coordinates of points given by any three vertices: exact where these make up a
    triangle or a part of one, else the nearest point of the triangles round them."""
    index, share = np.zeros(len(vertices), dtype=int), np.zeros((len(vertices), 3))
    for k, (corners, weight) in enumerate(zip(vertices, weights, strict=True)):
        used = corners[weight > 1e-9]
        holding = np.flatnonzero(np.isin(faces, used).sum(axis=1) == len(np.unique(used)))
        if len(holding):
            index[k] = holding[0]
            for corner, amount in zip(corners, weight, strict=True):
                share[k] += amount * (faces[holding[0]] == corner)
        else:
            near = np.flatnonzero(np.isin(faces, used).any(axis=1))
            place = weight @ template[corners]
            coordinates = np.array([_nearest(place, template[faces[f]]) for f in near])
            distance = np.linalg.norm(np.einsum("fk,fkd->fd", coordinates, template[faces[near]]) - place, axis=1)
            index[k], share[k] = near[distance.argmin()], coordinates[distance.argmin()]
    return index, share / share.sum(axis=1, keepdims=True)


def _nearest(place: Float[np.ndarray, " 3"], corners: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """Barycentric coordinates of the foot of the perpendicular, negative ones cut off."""
    edges = corners[1:] - corners[0]
    along = np.linalg.lstsq(edges.T, place - corners[0], rcond=None)[0]
    share = np.clip([1 - along.sum(), *along], 0, None)
    return share / share.sum()
