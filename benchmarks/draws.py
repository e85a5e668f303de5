"""Heads drawn from a recipe's own beliefs, and what a detector would have seen of them: the truth is known, and a
fit with that recipe is neither too sure nor too shy by the recipe's fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from fitting import samples
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.evidence import embedded_points
from fitting.terms import Terms
from fitting.types import Body, Codes, Layout, Observations, Parameters

LAYOUT = "mediapipe478"
SIZE, FOCAL, DEPTH = (512, 512), 1.6 * 512, 0.75  # pixels, pixels, metres
# Nothing is believed about where a head is and where it looks; they are drawn from something broad.
HEAD_SD = (0.15, 0.25, 0.10)  # radians about x, y, z
PLACE_SD = (0.03, 0.03, 0.05)  # metres
FREE_ROAM = 1e3  # stands for no belief in acceleration


@dataclass(frozen=True)
class Noise:
    """How landmarks are wrong: in every frame anew, and the same in all frames of a clip."""

    white_px: float | None  # None: as much as the recipe says
    bias: float = 0.0  # along the head's x and y, each; a share of the yard-stick


def draw_clip(body: Body, terms: Terms, frames: int, rng: np.random.Generator) -> Parameters:
    """One identity; every frame as the beliefs say, tied to its neighbours where the terms say so."""
    sizes = {block.name: block.size for block in body.blocks}
    spread = terms.expression.sigma * body.expression_sd.numpy() if terms.expression else np.zeros(sizes["expression"])
    rows = {
        "betas": rng.normal(0, terms.shape.sigma if terms.shape else 0.0, (1, sizes["betas"])),
        "expression": draw_expression(body, terms, spread, frames, rng),
        "jaw_pose": draw_jaw(terms, frames, rng),
        "global_orient": course(frames, np.array(HEAD_SD), sway(terms, "global_orient"), rng),
        "transl": course(frames, np.array(PLACE_SD), sway(terms, "transl"), rng)
        + [0.0, -0.02, -DEPTH]
        - samples.middle_of_face(body),
    }
    rows["leye_pose"], rows["reye_pose"] = draw_eyes(terms, frames, rng)
    return samples.as_parameters(body, rows, frames)


def draw_expression(body: Body, terms: Terms, spread: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """A normal chain, folded into the bounds where there are any: half-normal, with kinks where it touches rest."""
    values = course(frames, spread, sway(terms, "expression"), rng)
    if terms.expression_bounds is None:
        return values
    low, high = body.expression_bounds.numpy().T
    return np.clip(np.where(low == 0, np.abs(values), values), low, high)


def draw_jaw(terms: Terms, frames: int, rng: np.random.Generator) -> np.ndarray:
    spread = terms.jaw.sigma * np.array(terms.jaw.factors) if terms.jaw else np.zeros(3)
    values = course(frames, spread, sway(terms, "jaw_pose"), rng)
    if terms.jaw_limits is not None:
        low, high = terms.jaw_limits.opening
        values[:, 0] = np.clip(np.abs(values[:, 0]), low, high)
    return values


def draw_eyes(terms: Terms, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Left and right: l^2 + r^2 = 2 mean^2 + difference^2 / 2, so that mean and difference are drawn apart."""
    if terms.eyes is None or terms.eyes_together is None:
        return np.zeros((frames, 3)), np.zeros((frames, 3))
    each = terms.eyes.sigma**-2 + np.array([0.0, 0.0, 1.0]) * terms.eyes_together.sigma**-2
    turn = sway(terms, "leye_pose")
    mean = course(frames, (2 * each) ** -0.5, turn / 2**0.5, rng)
    difference = course(frames, (each / 2 + terms.eyes_together.sigma**-2) ** -0.5, turn * 2**0.5, rng)
    return mean + difference / 2, mean - difference / 2


def sway(terms: Terms, block: str) -> float:
    """What is believed of a block's second differences."""
    return terms.acceleration.blocks.get(block, FREE_ROAM) if terms.acceleration is not None else FREE_ROAM


def course(
    frames: int, spread: Float[np.ndarray, " size"], acceleration: float, rng: np.random.Generator
) -> Float[np.ndarray, "frames size"]:
    """Draws from exp(-1/2 sum (x / spread)^2 - 1/2 sum (second differences / acceleration)^2), column by column."""
    second = np.diff(np.eye(frames), 2, axis=0) if frames > 2 else np.zeros((0, frames))
    columns = []
    for sd in spread:
        if sd == 0:
            columns.append(np.zeros(frames))
            continue
        factor = np.linalg.cholesky(np.eye(frames) / sd**2 + second.T @ second / acceleration**2)
        columns.append(np.linalg.solve(factor.T, rng.normal(size=frames)))
    return np.stack(columns, axis=1)


def look(
    body: Body, truth: Parameters, terms: Terms, noise: Noise, rng: np.random.Generator, is_clip: bool = True
) -> Observations:
    """What a detector with this noise says of the true heads."""
    frames = truth["transl"].shape[1]
    K = np.tile(intrinsics(FOCAL, SIZE), (frames, 1, 1))
    embedding = body.embeddings[LAYOUT]
    posed = body.restrict(embedding).pose(truth)
    stick = body.yard_sticks[LAYOUT]
    offsets = torch.as_tensor(rng.normal(0, noise.bias * stick, (posed.points.shape[2], 2))).to(posed.points)
    points = posed.points[0] + offsets @ posed.rotations[0, :, body.head_joint, :, :2].mT
    pixels = camera_to_pixels(world_to_camera(points), torch.as_tensor(K).to(points)).double().numpy()
    subject_px = -FOCAL * stick / posed.points[0, :, :, 2].mean(dim=1).double().numpy()
    indices = embedded_points(embedding)
    each = white_sd(embedding.layout, indices, subject_px, terms, noise)
    pixels = pixels + rng.normal(size=pixels.shape) * each[..., None]
    keypoints = np.zeros((frames, len(embedding.layout), 2))
    confidence = np.zeros(keypoints.shape[:2])
    keypoints[:, indices], confidence[:, indices] = pixels, 1.0
    valid = np.ones(frames, dtype=bool)
    return Observations(
        person="000",
        layout=embedding.layout,
        keypoints=keypoints,
        confidence=confidence,
        names=tuple(f"{k:06d}" for k in range(frames)),
        image_sizes=np.tile(SIZE, (frames, 1)),
        is_clip=is_clip,
        truth=Codes(truth.rows(), body.name, valid, K),
    )


def white_sd(layout: Layout, indices: np.ndarray, subject_px: np.ndarray, terms: Terms, noise: Noise) -> np.ndarray:
    """Pixels, (frames, points): given, or sigma over the factor of each point's group, as the recipe says."""
    if noise.white_px is not None or terms.keypoints is None:
        return np.full((len(subject_px), len(indices)), noise.white_px or 0.0)
    factors = np.ones(len(layout))
    for group, factor in terms.keypoints.groups.items():
        factors[list(layout.groups[group])] = factor
    return terms.keypoints.sigma * subject_px[:, None] / factors[indices]
