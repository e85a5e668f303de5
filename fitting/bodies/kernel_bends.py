"""Compiled: the bends of bends.py, problem by problem. Imported where it is used, for numba may be missing."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def add_bends(
    entries, masses, forces, final, carrier, rotations, places, parents, part, number, first, size, steps, row, found
):  # fmt: skip
    """Of each problem (first axis) the lower triangle of the bends of `part`s of joints: found (problems, n, n) is 0.

    An entry pulls on point `final` and hangs on joint `carrier`; `masses` has one row or one for each problem. Joint j
    is the `number[j]`th of part `part[j]` (-1: it does not turn), whose unknowns are `size` from `first` on: three
    each, where `row` is -1, else by the rows from `row` on of `steps` (problems, rows, most).
    """
    joints, parts, most = len(parents), len(first), steps.shape[2]
    sums, moment = np.empty((joints, 12)), np.empty((3, 3))
    axes, turned = np.empty((joints, 3, 3), found.dtype), np.empty((joints, 3, 3), found.dtype)
    hanging, own = np.empty((joints, 3, most), found.dtype), np.empty((3, most), found.dtype)
    around, block = np.empty((3, most), found.dtype), np.empty((most, most), found.dtype)
    cell = np.empty((3, 3), found.dtype)
    carries = np.zeros((parts, joints), np.bool_)  # joints that something of a part hangs on, or is
    for j in range(joints - 1, -1, -1):
        if part[j] >= 0:
            carries[part[j], j] = True
        for q in range(parts):
            if carries[q, j] and parents[j] >= 0:
                carries[q, parents[j]] = True
    for k in range(len(found)):
        bend, mass = found[k], masses[k if len(masses) > 1 else 0]
        set_axes(parents, rotations[k], axes)
        sum_forces(entries[k], mass, forces[k], final, carrier, parents, sums)
        for j in range(joints):
            trace = 0.0
            for i in range(3):
                for c in range(3):
                    moment[i, c] = sums[j, 3 * i + c] - places[k, j, i] * sums[j, 9 + c]
                trace += moment[i, i]
            for i in range(3):
                moment[i, i] -= trace
            for i in range(3):
                for c in range(3):
                    turned[j, i, c] = (
                        moment[i, 0] * axes[j, 0, c] + moment[i, 1] * axes[j, 1, c] + moment[i, 2] * axes[j, 2, c]
                    )
        for j in range(joints):
            q = part[j]
            if q >= 0 and row[q] < 0:
                add_joint(j, turned, axes, parents, part, number, first, size, steps[k], row, cell, bend)
        for q in range(parts):
            if row[q] >= 0:
                room = hanging, own, around, block
                add_part(q, turned, axes, parents, part, number, first, size, steps[k], row, carries[q], *room, bend)


@njit(cache=True, fastmath=MATH)
@no_type_check
def set_axes(parents, rotations, axes):
    """The axes that each joint turns about, in the world: its parent's."""
    for j in range(len(parents)):
        for i in range(3):
            for c in range(3):
                axes[j, i, c] = rotations[parents[j], i, c] if parents[j] >= 0 else (1.0 if i == c else 0.0)


@njit(cache=True, fastmath=MATH)
@no_type_check
def sum_forces(entries, masses, forces, final, carrier, parents, sums):
    """Of what hangs on each joint: entry times force, 3 x 3, and mass times force."""
    sums[:] = 0.0
    for e in range(len(entries)):
        F, total = forces[final[e]], sums[carrier[e]]
        for i in range(3):
            for c in range(3):
                total[3 * i + c] += entries[e, i] * F[c]
            total[9 + i] += masses[e] * F[i]
    for j in range(len(parents) - 1, 0, -1):
        for i in range(12):
            sums[parents[j], i] += sums[j, i]


@njit(cache=True, fastmath=MATH)
@no_type_check
def add_joint(b, turned, axes, parents, part, number, first, size, steps, row, cell, bend):
    """Of a joint that has unknowns of its own with all that it hangs on."""
    below = first[part[b]] + 3 * number[b]
    a = b
    while a >= 0:
        q = part[a]
        if q >= 0:
            turn_into(axes[a], turned[b], 3, cell)
            if a == b:  # half of it and half of its transpose
                for i in range(3):
                    for c in range(3):
                        bend[below + i, below + c] += 0.5 * (cell[i, c] + cell[c, i])
            elif row[q] < 0:
                put(cell, 3, 3, first[q] + 3 * number[a], below, bend)
            else:
                decoded = np.zeros((size[q], 3), bend.dtype)
                decode(steps, row[q] + 3 * number[a], size[q], cell, 3, decoded)
                put(decoded, size[q], 3, first[q], below, bend)
        a = parents[a]


@njit(cache=True, fastmath=MATH)
@no_type_check
def add_part(
    q, turned, axes, parents, part, number, first, size, steps, row, carries, hanging, own, around, block, bend
):
    """Of joints that are decoded from one vector: by it, with all that they hang on and with each other."""
    n = size[q]
    hanging[:] = 0.0
    block[:] = 0.0
    for j in range(len(parents) - 1, -1, -1):
        if not carries[j]:
            continue
        other = part[j]
        if other == q:
            at = row[q] + 3 * number[j]
            for i in range(3):
                x, y, z = turned[j, i, 0], turned[j, i, 1], turned[j, i, 2]
                for s in range(n):
                    # Half of what a joint is to itself: the other half comes from the transpose.
                    own[i, s] = 0.5 * (x * steps[at, s] + y * steps[at + 1, s] + z * steps[at + 2, s])
                    hanging[j, i, s] += own[i, s]
        if other >= 0:
            turn_into(axes[j], hanging[j], n, around)
            if other == q:
                decode(steps, row[q] + 3 * number[j], n, around, n, block)
                for i in range(3):
                    for s in range(n):
                        hanging[j, i, s] += own[i, s]
            elif row[other] < 0:
                put(around, 3, n, first[other] + 3 * number[j], first[q], bend)
            else:
                both = np.zeros((size[other], n), bend.dtype)
                decode(steps, row[other] + 3 * number[j], size[other], around, n, both)
                put(both, size[other], n, first[other], first[q], bend)
        if parents[j] >= 0:
            for i in range(3):
                for s in range(n):
                    hanging[parents[j], i, s] += hanging[j, i, s]
    for r in range(n):
        for s in range(r + 1):
            bend[first[q] + r, first[q] + s] += block[r, s] + block[s, r]


@njit(cache=True, fastmath=MATH)
@no_type_check
def turn_into(axes, vectors, n, found):
    """axes' vectors, of which there are n side by side."""
    for i in range(3):
        x, y, z = axes[0, i], axes[1, i], axes[2, i]
        for s in range(n):
            found[i, s] = x * vectors[0, s] + y * vectors[1, s] + z * vectors[2, s]


@njit(cache=True, fastmath=MATH)
@no_type_check
def decode(steps, at, count, vectors, n, found):
    """Adds steps' vectors, of three rows of steps."""
    for r in range(count):
        x, y, z = steps[at, r], steps[at + 1, r], steps[at + 2, r]
        for s in range(n):
            found[r, s] += x * vectors[0, s] + y * vectors[1, s] + z * vectors[2, s]


@njit(cache=True, fastmath=MATH)
@no_type_check
def put(cells, rows, columns, above, below, bend):
    """Adds cells to the lower triangle: their rows are unknowns from `above` on, their columns others from `below`."""
    if above > below:
        for r in range(rows):
            for s in range(columns):
                bend[above + r, below + s] += cells[r, s]
    else:
        for s in range(columns):
            for r in range(rows):
                bend[below + s, above + r] += cells[r, s]
