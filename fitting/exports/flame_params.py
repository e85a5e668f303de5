"""flame_params.npy, flame_params_stats.npz and the sidecar that states the order: as a fit writes them, from any
codes.
"""

from __future__ import annotations

import re
from pathlib import Path

from fitting.exports.target import Export, Target
from fitting.track import Track
from fitting.writers.flame_npy import Rows, write_rows


def write(track: Track, target: Target) -> list[Path]:
    """One row per frame; frames without codes are interpolated and marked. Raises OutputError."""
    assert track.source is not None  # convert fills the gaps first
    body = target.body
    return write_rows(
        Rows(
            blocks=track.values,
            model=track.codes.model,
            model_sha256=None if body is None else body.sha256,
            names=track.names,
            valid=track.valid,
            source=track.source,
            person=track.person,
            fps=track.fps,
            expression_names=None,
        ),
        target.folder,
    )


EXPORT = Export(write, needs=("expression", "global_orient", "jaw_pose"))


def destination(folder: Path, flame_out_dir: Path | None) -> Path:
    """`output/emoca_<DATA>` goes to `data/<DATA>` if that folder exists, else it stays; `flame_out_dir` overrules."""
    if flame_out_dir is not None:
        return flame_out_dir
    match = re.fullmatch(r"emoca_(.+)", folder.name)
    data = Path("data") / match[1] if match else None
    return data if data is not None and data.is_dir() else folder
