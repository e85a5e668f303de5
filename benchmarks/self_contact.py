"""Poses of the open body that go through themselves, clean ones, and how much of a body is inside itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import roma
import torch

from fitting.bodies.body import SkinnedBody
from fitting.contact import Mask, crossing_pairs, find_buried
from fitting.contact.depth import REACH
from fitting.posture import with_arms
from fitting.types import Parameters

DISTANCE = 3.0
SPREAD = 0.15  # radians, of every joint named below
DEEP = 0.015  # metres: of poses that count as penetrating
CELL = 0.002
# Radians about the joints' own axes in the T-pose (y up, x to the subject's left), one pose of each kind.
SITTING = {
    "left_hip": (-1.4, 0.0, 0.0),
    "right_hip": (-1.4, 0.0, 0.0),
    "left_knee": (1.5, 0, 0),
    "right_knee": (1.5, 0, 0),
}
KINDS = {
    "hand in thigh": {
        **SITTING,
        "left_shoulder": (0.1, -0.5, -1.15), "right_shoulder": (0.1, 0.5, 1.15),
        "left_elbow": (0.0, -1.1, 0.0), "right_elbow": (0.0, 1.1, 0.0),
    },
    "arm in chest": {
        "left_shoulder": (0.9, -0.5, -0.9), "right_shoulder": (0.9, 0.5, 0.9),
        "left_elbow": (0.0, -2.0, 0.0), "right_elbow": (0.0, 2.0, 0.0),
    },
    "legs crossed": {
        "left_hip": (-0.5, 0.0, -0.35), "right_hip": (-0.5, 0.0, 0.35),
        "left_knee": (0.7, 0.0, 0.0), "right_knee": (0.7, 0.0, 0.0),
        "left_shoulder": (0.0, 0.0, -1.1), "right_shoulder": (0.0, 0.0, 1.1),
    },
}  # fmt: skip


def draw(body: SkinnedBody, mask: Mask, kind: str, rng: np.random.Generator) -> Iterator[Parameters]:
    """Poses round a kind's that penetrate, in the camera's world."""
    while True:
        pose = np.zeros((21, 3))
        for name, vector in KINDS[kind].items():
            pose[body.joint_names.index(name) - 1] = vector + SPREAD * rng.standard_normal(3)
        turn = roma.rotvec_to_rotmat(torch.tensor([0.0, rng.uniform(-0.6, 0.6), 0.0]))
        changes = {
            "body_pose": roma.rotvec_to_rotmat(torch.as_tensor(pose)).float()[None, None],
            "global_orient": turn[None, None, None],
            "betas": torch.as_tensor(rng.standard_normal((1, 1, 10))).float(),
            "transl": torch.tensor([[[0.0, 0.1, -DISTANCE]]]),
        }
        parameters = body.neutral(1, 1).replace(changes)
        points = body.pose(parameters).points[0, 0]
        if deepest(points, mask) > DEEP:
            yield parameters


def deepest(points: torch.Tensor, mask: Mask) -> float:
    """Metres."""
    buried = find_buried(points, mask)
    place = (points[mask.surface.faces[buried.face]] * buried.weights[..., None]).sum(dim=1)
    return float((points[buried.vertex] - place).norm(dim=1).max()) if len(place) else 0.0


def overlap(points: np.ndarray, mask: Mask, boxes: np.ndarray) -> float:
    """Volume (m3) in the boxes that lies in two layers of a closed surface: along rays on a grid, between the places
    where the number of layers, counted up on entering and down on leaving, is two or more. Folds, where the layers are
    parts that the mask lets touch, are left out."""
    faces, parts, looked_at = mask.surface.faces.numpy(), mask.surface.face_parts.numpy(), mask.parts.numpy()
    points = points + np.array([1.234567e-4, 2.345678e-4, 0.0])  # off the grid: a ray must not meet an edge
    grid = points[:, :2] / CELL
    corners, depth = grid[faces], points[faces, 2]
    low, high = np.ceil(corners.min(axis=1)).astype(int), np.floor(corners.max(axis=1)).astype(int)
    area = cross2(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    columns, heights, signs, met = [], [], [], []
    reach = (high - low).max(axis=0)
    for dx in range(reach[0] + 1):
        for dy in range(reach[1] + 1):
            cell = low + (dx, dy)
            kept = (cell <= high).all(axis=1) & (np.abs(area) > 1e-12)
            rest, where = corners[kept] - cell[kept][:, None], cell[kept]
            weights = np.stack([cross2(rest[:, (k + 1) % 3], rest[:, (k + 2) % 3]) for k in range(3)], axis=1)
            weights /= area[kept][:, None]
            hit = (weights >= 0).all(axis=1)
            columns.append(where[hit])
            heights.append((weights[hit] * depth[kept][hit]).sum(axis=1))
            signs.append(np.sign(area[kept][hit]))
            met.append(parts[kept][hit])
    column, height, sign = np.concatenate(columns), np.concatenate(heights), np.concatenate(signs)
    order = np.lexsort((height, column[:, 1], column[:, 0]))
    column, height, sign, part = column[order], height[order], sign[order], np.concatenate(met)[order]
    same = (column[1:] == column[:-1]).all(axis=1)
    total = np.cumsum(-sign)  # rays go up: a surface that faces down is entered
    first = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(total)), 0))
    layers = (total - (total + sign)[first])[:-1]
    middle = np.concatenate([column[1:] * CELL, (height[1:, None] + height[:-1, None]) / 2], axis=1)
    inside = np.zeros(len(middle), dtype=bool)
    for lower, upper in boxes:
        inside |= ((middle > lower) & (middle < upper)).all(axis=1)
    apart = looked_at[part[:-1], part[1:]]  # of an interval's ends; of a finger's, with what is outside it
    around = np.pad(apart & same, 1)
    inside &= apart | (around[:-2] & around[2:])
    return float((np.diff(height) * (same & inside & (layers >= 2))).sum() * CELL**2)


def cross2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def boxes_of(points: torch.Tensor, mask: Mask) -> np.ndarray:
    """Round what crosses, one box for every two parts (boxes, 2, 3)."""
    pairs = crossing_pairs(points, mask)
    parts = mask.surface.face_parts[pairs].sort(dim=1).values
    kinds, kind = torch.unique(parts, dim=0, return_inverse=True)
    corners = [points[mask.surface.faces[pairs[kind == k]]].flatten(0, 2).numpy() for k in range(len(kinds))]
    return np.array([[c.min(axis=0) - REACH, c.max(axis=0) + REACH] for c in corners])


def near_pose(body: SkinnedBody, arms: str, rng: np.random.Generator) -> Parameters:
    """A person of any shape at rest, or with the arms down or forward, every joint of the body turned a little. Feet
    are a step apart: at rest they are so close that a turn of a twentieth puts one into the other."""
    rest = body.neutral(1, 1).replace({"betas": torch.as_tensor(rng.standard_normal((1, 1, 10))).float()})
    posed = rest if arms == "rest" else with_arms(body, rest, arms)
    vectors = 0.05 * rng.standard_normal((1, 1, 21, 3))
    for name, side in (("left_hip", 0.15), ("right_hip", -0.15)):
        vectors[..., body.joint_names.index(name) - 1, 2] += side
    turns = roma.rotvec_to_rotmat(torch.as_tensor(vectors).float())
    return posed.replace({"body_pose": turns @ posed["body_pose"]})


def of_joints(body: SkinnedBody, rows: torch.Tensor) -> Parameters:
    """Axis-angle of every joint in the body's order."""
    spans = body.surface.turned_by
    return body.neutral(1, 1).replace({n: roma.rotvec_to_rotmat(rows[s])[None, None] for n, s in spans.items()})
