"""MediaPipe's 478 landmarks on the open head: renders, detections, placement."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from fitting.bodies.open_model.embedding import (
    Detections,
    Placement,
    joined,
    mirrored_placement,
    place_midline,
    place_pairs,
)
from fitting.bodies.open_model.mesh import HeadMesh
from fitting.bodies.open_model.render import FULL, LIPS, Style, make_view, random_pose, render
from fitting.detectors.backends import open_backend
from fitting.layouts import MEDIAPIPE478

PICTURE = 448
MIN_CONFIDENCE = 0.5
TRAINING_SEED = 100
NEUTRAL_VIEWS, EXPRESSIVE_VIEWS = 200, 300
TRAINING_STYLES = (LIPS, FULL)


@dataclass(frozen=True)
class LandmarkEmbedding:
    """P landmarks of a layout on the surface."""

    points: Int[np.ndarray, " points"]
    """Indices in the layout."""
    placement: Placement


def observe(
    model: Mapping[str, np.ndarray], count: int, expressive: bool, styles: Sequence[Style], seed: int
) -> Iterator[Detections]:
    """One detection at a time of random heads, each in every style; pictures without a face are left out."""
    generator = np.random.default_rng(seed)
    with contextlib.closing(open_backend(None, MIN_CONFIDENCE)) as backend:
        for _ in range(count):
            pose = random_pose(model, generator, expressive)
            view = make_view(model, pose, PICTURE)
            vertices = (view.project(view.vertices) / view.eye_distance)[None].astype(np.float32)
            depths = (1 / view.vertices[None, :, 2]).astype(np.float32)
            for style in styles:
                faces = backend.meshes(render(model, view, style, PICTURE, pose.seed))
                if faces:
                    points = (faces[0].points / view.eye_distance)[None].astype(np.float32)
                    yield Detections(vertices, depths, points)


def training_detections(model: Mapping[str, np.ndarray]) -> Detections:
    """Neutral and expressive faces in both training styles."""
    neutral = observe(model, NEUTRAL_VIEWS, False, TRAINING_STYLES, TRAINING_SEED)
    expressive = observe(model, EXPRESSIVE_VIEWS, True, TRAINING_STYLES, TRAINING_SEED + 1)
    return joined(itertools.chain(neutral, expressive))


def place_mediapipe(model: Mapping[str, np.ndarray], mesh: HeadMesh, detections: Detections) -> LandmarkEmbedding:
    """All 478 points, mirrored pairs together: irises on the eyeballs, the others on skin and lips."""
    faces, template = mesh.triangles, model["v_template"]
    irises = set(MEDIAPIPE478.groups["irises"])
    pairs = np.array(MEDIAPIPE478.pairs)
    on_eye = np.array([left in irises for left, _ in pairs])
    in_middle = np.setdiff1d(np.arange(len(MEDIAPIPE478)), pairs.ravel())
    left_half = template[faces, 0].mean(axis=1) >= 0
    left_eyeball = np.isin(faces, mesh.left_eyeball).all(axis=1)
    skin = skin_triangles(mesh, model["part"], list(model["part_names"]))
    vertices, weights = np.zeros((len(MEDIAPIPE478), 3), dtype=int), np.zeros((len(MEDIAPIPE478), 3))
    for rows, allowed in ((on_eye, left_eyeball), (~on_eye, skin & left_half)):
        left = place_pairs(pairs[rows], faces, mesh.mirror, detections, allowed)
        right = mirrored_placement(left, mesh.mirror)
        for side, placed in ((0, left), (1, right)):
            vertices[pairs[rows, side]], weights[pairs[rows, side]] = placed.vertices, placed.weights
    middle = place_midline(in_middle, midline_triangles(mesh, faces[skin]), detections)
    vertices[in_middle], weights[in_middle] = middle.vertices, middle.weights
    return LandmarkEmbedding(np.arange(len(MEDIAPIPE478)), Placement(vertices, weights))


def skin_triangles(
    mesh: HeadMesh, part: Int[np.ndarray, " vertices"], names: list[str]
) -> Bool[np.ndarray, " triangles"]:
    """Triangles that may carry landmarks of the skin: outside, and the first rings inside lips and lids."""
    outside = np.isin(part, [names.index(name) for name in ("skin", "lips", "brows", "scalp", "ears", "neck")])
    for rings, inside in ((mesh.mouth, 3), (mesh.left_eye, 2), (mesh.right_eye, 2)):
        outside[rings.vertices[rings.rim - inside : rings.rim + 1].ravel()] = True
    return outside[mesh.triangles].all(axis=1)


def midline_triangles(mesh: HeadMesh, faces: Int[np.ndarray, "triangles 3"]) -> Int[np.ndarray, "edges 3"]:
    """One triangle for each edge that runs along the midline, turned so that the edge comes first."""
    turned = np.concatenate([faces, faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])
    edges = turned[:, :2]
    turned = turned[(mesh.mirror[edges] == edges).all(axis=1)]
    first = np.unique(np.sort(turned[:, :2], axis=1), axis=0, return_index=True)[1]
    return turned[first]
