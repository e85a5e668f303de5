"""MICA's identity.npy: (300,) shape coefficients of FLAME 2020, nothing else. They hold for every frame."""

from __future__ import annotations

import numpy as np

from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, vector
from fitting.track import Track
from fitting.types import Codes

FORMAT = "MICA identity"
MODEL = "flame2020"
NAME = "identity.npy"


def accepts(source: Source) -> bool:
    """The file, or a folder that has it."""
    if source.path.is_dir():
        return any(file.name == NAME for file in source.files)
    return source.path.name == NAME or source.suffix == ".npy" and np.shape(source.content) in ((300,), (1, 300))


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One row that holds for all frames. Raises InputError."""
    file = source if source.path.is_file() else Source(source.path / NAME)
    betas = vector(file.content, 300, "identity", file.path)
    codes = Codes({"betas": betas[None]}, MODEL, np.ones(1, dtype=bool))
    return [Track(codes, ("identity",), FORMAT, match="every", notes=("shape only: everything else is found",))]
