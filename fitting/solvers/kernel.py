"""Compiled: the frames of one chain taken out one after another. Imported where it is used, for numba may be missing.

Names are those of `chain.py`. All sums are in float64; what is kept of each frame has the precision it is wanted in.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from fitting.compiled import MATH

LANES = 16  # entries that are swept side by side: rows are padded to a multiple


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def take_out(
    own, border, right, stiffness, near, far, carried_own, carried_border, carried_tie,
    inverses, ties, borders, solved, schur, together,
):  # fmt: skip
    """Of each frame (first axis): its own block (n, n), border (n, m), right side and diagonal ties (n,).

    What earlier frames carry into the first two, (2, n, n), (2, n, m + 1) with the right side last, and (n, n), is
    replaced by what is carried out. `inverses`, `ties` and `borders` get what is kept of each frame, `solved` P times
    its right side; `schur` (m + 1, m + 1) gets B' P B added, that of `together` frames at once.
    """
    count, n = right.shape
    wide = carried_border.shape[2]
    A, R, C = padded(n, n), padded(4, n), padded(4, n)
    P, T = np.zeros((3, n, n)), np.empty((n, n))  # P of this frame and the two before it, by turns
    tie_solved, pushed, pushed_border = np.zeros((n, n)), -carried_own[0], -carried_border[0]
    # Solutions of some frames come behind those of the two before them.
    B, solutions = np.empty((together, n, wide)), np.zeros((together + 2, n, wide))
    share = np.empty((wide, wide))
    # What is carried into the second frame is as what a frame before the first one would push that far.
    P[2], solutions[1] = -carried_own[1], -carried_border[1]
    before, last = np.zeros(n), np.ones(n)
    for t in range(count):
        k = t % together
        load(A, own[t], stiffness[t], pushed, P[(t + 1) % 3], before)
        load_border(B[k], border[t], right[t], pushed_border, solutions[k], before)
        if t == 0:
            T[:] = carried_tie
        else:
            load_tie(T, tie_solved, last)
        for i in range(n):
            T[i, i] += near[t, i]
        here = P[t % 3]
        unfold(A, invert(A, n, R, C), here, inverses[t])
        np.dot(here, T, tie_solved)
        np.dot(here, B[k], solutions[k + 2])
        np.dot(T.T, tie_solved, pushed)
        np.dot(T.T, solutions[k + 2], pushed_border)
        keep(T, B[k], ties[t], borders[t])
        solved[t] = solutions[k + 2, :, -1]
        before, last = last, far[t]
        if k == together - 1 or t == count - 1:
            rows = (k + 1) * n
            np.dot(B[: k + 1].reshape(rows, wide).T, solutions[2 : k + 3].reshape(rows, wide), share)
            schur += share
            solutions[0], solutions[1] = solutions[k + 1].copy(), solutions[k + 2].copy()
    load_tie(carried_tie, tie_solved, last)
    for i in range(n):
        for j in range(n):
            carried_own[0, i, j] = -pushed[i, j] - before[i] * P[(count + 1) % 3, i, j] * before[j]
            carried_own[1, i, j] = -last[i] * P[(count + 2) % 3, i, j] * last[j]
        for j in range(wide):
            carried_border[0, i, j] = -pushed_border[i, j] - before[i] * solutions[0, i, j]
            carried_border[1, i, j] = -last[i] * solutions[1, i, j]


@njit(cache=True)
@no_type_check
def padded(rows, columns):
    """Room for some rows, two of which are swept at a time."""
    return np.zeros(((rows + 1) // 2 * 2, (columns // LANES + 1) * LANES))


@njit(cache=True, fastmath=MATH)
@no_type_check
def load(A, own, stiffness, pushed, P, d):
    """A frame's block when its turn comes: its lower triangle."""
    for i in range(len(d)):
        for j in range(i + 1):
            A[i, j] = own[i, j] - pushed[i, j] - d[i] * P[i, j] * d[j]
        A[i, i] += stiffness[i]


@njit(cache=True, fastmath=MATH)
@no_type_check
def load_border(B, border, right, pushed, solution, d):
    m = border.shape[1]
    for i in range(len(d)):
        for j in range(m):
            B[i, j] = border[i, j] - pushed[i, j] - d[i] * solution[i, j]
        B[i, m] = right[i] - pushed[i, m] - d[i] * solution[i, m]


@njit(cache=True, fastmath=MATH)
@no_type_check
def load_tie(T, solved, d):
    """Of the next two frames, from P times the last one's."""
    for i in range(len(d)):
        for j in range(len(d)):
            T[i, j] = -solved[j, i] * d[j]


@njit(cache=True, fastmath=MATH)
@no_type_check
def keep(T, B, tie, border):
    for i in range(T.shape[0]):
        for j in range(T.shape[1]):
            tie[i, j] = T[i, j]
        for j in range(border.shape[1]):
            border[i, j] = B[i, j]


@njit(cache=True, fastmath=MATH)
@no_type_check
def unfold(A, is_definite, P, kept):
    """The inverse of which A has minus the lower triangle; NaN where there is none."""
    for i in range(P.shape[0]):
        for j in range(i + 1):
            value = -A[i, j] if is_definite else np.nan
            P[i, j], P[j, i] = value, value
            kept[i, j], kept[j, i] = value, value


@njit(cache=True, fastmath=MATH)
@no_type_check
def invert(A, n, R, C):
    """A's lower triangle as minus that of its inverse, four pivots at a time; whether A is positive definite.

    With D the pivots' block, R their rows and C = D^-1 R: all other entries lose R' C, the rows become C, D -D^-1.
    `R` and `C` are room for (4, n); behind n, and above the diagonal, all three hold anything.
    """
    D = np.empty((4, 4))
    for first in range(0, n, 4):
        size = min(4, n - first)
        for p in range(4):
            if p >= size:
                R[p, :] = 0.0
                continue
            for j in range(first + p):
                R[p, j] = A[first + p, j]
            for j in range(first + p, n):
                R[p, j] = A[j, first + p]
        if not invert_few(D, R, first, size):
            return False
        for q in range(4):
            for j in range(R.shape[1]):
                C[q, j] = D[q, 0] * R[0, j] + D[q, 1] * R[1, j] + D[q, 2] * R[2, j] + D[q, 3] * R[3, j]
        for i in range(0, n, 2):
            one, two = A[i], A[i + 1]
            a, b, c, d = C[0, i], C[1, i], C[2, i], C[3, i]
            e, f, g, h = C[0, i + 1], C[1, i + 1], C[2, i + 1], C[3, i + 1]
            for j in range(((i + 1) // LANES + 1) * LANES):
                w, x, y, z = R[0, j], R[1, j], R[2, j], R[3, j]
                one[j] -= a * w + b * x + c * y + d * z
                two[j] -= e * w + f * x + g * y + h * z
        for p in range(size):
            for j in range(first):
                A[first + p, j] = C[p, j]
            for j in range(first + size, n):
                A[j, first + p] = C[p, j]
            for q in range(p + 1):
                A[first + p, first + q] = -D[p, q]
    return True


@njit(cache=True)
@no_type_check
def invert_few(D, R, first, size):
    """The inverse of some pivots' block, zero behind their number, by Gauss and Jordan; whether it is definite."""
    for p in range(4):
        for q in range(4):
            D[p, q] = R[min(p, q), first + max(p, q)] if p < size and q < size else 0.0
    for p in range(size):
        pivot = D[p, p]
        if not pivot > 0.0:
            return False
        D[p, p] = 1.0
        for q in range(size):
            D[p, q] /= pivot
        for r in range(size):
            if r != p:
                c = D[r, p]
                D[r, p] = 0.0
                for q in range(size):
                    D[r, q] -= c * D[p, q]
    return True


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def push(inverses, ties, borders, far, right, carried, solved, common):
    """A right side (frames, n) down the frames: `solved` gets P times it, `carried` (2, n) what is carried out,
    `common` (m,) what the shared unknowns lose."""
    count, n = right.shape
    one, two, here = carried[0].copy(), carried[1].copy(), np.empty(n)
    for t in range(count):
        for i in range(n):
            here[i] = right[t, i] + one[i]
        times(inverses[t], here, solved[t])
        one[:] = two
        for i in range(n):
            for j in range(n):
                one[j] -= ties[t, i, j] * solved[t, i]
            for j in range(len(common)):
                common[j] += borders[t, i, j] * solved[t, i]
            two[i] = -far[t, i] * solved[t, i]
    carried[0], carried[1] = one, two


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def pull(inverses, ties, borders, far, solved, shared, following, found):
    """The frames' unknowns, from the last to the first; `following` (2, n) are those of the two frames behind."""
    count, n = solved.shape
    held, tied = np.empty(n), np.empty(n)
    for t in range(count - 1, -1, -1):
        one = found[t + 1] if t + 1 < count else following[0]
        two = found[t + 2] if t + 2 < count else following[t + 2 - count]
        times(borders[t], shared, held)
        times(ties[t], one, tied)
        for i in range(n):
            held[i] += tied[i] + far[t, i] * two[i]
        times(inverses[t], held, tied)
        for i in range(n):
            found[t, i] = solved[t, i] - tied[i]


@njit(cache=True, fastmath=MATH)
@no_type_check
def times(matrix, vector, product):
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * vector[j]
        product[i] = total
