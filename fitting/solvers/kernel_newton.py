"""Compiled: damped Newton steps of many small problems, where their matrices are positive definite. Imported where they
are used, for numba may be missing. See `saddle_free.solve`, whose names these are."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def take_steps(matrix, gradient, scale, reach, rows, damping, step, predicted):
    """Steps (rows, n) of some problems and the decrease foretold; NaN where a matrix is not positive definite. Of
    matrices the lower triangle counts, and they are factored in their own precision."""
    n = gradient.shape[1]
    held, right, unit = np.zeros((n, n), matrix.dtype), np.empty(n, matrix.dtype), np.empty(n)
    natural = np.empty(n, matrix.dtype)
    for k in range(len(rows)):
        at = rows[k]
        for i in range(n):
            unit[i] = 1 / np.sqrt(scale[at, i])
            natural[i] = unit[i]
            right[i] = -gradient[at, i] * unit[i]
        for i in range(n):
            for j in range(i + 1):
                held[i, j] = matrix[at, i, j] * natural[i] * natural[j]
            held[i, i] += damping[k] + abs(gradient[at, i]) / reach[at, i] * unit[i] * unit[i]
        try:
            U = np.linalg.cholesky(held).T
        except Exception:  # noqa: B902 -- the only kind that compiled code knows
            predicted[k] = np.nan
            continue
        substitute(U, right)
        total = 0.0
        for i in range(n):
            total += right[i] * (damping[k] * right[i] - gradient[at, i] * unit[i])
            step[k, i] = right[i] * unit[i]
        predicted[k] = 0.5 * total


@njit(cache=True, fastmath=MATH)
@no_type_check
def substitute(U, right):
    """The solution of U'U x = right in its place."""
    n = len(right)
    for k in range(n):
        right[k] /= U[k, k]
        c = right[k]
        for j in range(k + 1, n):
            right[j] -= c * U[k, j]
    for k in range(n - 1, -1, -1):
        total = right[k]
        for j in range(k + 1, n):
            total -= U[k, j] * right[j]
        right[k] = total / U[k, k]
