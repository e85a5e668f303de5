"""params.npz: every frame of one person, self-describing, loadable with `np.load(path, allow_pickle=False)`.

F frames, P keypoints; strings are numpy strings, scalars are 0-d arrays:

    <block>            (F, size) float32, one array per name in `block_names`; rotations as axis-angle (F, 3 * joints)
    start_<block>      (F, size) float32, where the fit began: what a result is compared with
    block_names, block_kinds, block_sizes    what they are: vector or rotation; coefficients or joints
    block_units        natural steps: 1 standard deviation of shape, 0.1 radians, 0.02 metres, ...
    block_shared       True where one value holds for the whole clip (its rows are repeated)
    expression_names   (E,) where the model names its expressions
    K                  (F, 3, 3) float64 pixels;  world_from_camera (4, 4) float64;  image_sizes (F, 2) width, height
    names, valid, source, stop, iterations, error_px, error_percent, start_error_px      (F,)
    keypoints          (F, P, 2) float32 pixels, measured;  confidence (F, P);  projected (F, P, 2) fitted, NaN: none
    layout, point_names (P,)
    <block>_sd         (F, size) float32, standard deviation of every fitted block; rotations: radians about the world's
                       axes, three a joint; NaN in frames that were not fitted. projected_sd (F, P) pixels
    <block>_weight     (F,) float32, 0..1: mean of 1 / (1 + (sd / unit)^2) over the block; units: `block_units`. 0 in
                       frames that were not fitted or are not to be trusted
    betas_covariance   (1 or F, B, B) float32: one for a clip, one for every photo
    ambiguities        what the evidence left open, in words. All these are absent where error bars were not asked for
    fps                () float64, NaN for photos;  timestamps (F,) seconds where known
    clip_starts        (C,) frames that begin another clip of the same person, where there are several
    model, model_sha256, person, conventions, versions, format
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.camera import WORLD_FROM_CAMERA
from fitting.types import Solution
from fitting.writers.facts import CONVENTIONS, float_rows, person_name, trust, versions
from fitting.writers.npz import write_npz

FORMAT = "keyfit-params 1"


def write(solution: Solution, folder: Path) -> list[Path]:
    """`<folder>/params.npz`, or `params_<person>.npz` beyond the first person. Raises OutputError."""
    arrays = {
        **float_rows(solution),
        **{f"start_{name}": rows.astype(np.float32) for name, rows in solution.start.rows().items()},
        **_blocks(solution),
        **_frames(solution),
        **_evidence(solution),
        **_error_bars(solution),
        **_text(solution),
    }
    return [write_npz(folder / person_name("params.npz", solution.observations.person), arrays)]


def _blocks(solution: Solution) -> dict[str, np.ndarray]:
    blocks = solution.body.blocks
    described = {
        "block_names": np.array([block.name for block in blocks]),
        "block_kinds": np.array([block.kind for block in blocks]),
        "block_sizes": np.array([block.size for block in blocks], dtype=np.int64),
        "block_shared": np.array([block.shared for block in blocks], dtype=bool),
        "block_units": np.array([block.unit for block in blocks], dtype=np.float64),
    }
    names = getattr(solution.body, "expression_names", None)
    return described if names is None else {**described, "expression_names": np.array(list(names), dtype=np.str_)}


def _frames(solution: Solution) -> dict[str, np.ndarray]:
    seen = solution.observations
    arrays = {
        "K": np.asarray(solution.K, dtype=np.float64),
        "world_from_camera": WORLD_FROM_CAMERA,
        "image_sizes": np.asarray(seen.image_sizes, dtype=np.int64),
        "names": np.array(seen.names),
        "valid": np.asarray(solution.valid, dtype=bool),
        "source": np.array(solution.source),
        "stop": np.array([stop.value for stop in solution.stop]),
        "iterations": np.asarray(solution.iterations, dtype=np.int64),
        "error_px": np.asarray(solution.error_px, dtype=np.float64),
        "error_percent": np.asarray(solution.error_percent, dtype=np.float64),
        "start_error_px": np.asarray(solution.start_error_px, dtype=np.float64),
        "fps": np.array(np.nan if seen.fps is None else seen.fps, dtype=np.float64),
    }
    if seen.clip_starts:
        arrays["clip_starts"] = np.array(seen.clip_starts, dtype=np.int64)
    if seen.timestamps is not None:
        arrays["timestamps"] = np.asarray(seen.timestamps, dtype=np.float64)
    return arrays


def _evidence(solution: Solution) -> dict[str, np.ndarray]:
    seen = solution.observations
    return {
        "keypoints": np.asarray(seen.keypoints, dtype=np.float32),
        "confidence": np.asarray(seen.confidence, dtype=np.float32),
        "projected": np.asarray(solution.projected, dtype=np.float32),
        "layout": np.array(seen.layout.name),
        "point_names": np.array(seen.layout.point_names),
    }


def _error_bars(solution: Solution) -> dict[str, np.ndarray]:
    bars = {f"{name}_sd": np.asarray(values, dtype=np.float32) for name, values in solution.sd.items()}
    if solution.projected_sd is not None:
        bars["projected_sd"] = np.asarray(solution.projected_sd, dtype=np.float32)
        bars["ambiguities"] = np.array(list(solution.ambiguities), dtype=np.str_)
    if solution.betas_covariance is not None:
        bars["betas_covariance"] = np.asarray(solution.betas_covariance, dtype=np.float32)
    return bars | {f"{name}_weight": weight.astype(np.float32) for name, weight in trust(solution).items()}


def _text(solution: Solution) -> dict[str, np.ndarray]:
    return {
        "model": np.array(solution.body.name),
        "model_sha256": np.array(solution.body.sha256),
        "person": np.array(solution.observations.person),
        "conventions": np.array(CONVENTIONS),
        "versions": np.array(versions()),
        "format": np.array(FORMAT),
    }
