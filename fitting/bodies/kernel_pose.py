"""Compiled: many bodies of few points, posed one after another. Imported where it is used, for numba may be missing.
See skinning.py, whose names these are."""

from __future__ import annotations

from typing import no_type_check

from numba import njit

from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def pose(
    parents, joints_rest, local, rest, entry_rest, carrier, entry_point, weight, rotations, places, entries, points
):  # fmt: skip
    """Of each body (first axis) the joints' rotations (joints, 3, 3) and places, the entries and the points, which are
    0, from rest positions and each joint's own rotation."""
    for k in range(len(local)):
        for j in range(len(parents)):
            above, R, own = parents[j], rotations[k, j], local[k, j]
            if above < 0:
                R[:] = own
                places[k, j] = joints_rest[k, j]
                continue
            P = rotations[k, above]
            x = joints_rest[k, j, 0] - joints_rest[k, above, 0]
            y = joints_rest[k, j, 1] - joints_rest[k, above, 1]
            z = joints_rest[k, j, 2] - joints_rest[k, above, 2]
            for i in range(3):
                a, b, c = P[i, 0], P[i, 1], P[i, 2]
                for m in range(3):
                    R[i, m] = a * own[0, m] + b * own[1, m] + c * own[2, m]
                places[k, j, i] = places[k, above, i] + a * x + b * y + c * z
        for e in range(len(carrier)):
            j, r, p, w = carrier[e], entry_rest[e], entry_point[e], weight[e]
            x = rest[k, r, 0] - joints_rest[k, j, 0]
            y = rest[k, r, 1] - joints_rest[k, j, 1]
            z = rest[k, r, 2] - joints_rest[k, j, 2]
            for i in range(3):
                R = rotations[k, j, i]
                value = w * (places[k, j, i] + R[0] * x + R[1] * y + R[2] * z)
                entries[k, e, i] = value
                points[k, p, i] += value
