"""Codes decoded by a body: meshes, landmarks and the head's rigid motion, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from fitting.track import Track, parameters_of
from fitting.types import Body

CHUNK = 64  # frames in memory together


def chunks(frames: int) -> Iterator[slice]:
    return (slice(first, min(first + CHUNK, frames)) for first in range(0, frames, CHUNK))


def meshes(body: Body, track: Track) -> Iterator[Float[np.ndarray, "vertices 3"]]:
    """The whole mesh of every frame, in the world."""
    for rows in chunks(len(track)):
        with torch.no_grad():
            yield from body.pose(parameters_of(body, track, rows)).points[:, 0].double().cpu().numpy()


def landmarks(body: Body, track: Track, layout: str) -> Float[np.ndarray, "frames points 3"]:
    """A layout's points in the world, NaN for those that the body has no place for."""
    embedding = body.embeddings[layout]
    restricted = body.restrict(embedding)
    points = [embedding.points] if embedding.contour is None else [embedding.points, embedding.contour.points]
    index = torch.cat(points).cpu().numpy()
    found = np.full((len(track), len(embedding.layout), 3), np.nan)
    for rows in chunks(len(track)):
        with torch.no_grad():
            posed = restricted.pose(parameters_of(restricted, track, rows)).points[:, 0].double().cpu().numpy()
        found[rows.start : rows.stop, index] = posed
    return found


@dataclass(frozen=True)
class HeadMotion:
    """A point of the model at rest X, counted from `centre`, stands at R X + place in the world."""

    rotation: Float[np.ndarray, "frames 3 3"]
    place: Float[np.ndarray, "frames 3"]
    centre: Float[np.ndarray, " 3"]


def head_motion(body: Body, track: Track) -> HeadMotion:
    """How the skull moves, about the middle of the clip's mean face: neck and root together, jaw and eyes left out."""
    mean = {n: np.tile(v.mean(axis=0), (len(track), 1)) for n, v in track.values.items() if n in ("betas", "scale")}
    rigid = {n: v for n, v in track.values.items() if n in ("global_orient", "neck_pose", "transl")}
    shaped = Track(track.codes, track.names, track.format).with_values(dict.fromkeys(track.values))
    rest = shaped.with_values(mean)
    with torch.no_grad():
        at_rest = body.pose(parameters_of(body, rest, slice(0, 1)))
    centre = face_points(at_rest.points[0, 0].double().cpu().numpy(), body).mean(axis=0)
    pivot = at_rest.joints[0, 0, body.head_joint].double().cpu().numpy()
    turns, places = [], []
    for rows in chunks(len(track)):
        with torch.no_grad():
            posed = body.pose(parameters_of(body, rest.with_values({**mean, **rigid}), rows))
        turns.append(posed.rotations[:, 0, body.head_joint].double().cpu().numpy())
        places.append(posed.joints[:, 0, body.head_joint].double().cpu().numpy())
    turn = np.concatenate(turns)
    return HeadMotion(turn, np.concatenate(places) + turn @ (centre - pivot), centre)


def face_points(vertices: Float[np.ndarray, "vertices 3"], body: Body) -> Float[np.ndarray, "points 3"]:
    """The face's vertices where the body says which they are, else its landmarks, else all vertices."""
    if body.face_region is not None:
        return vertices[np.asarray(body.face_region)]
    for embedding in body.embeddings.values():
        weights = embedding.weights.double().cpu().numpy()
        return np.einsum("pc,pcd->pd", weights, vertices[embedding.vertices.cpu().numpy()])
    return vertices


def to_pixels(points: Float[np.ndarray, "frames points 3"], K: Float[np.ndarray, "frames 3 3"]) -> np.ndarray:
    """Points of the world as Keyfit's camera sees them."""
    x, y, z = np.moveaxis(points * [1, -1, -1], -1, 0)
    fx, fy, cx, cy = (K[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return np.stack([fx * x / z + cx, fy * y / z + cy], axis=-1)
