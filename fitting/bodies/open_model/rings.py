"""The concentric edge loops round the mouth and the eyes of the MakeHuman head.

The base mesh runs in closed rings of quads from inside the mouth and behind the lids out over lips and lids, and a
column of edges crosses all rings. Lip borders, lid margins and paired upper and lower points can be named by
(ring, column) instead of by hand-picked vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fitting.bodies.open_model.source import HeadSource


@dataclass(frozen=True)
class Rings:
    """R rings of C columns. Columns start at the corner on the subject's right, run over the upper lip or lid to the
    subject's left, and back along the lower one."""

    vertices: Int[np.ndarray, "rings columns"]
    """Vertex ids; ring `rim` is where the head's skin meets the cavity, larger rings lie further out."""
    rim: int
    left_corner: int
    """Column of the corner on the subject's left; the right corner is column 0."""

    @property
    def upper(self) -> Int[np.ndarray, " columns"]:
        """Columns strictly between the corners on the upper side, from right to left."""
        return np.arange(1, self.left_corner)

    @property
    def lower(self) -> Int[np.ndarray, " columns"]:
        """Columns strictly between the corners on the lower side, from right to left."""
        return np.arange(self.vertices.shape[1] - 1, self.left_corner, -1)

    def out(self, steps: int) -> Int[np.ndarray, " columns"]:
        """The ring a number of steps outside the rim (negative: inside the cavity)."""
        return self.vertices[self.rim + steps]


def trace_rings(
    source: HeadSource, shape: Float[np.ndarray, "vertices 3"], cavity: str, inward: int, outward: int
) -> Rings:
    """The rings round one cavity ('mouth_cavity', 'eye_cavity.L', 'eye_cavity.R') of a head shape (V,3)."""
    neighbours = _neighbours(source.quads)
    in_cavity = source.segment == cavity
    on_head = source.segment == "head"
    rim = {v for v in np.flatnonzero(on_head).tolist() if any(in_cavity[u] for u in neighbours[v])}
    loop = _ordered_loop(rim, neighbours)
    out = _walk(loop, neighbours, on_head, outward)
    inside = _walk(loop, neighbours, in_cavity, inward)
    rings = np.array(inside[::-1] + [loop] + out)
    return _from_right_corner(rings, inward, shape)


def _neighbours(quads: Int[np.ndarray, "quads 4"]) -> list[set[int]]:
    neighbours: list[set[int]] = [set() for _ in range(int(quads.max()) + 1)]
    for quad in quads.tolist():
        for a, b in zip(quad, quad[1:] + quad[:1], strict=True):
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours


def _ordered_loop(members: set[int], neighbours: list[set[int]]) -> list[int]:
    start = min(members)
    loop, previous = [start], -1
    while True:
        step = [u for u in sorted(neighbours[loop[-1]] & members) if u != previous]
        if len(loop) > 1 and step[0] == start:
            return loop
        previous = loop[-1]
        loop.append(step[0])


def _walk(
    loop: list[int], neighbours: list[set[int]], allowed: Bool[np.ndarray, " vertices"], steps: int
) -> list[list[int]]:
    """Follows every column away from the loop; each vertex has exactly one neighbour further on."""
    rings, seen = [loop], set(loop)
    for _ in range(steps):
        following = [[u for u in neighbours[v] if u not in seen and allowed[u]] for v in rings[-1]]
        if any(len(step) != 1 for step in following):
            raise ValueError(f"the rings end after {len(rings) - 1} steps, {steps} were asked for")
        rings.append([step[0] for step in following])
        seen.update(rings[-1])
    return rings[1:]


def _from_right_corner(
    rings: Int[np.ndarray, "rings columns"], rim: int, shape: Float[np.ndarray, "vertices 3"]
) -> Rings:
    outline = shape[rings[rim + 4]]  # well outside the rim, where the corner is unmistakable
    right = int(outline[:, 0].argmin())
    rings = np.roll(rings, -right, axis=1)
    left = int(shape[rings[rim + 4], 0].argmax())
    first_half = shape[rings[rim + 4, 1:left], 1].mean()
    second_half = shape[rings[rim + 4, left + 1 :], 1].mean()
    if first_half < second_half:  # the loop ran along the lower side first
        rings = np.concatenate([rings[:, :1], rings[:, :0:-1]], axis=1)
        left = rings.shape[1] - left
    return Rings(rings, rim, left)
