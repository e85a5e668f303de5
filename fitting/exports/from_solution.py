"""A fit as a track, so that whatever is written for trainers is written the same from a fit and from mere codes."""

from __future__ import annotations

import numpy as np

from fitting.track import Track
from fitting.types import Codes, Solution


def track_of(solution: Solution) -> Track:
    """Rows, camera and names of one person's fit; frames that nobody saw are in it, interpolated or held."""
    seen = solution.observations
    values = {name: rows.astype(np.float64) for name, rows in solution.parameters.rows().items()}
    return Track(
        Codes(values, solution.body.name, np.asarray(solution.valid, dtype=bool), np.asarray(solution.K)),
        seen.names,
        "fit",
        person=seen.person,
        image_sizes=np.asarray(seen.image_sizes, dtype=np.int64),
        fps=seen.fps,
        source=solution.source,
    )
