"""Compiled: what ends a matrix, problem by problem. Imported where it is used, for numba may be missing."""

from __future__ import annotations

from typing import no_type_check

from numba import njit

from fitting.compiled import MATH


@njit(cache=True, nogil=True, fastmath=MATH)
@no_type_check
def finish(bend, place, units, matrix, diagonal):
    """In natural steps, the lower triangle: first the diagonal as it stands to `diagonal`, then with the bend of
    unknowns `place`."""
    n = len(units)
    for k in range(len(matrix)):
        target = matrix[k]
        for i in range(n):
            diagonal[k, i] = target[i, i]
        for i in range(len(place)):
            for j in range(i + 1):
                target[place[i], place[j]] += bend[k, i, j]
        for i in range(n):
            for j in range(i + 1):
                target[i, j] *= units[i] * units[j]
