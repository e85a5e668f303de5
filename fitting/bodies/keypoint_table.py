"""A body's own keypoints by name: any layout whose points have these names fits, none needs a table of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.layouts import IBUG68
from fitting.types import Contour, Embedding, Layout, ModelError

CONTOUR_NAMES = IBUG68.point_names[:17]
"""The points that slide: the jaw line, from the subject's right ear to the left."""


@dataclass(frozen=True)
class TablePoint:
    """A weighted sum of vertices, or (`joint` not -1) a joint of the skeleton."""

    vertices: np.ndarray
    weights: np.ndarray
    joint: int = -1


@dataclass(frozen=True)
class KeypointTable:
    """Everything a body knows of its surface by name."""

    points: Mapping[str, TablePoint]
    contour: Contour | None = None  # all of CONTOUR_NAMES

    def embedding(self, layout: Layout) -> Embedding | None:
        """Where the layout's points sit; those that the body does not know are absent. None: it knows none."""
        contour = self._contour_of(layout)
        known = [k for k, name in enumerate(layout.point_names) if name in self.points]
        if contour is not None:  # a jaw line that slides is better than one that does not
            known = [k for k in known if layout.point_names[k] not in CONTOUR_NAMES]
        if not known:
            return None
        rows = [self.points[layout.point_names[k]] for k in known]
        vertices = np.zeros((len(rows), max(len(row.vertices) for row in rows)), dtype=np.int64)
        weights = np.zeros(vertices.shape, dtype=np.float32)
        for k, row in enumerate(rows):
            vertices[k, : len(row.vertices)], weights[k, : len(row.vertices)] = row.vertices, row.weights
        joints = torch.tensor([row.joint for row in rows])
        return Embedding(
            layout,
            torch.tensor(known),
            torch.as_tensor(vertices),
            torch.as_tensor(weights),
            contour,
            joints if bool((joints >= 0).any()) else None,
        )

    def _contour_of(self, layout: Layout) -> Contour | None:
        if self.contour is None:
            return None
        there = [(k, CONTOUR_NAMES.index(n)) for k, n in enumerate(layout.point_names) if n in CONTOUR_NAMES]
        if not there:
            return None
        points, columns = (torch.tensor(side) for side in zip(*there, strict=True))
        return replace(
            self.contour,
            points=points,
            vertices=self.contour.vertices[:, columns],
            weights=self.contour.weights[:, columns],
        )


def read_table(extras: Mapping[str, np.ndarray], vertices: int, name: str) -> KeypointTable:
    """The table inside an open body's file. Raises ModelError where its arrays do not fit each other."""
    needed = [f"keypoint_{part}" for part in ("names", "starts", "vertices", "weights", "joints")]
    if missing := [key for key in needed if key not in extras]:
        raise ModelError(f"{name}: has no {' and no '.join(missing)}: the file is incomplete, install it again")
    names, starts, corners, weights, joints = (np.asarray(extras[key]) for key in needed)
    fits = len(starts) == len(names) + 1 and len(joints) == len(names) and len(corners) == len(weights)
    if not fits or starts[-1] != len(corners) or corners.max(initial=0) >= vertices:
        raise ModelError(f"{name}: its table of keypoints does not fit its {vertices} vertices: install it again")
    points = {
        str(point): TablePoint(corners[first:last].astype(np.int64), weights[first:last], int(joint))
        for point, first, last, joint in zip(names, starts[:-1], starts[1:], joints, strict=True)
    }
    return KeypointTable(points, read_contour(extras))


def read_contour(extras: Mapping[str, Any]) -> Contour | None:
    if "contour_yaw" not in extras:
        return None
    return Contour(
        torch.arange(len(CONTOUR_NAMES)),
        torch.as_tensor(np.asarray(extras["contour_yaw"], dtype=np.float32)),
        torch.as_tensor(np.asarray(extras["contour_vertices"], dtype=np.int64)),
        torch.as_tensor(np.asarray(extras["contour_weights"], dtype=np.float32)),
    )


def embedded_places(
    embedding: Embedding, template: Float[Tensor, "vertices 3"], joints: Float[Tensor, "joints 3"]
) -> Float[Tensor, "points 3"]:
    """Where an embedding's fixed points are on the mean body at rest."""
    places = (template[embedding.vertices] * embedding.weights.to(template)[..., None]).sum(dim=1)
    if embedding.joints is None:
        return places
    return torch.where((embedding.joints >= 0)[:, None], joints[embedding.joints.clamp(min=0)], places)


def yard_stick(embedding: Embedding, template: Float[Tensor, "vertices 3"], joints: Float[Tensor, "joints 3"]) -> float:
    """Metres between the layout's size pair on the mean body; NaN where the body lacks those points."""
    place = {int(index): k for k, index in enumerate(embedding.points)}
    places = embedded_places(embedding, template, joints)
    ends = []
    for side in embedding.layout.size_pair:
        found = [place[i] for i in side if i in place]
        if not found:
            return float("nan")
        ends.append(places[found].mean(dim=0))
    return float((ends[0] - ends[1]).norm())
