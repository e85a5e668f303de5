"""Expression directions of the open head: MakeHuman's facial actions and expression units, made fit for fitting.

They lose what a joint does (jaw, gaze), are made exact mirror images of one another, and a blink ends where the lids
meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.align import mirrored
from fitting.bodies.open_model.mesh import HeadMesh
from fitting.bodies.open_model.rings import Rings
from fitting.bodies.open_model.source import HeadSource

DROPPED_ACTIONS = (
    # The jaw joint and the eye joints do these. jawForward, a translation, goes too: on stills it is the prognathic
    # chin of the identity under a second name. No other action or unit turns the chin about the jaw by 0.1 degrees.
    *("jawOpen", "jawLeft", "jawRight", "jawForward", "tongueOut"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight"),
)


@dataclass(frozen=True)
class Expressions:
    """E expression directions in raw units: an action runs 0..1, a unit about -1..1."""

    names: tuple[str, ...]
    kind: tuple[str, ...]
    directions: Float[np.ndarray, "vertices 3 expressions"]
    """Metres at value 1."""

    @property
    def standard_deviation(self) -> Float[np.ndarray, " expressions"]:
        return np.full(len(self.names), 0.3)

    @property
    def bounds(self) -> Float[np.ndarray, "expressions 2"]:
        return np.array([(0.0, 1.0) if kind == "action" else (-1.0, 1.0) for kind in self.kind])


def expression_directions(source: HeadSource, mesh: HeadMesh, template: Float[np.ndarray, "vertices 3"]) -> Expressions:
    """All expressions on the mesh of a template (V,3). Eyeballs, teeth and tongue stay: joints move them."""
    wanted = [k for k, name in enumerate(source.expression_names) if name not in DROPPED_ACTIONS]
    names = tuple(str(source.expression_names[k]) for k in wanted)
    kind = tuple(str(source.expression_kind[k]) for k in wanted)
    columns = np.zeros((len(wanted), mesh.vertex_count, 3))
    columns[:, : len(mesh.kept)] = source.expressions[wanted][:, mesh.kept]
    rigid = np.flatnonzero(np.isin(source.group[mesh.kept], ["upper_teeth", "lower_teeth", "tongue"]))
    columns[:, rigid] = 0  # mouthFunnel moves the teeth by 0.1 mm
    columns = symmetric_columns(names, columns, mesh.mirror)
    for name in ("eyeBlinkLeft", "eye-left-closure"):
        closing = meeting_lids(columns[names.index(name)], mesh.left_eye, template)
        columns[names.index(name)] = closing
        columns[names.index(mirrored_name(name))] = mirrored(closing, mesh.mirror)
    return Expressions(names, kind, columns.transpose(1, 2, 0))


def mirrored_name(name: str) -> str:
    """eyeBlinkLeft <-> eyeBlinkRight, eye-left-slit <-> eye-right-slit, mouthLeft <-> mouthRight; others unchanged."""
    for left, right in (("Left", "Right"), ("-left-", "-right-")):
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    return name


def symmetric_columns(
    names: tuple[str, ...], columns: Float[np.ndarray, "expressions vertices 3"], mirror: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "expressions vertices 3"]:
    """Averages each direction (E,V,3) with the mirror image of its partner (the files are rounded to 0.1 mm)."""
    partner = [names.index(mirrored_name(name)) for name in names]
    return 0.5 * (columns + mirrored(columns[partner], mirror))


def meeting_lids(
    column: Float[np.ndarray, "vertices 3"], eye: Rings, template: Float[np.ndarray, "vertices 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Makes a closing direction (V,3) bring the lid margins together at value 1; MakeHuman's go 4 mm too far."""
    margin = eye.out(2)
    upper, lower = margin[eye.upper], margin[eye.lower]
    middle = slice(3, -3)  # the corners hardly move
    gap = template[upper] - _at_x(template[lower], template[upper, 0])
    travel = column[upper] - _at_x(np.c_[template[lower, 0], column[lower, 1:]], template[upper, 0])
    column = column * np.median(-gap[middle, 1] / travel[middle, 1])
    closed = template + column
    rest = _at_x(closed[lower], closed[upper, 0]) - closed[upper]
    rest[:, 0] = 0
    rest[:, 2] = np.clip(rest[:, 2] + 2e-4, -1e-3, 1e-3)  # the upper lid lies before the lower
    for step in range(-3, 9):
        fade = np.clip(min((9 - step) / 6, (step + 5) / 5), 0, 1)
        column[eye.out(step)[eye.upper]] += fade * rest
    return column


def _at_x(curve: Float[np.ndarray, "curve 3"], x: Float[np.ndarray, " points"]) -> Float[np.ndarray, "points 3"]:
    """Points of a curve (M,3) that runs from right to left, at given x."""
    return np.stack([x, np.interp(x, curve[:, 0], curve[:, 1]), np.interp(x, curve[:, 0], curve[:, 2])], axis=1)
