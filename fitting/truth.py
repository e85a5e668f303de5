"""How far a fit is from a known truth, in millimetres and in the parameters' own units; the start beside it."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float

from fitting.types import Body, Parameters, Solution

CHUNK = 64  # frames whose whole mesh is in memory at once


def compare(solution: Solution) -> dict[str, object] | None:
    """Mean vertex error of the face region (mm), jitter of the same vertices (mm / frame^2) and errors of the blocks,
    of the result and of the start; None where no truth is known or it belongs to another model."""
    truth = solution.observations.truth
    if truth is None or truth.model != solution.body.name:
        return None
    frames = np.flatnonzero(solution.valid & truth.valid)
    # A start at the truth's shape of arrays: one problem of all frames, whatever the solver made of them.
    rows = {"fit": solution.parameters.rows(), "start": solution.start.rows(), "truth": dict(truth.values)}
    meshes = {who: face_points(solution.body, values, frames) for who, values in rows.items()}
    return {
        who: {
            "face_error_mm": 1000 * mean_distance(meshes[who], meshes["truth"]),
            "face_error_in_head_mm": 1000 * mean_distance(align_each(meshes[who], meshes["truth"]), meshes["truth"]),
            "jitter_mm": 1000 * jitter(meshes[who]),
            "blocks": {
                name: float(np.sqrt(np.mean((rows[who][name][frames] - value[frames]) ** 2)))
                for name, value in rows["truth"].items()
                if name in rows[who]
            },
        }
        for who in ("start", "fit")
    } | {"truth_jitter_mm": 1000 * jitter(meshes["truth"]), "frames": len(frames)}


def face_points(body: Body, rows: dict[str, np.ndarray], frames: np.ndarray) -> Float[np.ndarray, "frames points 3"]:
    """Face vertices in the world for rows of parameters as they stand in files."""
    region = body.face_region if body.face_region is not None else np.arange(int(np.max(body.faces)) + 1)
    parts = []
    for first in range(0, len(frames), CHUNK):
        parameters = from_rows(body, {n: v[frames[first : first + CHUNK]] for n, v in rows.items()})
        with torch.no_grad():
            parts.append(body.pose(parameters).points[:, 0, torch.as_tensor(region)].double().cpu().numpy())
    return np.concatenate(parts)


def from_rows(body: Body, rows: dict[str, np.ndarray]) -> Parameters:
    """One problem per row."""
    count = len(rows["transl"])
    neutral = body.neutral(count, 1)
    changes = {}
    for block in body.blocks:
        if block.name in rows:
            changes[block.name] = block.from_rows(rows[block.name])[:, None].to(neutral["transl"])
    return neutral.replace(changes)


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


def align_each(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Every frame moved rigidly onto the truth: what is left is shape and expression (Kabsch, 1976)."""
    source, target = torch.as_tensor(points), torch.as_tensor(onto)
    rotation, place = roma.rigid_points_registration(source, target)
    return (source @ rotation.mT + place[:, None]).numpy()


def jitter(points: np.ndarray) -> float:
    """Root mean square of second differences over time."""
    return float(np.sqrt(np.mean(np.sum(np.diff(points, 2, axis=0) ** 2, axis=-1)))) if len(points) > 2 else 0.0
