"""Which frames of a result not to trust, from the result alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.types import Solution

FACTOR, LEAST = 3.0, 3.0  # times the clip's median error, and percent: a good fit's worst frame is no stranger
SHORT = 3  # frames: a scene is longer, a detection that strays and comes back is not
AROUND = 7  # frames before and after, among which a stray one stands apart
AWAY = 0.5  # of the subject's size
NEAR = 3  # frames before and after, among which a face keeps its form
OTHER, OTHER_FACTOR = 0.03, 2.5  # of the subject's size; times the clip's median: as far off another form is


def suspicious(solution: Solution) -> tuple[int, ...]:
    """Frames of a clip whose landmarks are probably not this person's: they are of another form than in the frames
    around, no head of this shape explains them as well as the others, or they jump away and are back within three
    frames. Empty for photos: nothing to compare with."""
    if not solution.observations.is_clip or not solution.valid.any():
        return ()
    known = np.where(solution.valid, solution.error_percent, np.nan)
    unexplained = set(np.flatnonzero(known > max(FACTOR * np.nanmedian(known), LEAST)).tolist())
    others = strangers(solution)
    # Smoothness pulls the frames beside a stranger's towards him: what they show is their own face all the same.
    beside = {k + side for k in others for side in (-1, 1)} - set(others)
    return tuple(sorted({*(unexplained - beside), *others, *strays(solution)}))


def strangers(solution: Solution) -> list[int]:
    """Frames whose landmarks, turned, scaled and moved onto those of the frames around, are of another form: in the
    median over landmarks, so that a blink or a grimace, which moves some of them, is none. Of faces: a person who moves
    is of another form in every frame."""
    if solution.observations.layout.shows_a_person:
        return []
    seen = solution.observations.confidence > 0
    points = np.flatnonzero(seen[solution.valid].mean(axis=0) > 0.9)
    size = float(np.nanmedian(100 * solution.error_px / solution.error_percent))
    away = np.full(len(solution), np.nan)
    edges = [0, *solution.cuts, len(solution)]
    for first, last in zip(edges, edges[1:], strict=False):
        for k in range(first, last):
            around = range(max(k - NEAR, first), min(k + NEAR + 1, last))
            near = [j for j in around if j != k and solution.valid[j]]
            if solution.valid[k] and len(near) > 2 and len(points) > 2:
                away[k] = form_distance(solution.observations.keypoints[:, points], k, near) / size
    if not np.isfinite(away).any():
        return []
    return np.flatnonzero(away > max(OTHER, OTHER_FACTOR * float(np.nanmedian(away)))).tolist()


def form_distance(keypoints: Float[np.ndarray, "frames points 2"], k: int, near: list[int]) -> float:
    """Median distance of frame k's points from the median of others, each moved onto it by a similarity (in complex
    numbers: b = c a, c = a* b / a* a)."""
    flat = keypoints[[k, *near]] @ np.array([1, 1j])
    flat = flat - flat.mean(axis=1, keepdims=True)
    own, others = flat[0], flat[1:]
    factor = (others.conj() * own).sum(axis=1) / np.maximum((np.abs(others) ** 2).sum(axis=1), 1e-12)
    moved = others * factor[:, None]
    usual = np.median(moved.real, axis=0) + 1j * np.median(moved.imag, axis=0)
    return float(np.median(np.abs(own - usual)))


def strays(solution: Solution) -> list[int]:
    """Frames of short scenes, between cuts, that are somewhere else than most frames around them."""
    edges = [0, *solution.cuts, len(solution)]
    short = [k for a, b in zip(edges, edges[1:], strict=False) if b - a <= SHORT for k in range(a, b)]
    short = [k for k in short if solution.valid[k]]
    if len(edges) == 2 or not short:
        return []
    seen = solution.observations.confidence > 0
    weights = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    centre = np.einsum("fp,fpd->fd", weights, np.where(seen[..., None], solution.observations.keypoints, 0.0))
    found = []
    for k in short:
        around = np.arange(max(k - AROUND, 0), min(k + AROUND + 1, len(solution)))
        usual = np.median(centre[around[solution.valid[around]]], axis=0)
        size = 100 * solution.error_px[k] / solution.error_percent[k]
        if np.linalg.norm(centre[k] - usual) > AWAY * size:
            found.append(k)
    return found
