"""sample:talking_head: a clip of the open head whose truth is known, for trying out, for tests and for benchmarks.

Nothing of it is stored: motion, noise and pictures follow from fixed seeds, the pictures are rendered when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float

from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.evidence import embedded_points
from fitting.render import Camera, Mesh, composite, shade_layer, to_bytes
from fitting.types import Body, Codes, Observations, Parameters

NAME = "sample:talking_head"
FPS = 25.0
SIZE = (512, 512)
DEPTH = 0.75  # metres
FRAMES_AT_ONCE = 256  # whose bodies are in memory together
FOCAL = 1.6 * max(SIZE)  # pixels
BACKGROUND = (0.32, 0.36, 0.40)

# How often and how strongly a face does what while it talks: (peak, seconds between, seconds long).
VISEMES = {
    "mouthFunnel": (0.5, 0.9, 0.25), "mouthPucker": (0.45, 1.3, 0.25), "mouthStretchLeft": (0.35, 1.1, 0.3),
    "mouthStretchRight": (0.35, 1.1, 0.3), "mouthSmileLeft": (0.6, 2.9, 1.4), "mouthSmileRight": (0.55, 2.9, 1.4),
    "mouthUpperUpLeft": (0.3, 1.7, 0.3), "mouthUpperUpRight": (0.3, 1.7, 0.3), "mouthPressLeft": (0.4, 2.1, 0.2),
    "mouthPressRight": (0.4, 2.1, 0.2), "mouthLowerDownLeft": (0.35, 1.5, 0.25),
    "mouthLowerDownRight": (0.35, 1.5, 0.25), "browInnerUp": (0.7, 2.3, 0.7), "browOuterUpLeft": (0.5, 2.3, 0.7),
    "browOuterUpRight": (0.5, 2.3, 0.7), "browDownLeft": (0.5, 3.7, 0.6), "browDownRight": (0.5, 3.7, 0.6),
    "cheekSquintLeft": (0.4, 2.9, 1.2), "cheekSquintRight": (0.4, 2.9, 1.2),
}  # fmt: skip
BLINK = (0.95, 1.4, 0.16)  # four frames


@dataclass(frozen=True)
class TalkingHead:
    """The clip's recipe: its length, and how wrong its landmarks and its start are."""

    frames: int = 120
    seed: int = 7
    noise_px: float = 1.0
    bias_percent: float = 0.0  # a constant displacement of every landmark, in percent of the outer eye distance
    layout: str = "mediapipe478"


def talking_head(body: Body, recipe: TalkingHead = TalkingHead()) -> Observations:  # noqa: B008
    """Observations with truth, a start as a regressor would give it, and pictures. `body` has ARKit's action names."""
    rng = np.random.default_rng(recipe.seed)
    truth = true_parameters(body, recipe.frames, rng)
    K = np.tile(intrinsics(FOCAL, SIZE), (recipe.frames, 1, 1))
    keypoints, confidence = look(body, truth, K, recipe, rng)
    names = tuple(f"{k:06d}" for k in range(recipe.frames))
    valid = np.ones(recipe.frames, dtype=bool)
    return Observations(
        person="000",
        layout=body.embeddings[recipe.layout].layout,
        keypoints=keypoints,
        confidence=confidence,
        names=names,
        image_sizes=np.tile(SIZE, (recipe.frames, 1)),
        is_clip=True,
        fps=FPS,
        timestamps=np.arange(recipe.frames) / FPS,
        pictures=RenderedPictures(body, truth, K, names),
        start=Codes(disturb(body, truth, rng), body.name, valid, K),
        truth=Codes(truth.rows(), body.name, valid, K),
    )


def look(
    body: Body, truth: Parameters, K: Float[np.ndarray, "frames 3 3"], recipe: TalkingHead, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points"]]:
    """What a detector would say, window by window: nothing of a long clip is made twice."""
    embedding = body.embeddings[recipe.layout]
    restricted, points = body.restrict(embedding), embedded_points(embedding)
    keypoints = np.zeros((recipe.frames, len(embedding.layout), 2), dtype=np.float32)
    confidence = np.zeros(keypoints.shape[:2], dtype=np.float32)
    windows = [slice(k, min(k + FRAMES_AT_ONCE, recipe.frames)) for k in range(0, recipe.frames, FRAMES_AT_ONCE)]
    for window in windows:
        pixels = project(restricted, truth.at(window), K[window])
        keypoints[window, points] = pixels + rng.normal(0, recipe.noise_px, pixels.shape)
    eyes = body.yard_sticks[recipe.layout] * FOCAL / DEPTH
    bias = rng.normal(0, recipe.bias_percent / 100 * eyes, (len(points), 2))
    for window in windows:
        keypoints[window, points] += bias
    confidence[:, points] = 1.0
    return keypoints, confidence


def true_parameters(body: Body, frames: int, rng: np.random.Generator) -> Parameters:
    """One identity; a head that sways, nods and turns; talking, smiling, frowning, blinking; eyes that wander."""
    sizes = {block.name: block.size for block in body.blocks}
    time = np.arange(frames) / FPS
    names = list(body.expression_names)
    expression = np.zeros((frames, sizes["expression"]))
    for name, course in VISEMES.items():
        expression[:, names.index(name)] = pulses(time, *course, rng)
    blink = pulses(time, *BLINK, rng)
    for side in ("Left", "Right"):
        expression[:, names.index(f"eyeBlink{side}")] = blink
    jaw = np.stack(
        [0.02 + pulses(time, 0.22, 0.45, 0.3, rng), wander(time, 0.01, rng), wander(time, 0.005, rng)], axis=1
    )
    head = np.stack([wander(time, 0.12, rng), wander(time, 0.28, rng), wander(time, 0.07, rng)], axis=1)
    gaze = np.stack([wander(time, 0.06, rng), wander(time, 0.15, rng), np.zeros(frames)], axis=1)
    place = np.stack([wander(time, 0.02, rng), wander(time, 0.02, rng) - 0.02, wander(time, 0.03, rng) - DEPTH], axis=1)
    return as_parameters(
        body,
        {
            "betas": rng.normal(0, 0.8, (1, sizes["betas"])),
            "expression": expression,
            "global_orient": head,
            "jaw_pose": jaw,
            "leye_pose": gaze,
            "reye_pose": gaze,
            "transl": place - middle_of_face(body),
        },
        frames,
    )


def middle_of_face(body: Body) -> Float[np.ndarray, " 3"]:
    posed = body.restrict(body.embeddings["mediapipe478"]).pose(body.neutral(1, 1))
    return posed.points[0, 0].mean(dim=0).double().cpu().numpy()


def disturb(body: Body, truth: Parameters, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a per-frame regressor would have said: a biased identity, noise on expression, head and jaw."""
    rows = {name: values.copy() for name, values in truth.rows().items()}
    frames = len(rows["transl"])
    rows["betas"] = (
        rows["betas"] + rng.normal(0, 0.6, rows["betas"].shape[1]) + rng.normal(0, 0.15, rows["betas"].shape)
    )
    rows["expression"] = rows["expression"] + rng.normal(0, 0.12, rows["expression"].shape)
    # 5 degrees in all: most of it drifts, two degrees jump from frame to frame.
    time = np.arange(frames) / FPS
    slow = np.stack([wander(time, np.deg2rad(4.6), rng) for _ in range(3)], axis=1)
    shaken = roma.rotvec_to_rotmat(torch.as_tensor(slow + rng.normal(0, np.deg2rad(2.0), (frames, 3))))
    head = roma.rotvec_to_rotmat(torch.as_tensor(rows["global_orient"]).double())
    rows["global_orient"] = roma.rotmat_to_rotvec(shaken @ head).numpy()
    rows["jaw_pose"] = rows["jaw_pose"] + rng.normal(0, 0.03, (frames, 3)) * [1, 0.3, 0.3]
    rows["transl"] = rows["transl"] + rng.normal(0, [0.002, 0.002, 0.01], (frames, 3))
    for name in ("leye_pose", "reye_pose"):
        rows[name] = np.zeros_like(rows[name])  # no regressor of these gives the gaze
    return rows


def as_parameters(body: Body, rows: dict[str, np.ndarray], frames: int) -> Parameters:
    """File rows (frames or 1, size; rotations as axis-angle) to parameters of one problem; the rest is neutral."""
    neutral = body.neutral(1, frames)
    changes = {}
    for block in body.blocks:
        if block.name in rows:
            value = block.from_rows(rows[block.name])
            changes[block.name] = (value[:1] if block.shared else value)[None].to(neutral["transl"])
    return neutral.replace(changes)


def project(body: Body, parameters: Parameters, K: np.ndarray) -> Float[np.ndarray, "frames points 2"]:
    with torch.no_grad():
        points = body.pose(parameters).points[0]
        return camera_to_pixels(world_to_camera(points), torch.as_tensor(K).to(points)).double().cpu().numpy()


def pulses(time: np.ndarray, peak: float, apart: float, long: float, rng: np.random.Generator) -> np.ndarray:
    """Raised-cosine bumps at irregular times."""
    course = np.zeros_like(time)
    moment = rng.uniform(0, apart)
    while moment < time[-1]:
        phase = np.clip((time - moment) / (long * rng.uniform(0.85, 1.15)), -0.5, 0.5)
        course = np.maximum(course, peak * rng.uniform(0.6, 1.0) * 0.5 * (1 + np.cos(2 * np.pi * phase)))
        moment += apart * rng.uniform(0.6, 1.5)
    return course


def wander(time: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """A slow, smooth, aimless course with standard deviation `size`: five waves of 1.5 to 8 seconds."""
    course = np.zeros_like(time)
    for _ in range(5):
        course += np.sin(2 * np.pi * time / rng.uniform(1.5, 8.0) + rng.uniform(0, 2 * np.pi))
    return course * size / np.sqrt(2.5)


@dataclass(frozen=True)
class RenderedPictures:
    """The clip's pictures, rendered one at a time."""

    body: Body
    parameters: Parameters
    K: Float[np.ndarray, "frames 3 3"]
    names: tuple[str, ...]
    source: str = NAME
    fps: float = FPS
    is_clip: bool = True

    @property
    def image_sizes(self) -> np.ndarray:
        return np.tile(SIZE, (len(self.names), 1))

    @property
    def timestamps(self) -> np.ndarray:
        return np.arange(len(self.names)) / FPS

    @property
    def focal_hints(self) -> np.ndarray:
        return self.K[:, 0, 0]

    def __len__(self) -> int:
        return len(self.names)

    def read(self) -> Iterator[np.ndarray]:
        for k in range(len(self.names)):
            frame = self.parameters.at(slice(k, k + 1))
            with torch.no_grad():
                vertices = world_to_camera(self.body.pose(frame).points[0, 0]).double().cpu().numpy()
            layer = shade_layer(Mesh(vertices, self.body.faces, self.body.colours), Camera(self.K[k], SIZE))
            yield to_bytes(composite(layer, np.full((SIZE[1], SIZE[0], 3), BACKGROUND, dtype=np.float32)))
