"""Codes of a regressor as the start of a fit: whose they are, which rows belong to which frames, and in whose world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.coded_pose import as_moved
from fitting.crop_camera import face_front
from fitting.track import Track, filled, is_rotation, matched, sized
from fitting.transfer import transfer
from fitting.types import Body, Codes, InputError, Observations
from fitting.worlds import placed, recentred, settled, with_fingers


def codes_for(observations: Observations, track: Track, body: Body, K: Float[np.ndarray, "frames 3 3"]) -> Codes:
    """One row per frame of the observations. `K` is the camera for codes that have none, or a crop's only.

    Raises InputError for codes of another number of frames, or of other frames, and for a pose that only VPoser reads
    where the body has none.
    """
    found = matched(track, observations.names)
    if found.weak is not None:
        found = placed(found, K, face_front(found, body))
    if found.values.get("transl") is None and found.world_from_codes is None:
        found = without_camera(found)
    found = with_fingers(settled(found, body), body)
    if not found.has_camera:
        found = found.with_values({"transl": None, "global_orient": None})
    if cropped(found, observations):
        found = without_camera(found.with_values({"transl": None}))
    return as_moved(found.with_values(resized(found, getattr(body, "inner", body))), body).codes


def refocused(codes: Codes, K: Float[np.ndarray, "frames 3 3"]) -> Codes:
    """The same place in the picture under another camera: for somebody who knows his focal length better."""
    if codes.K is None or "transl" not in codes.values:
        return codes
    place = recentred(codes.values["transl"], codes.K, K)
    return replace(codes, values={**codes.values, "transl": place}, K=K)


def resized(track: Track, body: Body) -> dict[str, np.ndarray]:
    """Coefficients that the codes do not have are 0. SMPL's body has two joints more than SMPL-X's, its hands."""
    sizes = {block.name: block.tangent_size for block in body.blocks}
    return {
        name: sized(rows, sizes[name])
        for name, rows in track.values.items()
        if name == "body_pose" and name in sizes or not is_rotation(name) and rows.shape[1] < sizes.get(name, 0)
    }


def converted(track: Track, theirs: Body, body: Body) -> Track:
    """The track as codes of `body`; `theirs` decodes it. Raises InputError where it belongs to another model still."""
    if track.codes.model not in (theirs.name, "flame"):
        raise InputError(f"codes.convert_from is {theirs.name}, the codes are of {track.codes.model}: give its file")
    return transfer(settled(filled(track), theirs), theirs, body).track


def without_camera(track: Track) -> Track:
    return replace(track, codes=replace(track.codes, K=None))


def cropped(track: Track, observations: Observations) -> bool:
    """Whether the codes' camera is that of a picture of another size: it says nothing of the place in this one."""
    if track.image_sizes is None or not observations.size_known:
        return False
    return not np.array_equal(track.image_sizes, observations.image_sizes)


def choose(tracks: Sequence[Track], observations: Observations, path: Path) -> Track:
    """The track of the observed person: whose crops lie on the landmarks, else the one of the same number.

    Raises InputError where there is none.
    """
    if len(tracks) > 1 and all(track.crops is not None for track in tracks):
        distances = [distance(track, observations) for track in tracks]
        if np.isfinite(distances).any():
            return tracks[int(np.nanargmin(distances))]
    for track in tracks:
        if track.person == observations.person:
            return track
    file = path.name if observations.person == "000" else f"{path.stem}_{observations.person}{path.suffix}"
    there = ", ".join(track.person for track in tracks)
    raise InputError(
        f"start {path}: person {observations.person} has no codes ({file}), only {there}: give them, or fit fewer "
        "people with --detector.max_persons"
    )


def distance(track: Track, observations: Observations) -> float:
    """Median distance of the crops' middles from the landmarks' in units of the crop; NaN where they never meet."""
    rows = np.flatnonzero(track.valid[: len(observations)] & observations.valid[: len(track)])
    if track.crops is None or len(rows) == 0:
        return float("nan")
    seen = observations.confidence[rows] > 0
    weights = seen / seen.sum(axis=1, keepdims=True)
    middle = np.einsum("fp,fpd->fd", weights, np.where(seen[..., None], observations.keypoints[rows], 0.0))
    crops = track.crops[rows]
    return float(np.median(np.linalg.norm(middle - crops[:, :2], axis=1) / crops[:, 2]))
