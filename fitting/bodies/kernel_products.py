"""Compiled: the products of products.py, problem by problem. Imported where it is used, for numba may be missing."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from fitting.bodies.kernel_bends import set_axes
from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def add_products(plan, entries, masses, rotations, places, steps, functional, shrunk, pull, extra, matrix, along):
    """Adds J'J to the lower triangle of `matrix` (problems, n, n) and J' pull to `along` (problems, n), with J the
    derivatives of functional . point (problems, points, 2, 3) by the unknowns that `plan` names; by the place
    `shrunk` (problems,) times as much."""
    joints, groups = rotations.shape[1], len(plan.anchored)
    axes, twists = np.empty((joints, 3, 3), matrix.dtype), np.empty((joints, 6, 3), matrix.dtype)
    for k in range(len(matrix)):
        set_axes(plan.parents, rotations[k], axes)
        set_twists(places[k], axes, twists)
        for g in range(groups):
            first, last = plan.group_first[g], plan.group_first[g + 1]
            columns = plan.columns[plan.column_first[g] : plan.column_first[g + 1]]
            J = np.zeros((2 * (last - first), len(columns)), matrix.dtype)
            pulled = np.empty((1, len(J)), matrix.dtype)
            for m in range(first, last):
                row, p = 2 * (m - first), plan.points[m]
                for r in range(2):
                    pulled[0, row + r] = pull[k, p, r]
                    for s in range(extra.shape[3]):
                        J[row + r, plan.extra_at[g] + s] = extra[k, p, r, s]
                    if plan.transl_at >= 0 and not plan.anchored[g]:
                        for i in range(3):
                            J[row + r, plan.transl_at + i] = shrunk[k] * functional[k, p, r, i]
            if plan.anchored[g]:
                fill_twists(first, last, plan.points, plan.entry_first, plan.entries, entries[k], functional[k], J)
            s, e = plan.slot_first[g], plan.slot_first[g + 1]
            fill_coefficients(plan.slots[s:e], plan.constants[s:e], plan.span[g], rotations[k], functional[k], J)
            s, e = plan.pair_first[g], plan.pair_first[g + 1]
            which = plan.pairs[s:e], plan.part_first[s : e + 1], plan.parts
            fill_turns(*which, entries[k], masses, axes, places[k], steps[k], functional[k], J)
            square, slope = np.dot(J.T, J), np.dot(pulled, J)[0]
            own = 6 if plan.anchored[g] else 0  # columns that are no unknowns but a twist
            for i in range(own, len(columns)):
                along[k, columns[i]] += slope[i]
                put_row(square[i, own : i + 1], columns[i], columns[own : i + 1], matrix[k])
            if own:
                add_twist(
                    plan, g, twists, rotations[k], steps[k], shrunk[k], square, slope, columns, matrix[k], along[k]
                )


@njit(cache=True, fastmath=MATH)
@no_type_check
def set_twists(places, axes, twists):
    """What turns of joints about their axes are as twists about the origin."""
    for j in range(len(places)):
        x, y, z = places[j, 0], places[j, 1], places[j, 2]
        for c in range(3):
            a, b, d = axes[j, 0, c], axes[j, 1, c], axes[j, 2, c]
            twists[j, 0, c], twists[j, 1, c], twists[j, 2, c] = a, b, d
            twists[j, 3, c], twists[j, 4, c], twists[j, 5, c] = y * d - z * b, z * a - x * d, x * b - y * a


@njit(cache=True, fastmath=MATH)
@no_type_check
def fill_twists(first, last, points, entry_first, entries_of, entries, functional, J):
    """By a twist of a group's points about the origin."""
    for m in range(first, last):
        x = y = z = entries.dtype.type(0)  # a plain 0.0 would make all of it float64
        for k in range(entry_first[m], entry_first[m + 1]):
            e = entries_of[k]
            x, y, z = x + entries[e, 0], y + entries[e, 1], z + entries[e, 2]
        for r in range(2):
            row, p = 2 * (m - first) + r, points[m]
            a, b, c = functional[p, r, 0], functional[p, r, 1], functional[p, r, 2]
            J[row, 0], J[row, 1], J[row, 2] = y * c - z * b, z * a - x * c, x * b - y * a
            J[row, 3], J[row, 4], J[row, 5] = a, b, c


@njit(cache=True, fastmath=MATH)
@no_type_check
def fill_coefficients(slots, constants, span, rotations, functional, J):
    """By coefficients: points' constants (slots, 3, coefficients), turned with the joints that carry them."""
    start, stop, at = span[0], span[1], span[2]
    for s in range(len(slots)):
        j, p, row = slots[s, 0], slots[s, 1], slots[s, 2]
        a, b, c = functional[p, 0, 0], functional[p, 0, 1], functional[p, 0, 2]
        x, y, z = functional[p, 1, 0], functional[p, 1, 1], functional[p, 1, 2]
        if j >= 0:
            a, b, c = (
                rotations[j, 0, 0] * a + rotations[j, 1, 0] * b + rotations[j, 2, 0] * c,
                rotations[j, 0, 1] * a + rotations[j, 1, 1] * b + rotations[j, 2, 1] * c,
                rotations[j, 0, 2] * a + rotations[j, 1, 2] * b + rotations[j, 2, 2] * c,
            )
            x, y, z = (
                rotations[j, 0, 0] * x + rotations[j, 1, 0] * y + rotations[j, 2, 0] * z,
                rotations[j, 0, 1] * x + rotations[j, 1, 1] * y + rotations[j, 2, 1] * z,
                rotations[j, 0, 2] * x + rotations[j, 1, 2] * y + rotations[j, 2, 2] * z,
            )
        for i in range(stop - start):
            u, v, w = constants[s, 0, start + i], constants[s, 1, start + i], constants[s, 2, start + i]
            J[row, at + i] += a * u + b * v + c * w
            J[row + 1, at + i] += x * u + y * v + z * w


@njit(cache=True, fastmath=MATH)
@no_type_check
def fill_turns(pairs, part_first, parts, entries, masses, axes, places, steps, functional, J):
    """By joints that turn points within their group."""
    for q in range(len(pairs)):
        j, at, first, size, p = pairs[q, 0], pairs[q, 1], pairs[q, 2], pairs[q, 3], pairs[q, 4]
        x = y = z = entries.dtype.type(0)
        for k in range(part_first[q], part_first[q + 1]):
            e = parts[k]
            x += entries[e, 0] - masses[e] * places[j, 0]
            y += entries[e, 1] - masses[e] * places[j, 1]
            z += entries[e, 2] - masses[e] * places[j, 2]
        for r in range(2):
            row, f, g, h = pairs[q, 5] + r, functional[p, r, 0], functional[p, r, 1], functional[p, r, 2]
            u, v, w = y * h - z * g, z * f - x * h, x * g - y * f
            a = axes[j, 0, 0] * u + axes[j, 1, 0] * v + axes[j, 2, 0] * w
            b = axes[j, 0, 1] * u + axes[j, 1, 1] * v + axes[j, 2, 1] * w
            c = axes[j, 0, 2] * u + axes[j, 1, 2] * v + axes[j, 2, 2] * w
            add_turn(a, b, c, steps, first, size, J, row, at)


@njit(cache=True, fastmath=MATH)
@no_type_check
def add_turn(a, b, c, steps, first, size, found, row, at):
    """Adds a derivative by a joint's three steps to a row's columns: as it is, or by the vector that `steps` are of."""
    if first < 0:
        found[row, at] += a
        found[row, at + 1] += b
        found[row, at + 2] += c
    else:
        for s in range(size):
            found[row, at + s] += a * steps[first, s] + b * steps[first + 1, s] + c * steps[first + 2, s]


@njit(cache=True, fastmath=MATH)
@no_type_check
def add_twist(plan, g, twists, rotations, steps, shrunk, square, slope, columns, matrix, along):
    """Of a group that moves as one with the joints that it hangs on: its products by a twist, as those by all that
    turns these joints."""
    outer = plan.outer[plan.outer_first[g] : plan.outer_first[g + 1]]
    n, width = len(outer), len(columns)
    T = np.zeros((6, n), matrix.dtype)
    for q in range(plan.chain_first[g], plan.chain_first[g + 1]):
        j, at, row, size = plan.chain[q, 0], plan.chain[q, 1], plan.chain[q, 2], plan.chain[q, 3]
        for i in range(6):
            add_turn(twists[j, i, 0], twists[j, i, 1], twists[j, i, 2], steps, row, size, T, i, at)
    if plan.outer_transl[g] >= 0:
        for i in range(3):
            T[3 + i, plan.outer_transl[g] + i] = shrunk
    first = plan.outer_coefficients[g, 0]
    start, stop = plan.outer_coefficients[g, 1], plan.outer_coefficients[g, 2]
    for s in range(plan.bone_first[g], plan.bone_first[g + 1]):
        j = plan.bone_joint[s]
        for i in range(3):
            for m in range(3):
                x = rotations[j, i, m] if j >= 0 else (1.0 if i == m else 0.0)
                for c in range(start, stop):
                    T[3 + i, first + c - start] += x * plan.bones[s, m, c]
    across, line = np.empty((width, n), matrix.dtype), np.empty(n, matrix.dtype)
    for i in range(width):
        combine(square[i], T, n, across[i])
        if i >= 6:
            put_row(across[i], columns[i], outer, matrix)
            for t in range(n):
                if outer[t] == columns[i]:  # what moves the group and stirs within it, times itself: there and back
                    matrix[outer[t], outer[t]] += across[i, t]
    for s in range(n):
        for c in range(6):
            along[outer[s]] += T[c, s] * slope[c]
        combine(T[:, s], across, s + 1, line)
        put_row(line[: s + 1], outer[s], outer[: s + 1], matrix)


@njit(cache=True, fastmath=MATH)
@no_type_check
def combine(weights, rows, n, found):
    """The weighted sum of six rows, n numbers of each."""
    a, b, c, d, e, f = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    for t in range(n):
        found[t] = a * rows[0, t] + b * rows[1, t] + c * rows[2, t] + d * rows[3, t] + e * rows[4, t] + f * rows[5, t]


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
