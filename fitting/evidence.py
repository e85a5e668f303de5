"""From one person's observations to tensors: which keypoints the body has a place for, and how large the subject is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.terms import Evidence
from fitting.types import Body, Embedding, InputError, Observations, Parameters

FRAMES_AT_ONCE = 256  # whose bodies are in memory together
CUT_DISTANCE, CUT_FACTOR = 0.5, 10.0  # yard-sticks; times the usual step


@dataclass(frozen=True)
class Case:
    """One person's observations bound to a body; one row per input frame."""

    body: Body  # whole
    restricted: Body  # its keypoints only
    observations: Observations
    points: Int[np.ndarray, " points"]  # index into the layout of every keypoint
    yard_stick: float  # metres
    keypoints: Float[Tensor, "frames points 2"]
    confidence: Float[Tensor, "frames points"]
    K: Float[Tensor, "frames 3 3"]

    @property
    def seen(self) -> Bool[Tensor, " frames"]:
        return (self.confidence > 0).any(dim=1)


def bind(body: Body, observations: Observations, K: Float[np.ndarray, "frames 3 3"], like: Tensor) -> Case:
    """Tensors with the dtype and on the device of `like`.

    Raises InputError when the body has no embedding of the observations' layout.
    """
    layout = observations.layout
    embedding = body.embedding_of(layout)
    if embedding is None:
        raise InputError(
            f"{body.name} has no landmark embedding for {layout.name} keypoints, only for "
            f"{', '.join(body.embeddings) or 'none'}: give one with body.embedding, or other landmarks"
        )
    seen = np.where(np.isfinite(observations.keypoints).all(axis=-1), observations.confidence, 0.0)
    embedding = only_seen(embedding, (seen > 0).any(axis=0))
    points = embedded_points(embedding)
    confidence = seen[:, points]
    keypoints = np.where(confidence[..., None] > 0, observations.keypoints[:, points], 0.0)
    return Case(
        body=body,
        restricted=body.restrict(embedding),
        observations=observations,
        points=points,
        yard_stick=body.yard_stick_of(layout),
        keypoints=torch.as_tensor(keypoints).to(like),
        confidence=torch.as_tensor(confidence).to(like),
        K=torch.as_tensor(K).to(like),
    )


def only_seen(embedding: Embedding, seen: Bool[np.ndarray, " points"]) -> Embedding:
    """Without the points that no frame shows: nothing is computed for them."""
    known = torch.as_tensor(seen, device=embedding.points.device)
    static, contour = known[embedding.points], embedding.contour
    if contour is not None:
        kept = known[contour.points]
        some = replace(
            contour, points=contour.points[kept], vertices=contour.vertices[:, kept], weights=contour.weights[:, kept]
        )
        contour = some if bool(kept.any()) else None
    return embedding.at(static, contour)


def without_frames(case: Case, frames: Collection[int]) -> Case:
    """The same case as if nobody had been seen in some frames."""
    seen = case.observations.confidence.copy()
    confidence = case.confidence.clone()
    seen[list(frames)] = 0
    confidence[list(frames)] = 0
    return replace(case, confidence=confidence, observations=replace(case.observations, confidence=seen))


def embedded_points(embedding: Embedding) -> Int[np.ndarray, " points"]:
    """Layout indices in the order in which a restricted body gives its points."""
    static = embedding.points.cpu().numpy()
    return static if embedding.contour is None else np.concatenate([static, embedding.contour.points.cpu().numpy()])


def as_evidence(case: Case, start: Parameters, cuts: frozenset[int] | None = frozenset()) -> Evidence:
    """One problem of all frames. The subject's size is the yard-stick's at the start's depth and stays fixed.

    `cuts` are frames that do not continue the one before; None: they are looked for.
    """
    frames = len(case.observations)
    depth = mean_depth(case.restricted, start, frames)
    focal = (case.K[:, 0, 0] * torch.exp(start["focal"])[0, :, 0]) if "focal" in start else case.K[:, 0, 0]
    subject_px = (focal * case.yard_stick / depth.clamp(min=1e-3)).expand(1, frames)
    if cuts is None:
        cuts = find_cuts(case, subject_px[0]) if case.observations.is_clip else frozenset()
    cuts = cuts | frozenset(case.observations.clip_starts)
    linked = torch.tensor(
        [[case.observations.is_clip and k + 1 not in cuts for k in range(frames - 1)]], dtype=torch.bool
    )
    return Evidence(
        layout=case.observations.layout,
        points=torch.as_tensor(case.points),
        keypoints=case.keypoints[None],
        confidence=case.confidence[None],
        subject_px=subject_px,
        seen=case.seen[None],
        linked=linked.reshape(1, max(frames - 1, 0)).to(case.keypoints.device),
        fps=case.observations.fps or Evidence.fps,
        picture_px=torch.as_tensor(case.observations.image_sizes[None, :, 1]).to(case.keypoints),
    )


def mean_depth(body: Body, parameters: Parameters, frames: int) -> Float[Tensor, "1 frames"]:
    """Metres from the camera to the keypoints, window by window."""
    parts = []
    for first in range(0, frames, FRAMES_AT_ONCE):
        posed = body.pose(parameters.at(slice(first, min(first + FRAMES_AT_ONCE, frames))))
        parts.append(-posed.points[..., 2].mean(dim=2))
    return torch.cat(parts, dim=1)


def find_cuts(case: Case, subject_px: Float[Tensor, " frames"]) -> frozenset[int]:
    """Frames whose keypoints are somewhere else than the frame before: moved by more than half the yard-stick in the
    median, and ten times as far as the clip usually moves. A gap without detections is no cut."""
    seen, points = case.seen, case.keypoints
    both = (case.confidence[1:] > 0) & (case.confidence[:-1] > 0)
    moved = torch.where(both, (points[1:] - points[:-1]).norm(dim=-1), torch.nan)
    step = moved.nanmedian(dim=1).values / subject_px[1:]
    known = torch.isfinite(step) & seen[1:] & seen[:-1]
    if not known.any():
        return frozenset()
    usual = step[known].median()
    far = known & (step > CUT_DISTANCE) & (step > CUT_FACTOR * usual)
    return frozenset((torch.nonzero(far)[:, 0] + 1).tolist())


def apart(evidence: Evidence) -> Evidence:
    """The frames of one problem as problems of one frame each."""
    turned = {name: getattr(evidence, name).transpose(0, 1) for name in evidence.per_frame()}
    return replace(
        evidence,
        **turned,
        linked=evidence.linked[:, :0].expand(evidence.seen.shape[1], 0),
    )
