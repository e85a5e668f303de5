"""Bodies: one file per family. `load` turns a name or a file into one."""

from __future__ import annotations

from pathlib import Path

from fitting import places
from fitting.bodies.body import SkinnedBody
from fitting.bodies.flame import flame_body
from fitting.bodies.flame_embeddings import open_embeddings, read_embeddings
from fitting.bodies.flame_files import read_flame
from fitting.bodies.flame_shelf import find_model

__all__ = ["SkinnedBody", "load"]


def load(
    model: str = "open_head",
    folder: Path | None = None,
    gender: str = "neutral",
    betas: int | None = None,
    expressions: int | None = None,
    embedding: Path | None = None,
) -> SkinnedBody:
    """A body by name ('open_head', 'flame') or model file, float32 on the CPU.

    `embedding` is a landmark embedding file or a folder of them; by default those inside or beside the model file.
    Raises ModelError when a file is missing, damaged, hostile, or smaller than what is asked for.
    """
    path = find_model(folder or places.models(), model, gender)
    arrays = read_flame(path)
    if embedding is None and "mediapipe478_points" in arrays.extras:
        found = open_embeddings(arrays.extras)
    else:
        found = read_embeddings(embedding or path.parent, arrays.faces)
    return flame_body(arrays, found, betas, expressions)
