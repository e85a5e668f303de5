"""The picture strip that lets a person judge a fit: input | mesh and landmarks over the input | seen from the side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fitting.render.crop import BACKGROUND, Crop
from fitting.render.marks import draw_dots, draw_lines
from fitting.render.mesh import Camera, Mesh, join
from fitting.render.shade import composite
from fitting.render.view import RAYS, Renderer

ROOM = 1.5
"""The side view's camera is at least this many times the half depth of what it sees away from its middle."""


@dataclass(frozen=True)
class Look:
    """How a strip is drawn. Colours are sRGB, 0..1."""

    opacity: float = 0.62  # of the mesh over the picture
    side_degrees: float = 70.0  # how far the side view is turned
    measured: tuple[float, float, float] = (0.10, 0.85, 0.35)
    fitted: tuple[float, float, float] = (1.00, 0.30, 0.20)


@dataclass(frozen=True)
class Subject:
    """One person of a picture: a mesh in camera axes (metres) and landmarks (pixels of the input, NaN: not there)."""

    mesh: Mesh | None
    measured: Float[np.ndarray, "points 2"] | None = None
    fitted: Float[np.ndarray, "points 2"] | None = None


def overlay(
    image: UInt8[np.ndarray, "rows columns 3"] | None,
    subjects: Sequence[Subject],
    K: Float[np.ndarray, "3 3"],
    crop: Crop,
    look: Look | None = None,
    renderer: Renderer = RAYS,
) -> UInt8[np.ndarray, "height width 3"]:
    """The strip of three panels: the third is square and stays empty where nobody has a mesh.

    Who is nearer to the camera covers who is behind. `image` None: a plain background.
    """
    look = look or Look()
    panel = crop.cut(image)
    meshes = [subject.mesh for subject in subjects if subject.mesh is not None]
    camera = Camera(crop.intrinsics(K), crop.size)
    side = np.full((crop.size[1], max(crop.size), 3), BACKGROUND, dtype=np.float32)
    fitted = np.array(panel)
    if meshes:
        mesh = join(meshes)
        fitted = composite(renderer.layer(mesh, camera), panel, look.opacity if image is not None else 1.0)
        side = composite(renderer.layer(mesh, side_camera(mesh, camera, side, look.side_degrees)), side)
    draw_landmarks(fitted, subjects, crop, look)
    if image is None:  # the landmarks are the input
        draw_landmarks(panel, [Subject(None, subject.measured) for subject in subjects], crop, look)
    return np.concatenate([to_bytes(part) for part in (panel, fitted, side)], axis=1)


def side_camera(mesh: Mesh, camera: Camera, side: np.ndarray, degrees: float) -> Camera:
    """Beside the mesh, as far from its middle and at the same scale: the mesh turns about the vertical.

    The middle keeps its row, so that eyes and mouth stay level with the panel beside it, and is set half-way across.
    People who stand far apart would come too near to the camera, or reach beyond the panel: it then stands further
    off, or shows them smaller.
    """
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    turned = (mesh.vertices - middle) @ rotation.T
    # On the optical axis a turned head is seen straight from the side, wherever it stood in the picture.
    target = np.array([0, middle[1], middle[2]])
    back = max(1.0, ROOM * np.ptp(turned[:, 2]) / 2 / middle[2])
    K = np.array(camera.K)
    K[0, 2] = (side.shape[1] - 1) / 2
    target *= [1, back, back]
    K[0, 0], K[1, 1] = back * K[0, 0], back * K[1, 1]
    reach = np.abs(K[0, 0] * turned[:, 0] / (turned[:, 2] + target[2])).max()
    smaller = min(1.0, side.shape[1] / 2 / reach)
    K[0, 0], K[1, 1] = smaller * K[0, 0], smaller * K[1, 1]
    return Camera(K, (side.shape[1], side.shape[0]), rotation, target - rotation @ middle)


def draw_landmarks(
    picture: Float[np.ndarray, "height width 3"], subjects: Sequence[Subject], crop: Crop, look: Look
) -> None:
    """Measured points as discs, fitted ones as smaller dots on top, and a line from one to the other."""
    for subject in subjects:
        count = max((len(p) for p in (subject.measured, subject.fitted) if p is not None), default=0)
        radius = max(crop.size) / 512 * (2.1 if count <= 150 else 1.3)
        measured = None if subject.measured is None else crop.to_panel(subject.measured)
        fitted = None if subject.fitted is None else crop.to_panel(subject.fitted)
        if measured is not None and fitted is not None:
            apart = np.linalg.norm(measured - fitted, axis=1) > radius  # a shorter line would hide under its dots
            draw_lines(picture, measured[apart], fitted[apart], look.fitted)
        if measured is not None:
            draw_dots(picture, measured, radius, look.measured)
        if fitted is not None:
            draw_dots(picture, fitted, 0.55 * radius, look.fitted)


def to_bytes(picture: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """0..1 to 0..255, rounded."""
    scaled = np.clip(picture, 0, 1)
    scaled *= 255
    scaled += 0.5
    return scaled.astype(np.uint8)
