"""Boxes that overlap, by scipy: slower than a tree in C++, and there everywhere."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

CLASSES = 4  # boxes by size, each half as large as the last: a few large ones must not widen the search for all


def overlapping_boxes(
    lower: Float[np.ndarray, "faces 3"],
    upper: Float[np.ndarray, "faces 3"],
    parts: Int[np.ndarray, " faces"],
    looked_at: Bool[np.ndarray, "parts parts"],
) -> Int[np.ndarray, "pairs 2"]:
    """Pairs a < b, sorted. Boxes overlap only if their middles are nearer than the sum of their half sizes."""
    middle, half = (lower + upper) / 2, (upper - lower).max(axis=1) / 2
    largest = half.max(initial=1e-9)
    level = np.clip(np.floor(-np.log2(half.clip(1e-12) / largest)), 0, CLASSES - 1).astype(int)
    members = [np.flatnonzero(level == k) for k in range(CLASSES)]
    trees = [cKDTree(middle[rows]) if len(rows) else None for rows in members]
    found = []
    for i in range(CLASSES):
        for j in range(i, CLASSES):
            first, second = trees[i], trees[j]
            if first is None or second is None:
                continue
            reach = float(half[members[i]].max() + half[members[j]].max()) * (1 + 1e-5)
            lists = first.query_ball_tree(second, reach, p=np.inf)
            counts = np.fromiter(map(len, lists), int, len(lists))
            if not counts.sum():
                continue
            a = members[i].repeat(counts)
            b = members[j][np.concatenate([np.asarray(one, dtype=int) for one in lists if one])]
            kept = looked_at[parts[a], parts[b]] & (a != b)
            a, b = a[kept], b[kept]
            kept = ((lower[a] <= upper[b]) & (lower[b] <= upper[a])).all(axis=1)
            found.append(np.sort(np.stack([a[kept], b[kept]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), dtype=np.int64)
