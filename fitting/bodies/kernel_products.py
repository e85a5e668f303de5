"""Compiled: the products of products.py, problem by problem. Imported where it is used, for numba may be missing."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def add_products(plan, entries, masses, rotations, places, steps, functional, pull, extra, matrix, along):
    """Adds J'J to the lower triangle of `matrix` (problems, n, n) and J' pull to `along` (problems, n), with J the
    derivatives of functional . point (problems, points, 2, 3) by the unknowns that `plan` names."""
    joints, groups = rotations.shape[1], len(plan.anchored)
    axes, twists = np.empty((joints, 3, 3), matrix.dtype), np.empty((joints, 6, 3), matrix.dtype)
    for k in range(len(matrix)):
        for j in range(joints):
            above = plan.parents[j]
            for c in range(3):
                for i in range(3):
                    axes[j, i, c] = rotations[k, above, i, c] if above >= 0 else (1.0 if i == c else 0.0)
                x, y, z = axes[j, 0, c], axes[j, 1, c], axes[j, 2, c]
                px, py, pz = places[k, j, 0], places[k, j, 1], places[k, j, 2]
                twists[j, 0, c], twists[j, 1, c], twists[j, 2, c] = x, y, z
                twists[j, 3, c], twists[j, 4, c], twists[j, 5, c] = py * z - pz * y, pz * x - px * z, px * y - py * x
        for g in range(groups):
            first, last = plan.group_first[g], plan.group_first[g + 1]
            columns = plan.columns[plan.column_first[g] : plan.column_first[g + 1]]
            J, pulled = (
                np.zeros((2 * (last - first), len(columns)), matrix.dtype),
                np.empty((1, 2 * (last - first)), matrix.dtype),
            )
            for m in range(first, last):
                row, point = 2 * (m - first), plan.points[m]
                for r in range(2):
                    pulled[0, row + r] = pull[k, point, r]
                F = functional[k, point]
                fill_coefficients(plan, m, rotations[k], F, J[row : row + 2])
                fill_turns(plan, g, m, entries[k], masses, axes, places[k], steps[k], F, J[row : row + 2])
                for s in range(extra.shape[3]):
                    for r in range(2):
                        J[row + r, plan.extra_at[g] + s] = extra[k, point, r, s]
            square, slope = np.dot(J.T, J), np.dot(pulled, J)[0]
            own = 6 if plan.anchored[g] else 0  # columns that are no unknowns but a twist
            for i in range(own, len(columns)):
                along[k, columns[i]] += slope[i]
                put_row(square[i, own : i + 1], columns[i], columns[own : i + 1], matrix[k])
            if own:
                add_twist(plan, g, twists, rotations[k], steps[k], square, slope, columns, matrix[k], along[k])


@njit(cache=True, fastmath=MATH)
@no_type_check
def fill_coefficients(plan, m, rotations, F, J):
    """Of one point, by coefficients: its constants, turned with the joints that carry them."""
    start, stop, at = plan.span[m, 0], plan.span[m, 1], plan.span[m, 2]
    upper, lower = J[0, at:], J[1, at:]
    for s in range(plan.slot_first[m], plan.slot_first[m + 1]):
        j = plan.slot_joint[s]
        a, b, c, x, y, z = F[0, 0], F[0, 1], F[0, 2], F[1, 0], F[1, 1], F[1, 2]
        if j >= 0:
            R = rotations[j]
            a, b, c = (
                R[0, 0] * a + R[1, 0] * b + R[2, 0] * c,
                R[0, 1] * a + R[1, 1] * b + R[2, 1] * c,
                R[0, 2] * a + R[1, 2] * b + R[2, 2] * c,
            )
            x, y, z = (
                R[0, 0] * x + R[1, 0] * y + R[2, 0] * z,
                R[0, 1] * x + R[1, 1] * y + R[2, 1] * z,
                R[0, 2] * x + R[1, 2] * y + R[2, 2] * z,
            )
        C = plan.constants[s, :, start:stop]
        for i in range(stop - start):
            upper[i] += a * C[0, i] + b * C[1, i] + c * C[2, i]
            lower[i] += x * C[0, i] + y * C[1, i] + z * C[2, i]


@njit(cache=True, fastmath=MATH)
@no_type_check
def fill_turns(plan, g, m, entries, masses, axes, places, steps, F, J):
    """Of one point: by its group's twist or by the place of all, and by the joints that turn it within its group."""
    if plan.anchored[g]:
        x, y, z = 0.0, 0.0, 0.0
        for e in range(plan.entry_first[m], plan.entry_first[m + 1]):
            at = plan.entries[e]
            x, y, z = x + entries[at, 0], y + entries[at, 1], z + entries[at, 2]
        for r in range(2):
            J[r, 0], J[r, 1], J[r, 2] = y * F[r, 2] - z * F[r, 1], z * F[r, 0] - x * F[r, 2], x * F[r, 1] - y * F[r, 0]
            J[r, 3], J[r, 4], J[r, 5] = F[r, 0], F[r, 1], F[r, 2]
    elif plan.transl_at >= 0:
        for r in range(2):
            for i in range(3):
                J[r, plan.transl_at + i] = F[r, i]
    for q in range(plan.pair_first[m], plan.pair_first[m + 1]):
        j, at, row, size = plan.pairs[q, 0], plan.pairs[q, 1], plan.pairs[q, 2], plan.pairs[q, 3]
        x, y, z = 0.0, 0.0, 0.0
        for e in range(plan.part_first[q], plan.part_first[q + 1]):
            which = plan.parts[e]
            x += entries[which, 0] - masses[which] * places[j, 0]
            y += entries[which, 1] - masses[which] * places[j, 1]
            z += entries[which, 2] - masses[which] * places[j, 2]
        A = axes[j]
        for r in range(2):
            u, v, w = y * F[r, 2] - z * F[r, 1], z * F[r, 0] - x * F[r, 2], x * F[r, 1] - y * F[r, 0]
            a = A[0, 0] * u + A[1, 0] * v + A[2, 0] * w
            b = A[0, 1] * u + A[1, 1] * v + A[2, 1] * w
            c = A[0, 2] * u + A[1, 2] * v + A[2, 2] * w
            if row < 0:
                J[r, at] += a
                J[r, at + 1] += b
                J[r, at + 2] += c
            else:
                for s in range(size):
                    J[r, at + s] += a * steps[row, s] + b * steps[row + 1, s] + c * steps[row + 2, s]


@njit(cache=True, fastmath=MATH)
@no_type_check
def add_twist(plan, g, twists, rotations, steps, square, slope, columns, matrix, along):
    """Of a group that moves as one with the joints that it hangs on: its products by a twist, as those by all that
    turns these joints."""
    outer = plan.outer[plan.outer_first[g] : plan.outer_first[g + 1]]
    n, width = len(outer), len(columns)
    T = np.zeros((6, n), matrix.dtype)
    for q in range(plan.chain_first[g], plan.chain_first[g + 1]):
        j, at, row, size = plan.chain[q, 0], plan.chain[q, 1], plan.chain[q, 2], plan.chain[q, 3]
        for i in range(6):
            a, b, c = twists[j, i, 0], twists[j, i, 1], twists[j, i, 2]
            if row < 0:
                T[i, at] += a
                T[i, at + 1] += b
                T[i, at + 2] += c
            else:
                for s in range(size):
                    T[i, at + s] += a * steps[row, s] + b * steps[row + 1, s] + c * steps[row + 2, s]
    if plan.outer_transl[g] >= 0:
        for i in range(3):
            T[3 + i, plan.outer_transl[g] + i] = 1.0
    first = plan.outer_coefficients[g, 0]
    start, stop = plan.outer_coefficients[g, 1], plan.outer_coefficients[g, 2]
    for s in range(plan.bone_first[g], plan.bone_first[g + 1]):
        j = plan.bone_joint[s]
        for i in range(3):
            for m in range(3):
                x = rotations[j, i, m] if j >= 0 else (1.0 if i == m else 0.0)
                for c in range(start, stop):
                    T[3 + i, first + c - start] += x * plan.bones[s, m, c]
    across, line = np.zeros((width, n), matrix.dtype), np.empty(n, matrix.dtype)
    for i in range(width):
        for c in range(6):
            s = square[i, c]
            for t in range(n):
                across[i, t] += s * T[c, t]
        if i >= 6:
            put_row(across[i], columns[i], outer, matrix)
            for t in range(n):
                if outer[t] == columns[i]:  # what moves the group and stirs within it, times itself: there and back
                    matrix[outer[t], outer[t]] += across[i, t]
    for s in range(n):
        line[:] = 0.0
        for c in range(6):
            x = T[c, s]
            along[outer[s]] += x * slope[c]
            for t in range(s + 1):
                line[t] += x * across[c, t]
        put_row(line[: s + 1], outer[s], outer[: s + 1], matrix)


@njit(cache=True, fastmath=MATH)
@no_type_check
def put_row(values, row, columns, matrix):
    """Adds a row of products to the lower triangle."""
    for i in range(len(columns)):
        column = columns[i]
        if column <= row:
            matrix[row, column] += values[i]
        else:
            matrix[column, row] += values[i]
