"""What every output says about itself: names of files, conventions, versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fitting.types import Solution

FIRST_PERSON = "000"

CONVENTIONS = (
    "Metres, radians, pixels. One row per input frame, in order, 0-based. "
    "World frame: y up, x to the right of the picture, z towards the viewer, origin in the camera's centre (as FLAME). "
    "Camera frame: OpenCV, x right, y down, z forward; world_from_camera leads from it to the world frame. "
    "Pixels: x right, y down, the centre of the first pixel at (0, 0). "
    "Rotations: axis-angle, three numbers a joint; global_orient turns about the body's root joint. "
    "Left and right are the subject's. "
    "source: fitted, interpolated, held (from a neighbour) or missing (the row means nothing)."
)


def person_name(name: str, person: str) -> str:
    """The one rule for files of a whole clip: `params.npz` is the first person's, `params_001.npz` the next one's.

    So the file of a single person never changes its name when a second one turns up.
    """
    if person == FIRST_PERSON:
        return name
    path = Path(name)
    return f"{path.stem}_{person}{path.suffix}"


def frames_with_body(solution: Solution) -> Iterator[tuple[int, str]]:
    """Index and name of the frames whose row means something."""
    for k, (name, source) in enumerate(zip(solution.observations.names, solution.source, strict=True)):
        if source != "missing":
            yield k, name


def versions() -> tuple[str, ...]:
    """The libraries a result depends on: 'keyfit 0.1.0', ...; numba, where it is installed, rounds otherwise."""
    own, numba = (installed(name) for name in ("keyfit", "numba"))
    found = (f"keyfit {own or 'from source'}", f"torch {torch.__version__}", f"numpy {np.__version__}")
    return found if numba is None else (*found, f"numba {numba}")


def installed(name: str) -> str | None:
    """A package's version; None where it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def float_rows(solution: Solution) -> dict[str, np.ndarray]:
    """All parameters in float32; where a code moved joints, it and the rotations it stands for."""
    full = solution.body.full(solution.parameters)
    return {name: rows.astype(np.float32) for name, rows in full.rows().items()}


def trust(solution: Solution) -> dict[str, np.ndarray]:
    """How much a trainer should make of every frame, block by block, (F,) in 0..1: the mean over the block's numbers of
    1 / (1 + (sd / unit)^2), with the block's natural step as the unit. 0 in frames that were not fitted, and in those
    whose landmarks are not to be trusted. Empty without error bars."""
    units = {block.name: block.unit for block in solution.body.blocks}
    found = {}
    for name, sd in solution.sd.items():
        if name not in units:
            continue
        weight = np.nan_to_num(np.mean(1 / (1 + (sd / units[name]) ** 2), axis=1), nan=0.0)
        weight[list(solution.suspicious)] = 0.0
        found[name] = weight
    return found
