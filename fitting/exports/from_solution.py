"""A fit as a track, so that whatever is written for trainers is written the same from a fit and from mere codes."""

from __future__ import annotations

import numpy as np

from fitting.track import Track
from fitting.types import Body, Codes, Solution


def decoding_body(solution: Solution) -> Body:
    """The body whose joints are moved by rotations, whatever code moved them in the fit."""
    return getattr(solution.body, "inner", solution.body)


def track_of(solution: Solution) -> Track:
    """Rows, camera and names of one person's fit; frames that nobody saw are in it, interpolated or held."""
    seen, body = solution.observations, decoding_body(solution)
    names = {block.name for block in body.blocks}
    full = solution.body.full(solution.parameters).rows()
    # As params.npz holds them, so that a fit and its converted params.npz give the same bytes.
    values = {n: rows.astype(np.float32).astype(np.float64) for n, rows in full.items() if n in names}
    return Track(
        Codes(values, solution.body.name, np.asarray(solution.valid, dtype=bool), np.asarray(solution.K)),
        seen.names,
        "fit",
        person=seen.person,
        image_sizes=np.asarray(seen.image_sizes, dtype=np.int64),
        fps=seen.fps,
        source=solution.source,
    )
