"""Pictures of the open head for a landmark detector: random people, faces, views, paint and light.

Camera: OpenCV axes, pixel centres at integers. The head's frame is y up and z forward, hence the flip of y and z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fitting.bodies.open_model.expressions import mirrored_name
from fitting.camera import intrinsics
from fitting.render import normal_map, raycast
from fitting.render.maps import interpolate

FLIP = np.diag([1.0, -1.0, -1.0])
IDENTITY_SPREAD = 0.7
"""Of random people: fits of photographs have coefficients of 0.45 to 0.6 standard deviations in the mean."""
EYE_DISTANCE_PIXELS = 0.30
"""Outer eye corners apart, as a share of the picture's width, at the mean distance."""


@dataclass(frozen=True)
class Style:
    """What is painted on the head."""

    lips: bool = True
    brows: bool = False
    hair: bool = False


LIPS = Style()
FULL = Style(brows=True, hair=True)
PLAIN = Style(lips=False)


@dataclass(frozen=True)
class Pose:
    """Parameters of one picture. Angles in radians."""

    identity: Float[np.ndarray, " components"]
    """Standard deviations."""
    expression: Float[np.ndarray, " expressions"]
    """Raw units."""
    jaw: float
    """Opening about x."""
    gaze: Float[np.ndarray, " 2"]
    """Pitch (down positive) and yaw (to the subject's left positive) of both eyes."""
    turn: Float[np.ndarray, " 3"]
    """Pitch (down), yaw (subject's left), roll of the head."""
    focal: float
    """Focal length in picture widths."""
    seed: int
    """Of paint, light and background."""


@dataclass(frozen=True)
class View:
    """A posed head before a camera."""

    vertices: Float[np.ndarray, "vertices 3"]
    """Camera frame, metres."""
    K: Float[np.ndarray, "3 3"]
    eye_distance: float
    """Outer eye corners in pixels without foreshortening: the unit of all errors."""

    def project(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of points in the camera frame."""
        return points[..., :2] / points[..., 2:] * [self.K[0, 0], self.K[1, 1]] + self.K[:2, 2]


def rotation(pitch: float, yaw: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """Ry(yaw) Rx(pitch) Rz(roll) in the head's frame."""
    (cp, cy, cr), (sp, sy, sr) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def posed_head(model: Mapping[str, np.ndarray], pose: Pose) -> Float[np.ndarray, "vertices 3"]:
    """The head with identity, expression, jaw and gaze, its own frame."""
    rest = model["v_template"] + model["shapedirs"] @ np.concatenate([pose.identity, pose.expression]).astype(
        np.float32
    )
    joints = model["J_regressor"] @ rest
    gaze = rotation(pose.gaze[0], pose.gaze[1], 0.0)
    turns = (np.eye(3), np.eye(3), rotation(pose.jaw, 0.0, 0.0), gaze, gaze)
    posed = np.zeros_like(rest)
    for joint, turn in enumerate(turns):
        posed += model["weights"][:, joint, None] * ((rest - joints[joint]) @ turn.T + joints[joint])
    return posed


def make_view(model: Mapping[str, np.ndarray], pose: Pose, size: int) -> View:
    """The posed head turned about the point between and behind its eyes, in the middle of the picture."""
    head = posed_head(model, pose)
    corners = head[model["outer_eye_vertices"]]
    width = float(np.linalg.norm(corners[0] - corners[1]))
    focal = pose.focal * size
    distance = focal * width / (EYE_DISTANCE_PIXELS * size)
    centre = 0.5 * (corners[0] + corners[1]) + [0.0, -0.03, -0.05]
    vertices = (head - centre) @ (FLIP @ rotation(*pose.turn)).T + [0.0, 0.0, distance]
    return View(vertices, intrinsics(focal, (size, size)), EYE_DISTANCE_PIXELS * size)


def vertex_colours(
    model: Mapping[str, np.ndarray], style: Style, generator: np.random.Generator
) -> Float[np.ndarray, "vertices 3"]:
    """Linear paint 0..1 of random skin, lips, hair and iris."""
    tone = generator.beta(1, 2)
    skin = (1 - tone) * np.array([0.92, 0.73, 0.63]) + tone * np.array([0.45, 0.29, 0.21])
    lips = skin * generator.uniform([0.80, 0.50, 0.50], [1.0, 0.70, 0.72])
    hair = np.array([0.30, 0.20, 0.12]) * generator.uniform(0.2, 1.3)
    iris = generator.uniform([0.15, 0.12, 0.08], [0.45, 0.42, 0.45])
    names = list(model["part_names"])
    palette = np.tile(skin, (len(names), 1))
    fixed: dict[str, Sequence[float] | np.ndarray] = {
        "eyeball": (0.92, 0.91, 0.9),
        "pupil": (0.03, 0.03, 0.03),
        "teeth": (0.93, 0.91, 0.86),
        "tongue": (0.6, 0.3, 0.3),
    }
    fixed |= {"mouth_interior": (0.22, 0.08, 0.08), "iris": iris, "eye_socket": skin * 0.75}
    fixed |= {"lips": lips} if style.lips else {}
    fixed |= {"scalp": hair} if style.hair else {}
    for name, colour in fixed.items():
        palette[names.index(name)] = colour
    colours = palette[model["part"]]
    if style.brows:
        cover = generator.uniform(0.6, 1.0) * model["brow_cover"][:, None]
        colours = (1 - cover) * colours + cover * hair
    lashes = model["lash_cover"][:, None].astype(float)
    colours = (1 - lashes) * colours + lashes * np.array([0.12, 0.09, 0.08])
    # Light that comes from all sides does not reach into nostrils, lid folds and between the lips.
    return colours * (0.25 + 0.75 * model["openness"][:, None].astype(float) ** generator.uniform(0.5, 1.5))


def render(
    model: Mapping[str, np.ndarray], view: View, style: Style, size: int, seed: int
) -> UInt8[np.ndarray, "size size 3"]:
    """(size,size,3) uint8 picture."""
    generator = np.random.default_rng(seed)
    colours = vertex_colours(model, style, generator)
    light = generator.normal([0.0, -0.6, -1.0], [0.6, 0.4, 0.2])  # from above and before: camera axes, y down
    ambient = generator.uniform(0.45, 0.7)
    background = generator.uniform(0.1, 0.9, 3)
    hits = raycast(view.vertices, model["f"], view.K, (size, size))
    seen = hits.mask
    normal = normal_map(hits, view.vertices, model["f"])[seen]
    shade = ambient + (1.1 - ambient) * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)
    picture = np.tile(background, (size, size, 1))
    paint = interpolate(colours, model["f"], hits.triangle[seen], hits.barycentrics[seen])
    picture[seen] = paint * shade[:, None]
    return (255 * np.clip(picture, 0, 1)).astype(np.uint8)


def random_pose(model: Mapping[str, np.ndarray], generator: np.random.Generator, expressive: bool) -> Pose:
    """A random person, view and, if asked for, face: yaw +-30, pitch +-15, roll +-10 degrees."""
    names, kinds = list(model["expression_names"]), list(model["expression_kind"])
    betas = int(model["num_betas"])
    expression, jaw, gaze = np.zeros(len(names)), 0.0, np.zeros(2)
    if expressive:
        expression = random_expression(names, kinds, generator)
        jaw = generator.uniform(0.0, 0.35) * (generator.random() < 0.6)
        gaze = generator.normal(0, [0.1, 0.2])
    return Pose(
        identity=np.clip(generator.normal(0, IDENTITY_SPREAD, betas), -2.5, 2.5),
        expression=expression,
        jaw=float(jaw),
        gaze=gaze,
        turn=np.radians(generator.uniform([-15, -30, -10], [15, 30, 10])),
        focal=float(generator.choice([1.8, 3.0, 5.0])),
        seed=int(generator.integers(1 << 31)),
    )


def random_expression(
    names: list[str], kinds: list[str], generator: np.random.Generator
) -> Float[np.ndarray, " expressions"]:
    """A few expressions at once, mostly the same on both sides."""
    values = np.zeros(len(names))
    for k, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if generator.random() < 0.04:
            values[k] = generator.uniform(0, 1) if kind == "action" else generator.normal(0, 0.35)
            if generator.random() < 0.8:
                values[names.index(mirrored_name(name))] = values[k]
    return values
