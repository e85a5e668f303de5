"""Codes of regressors and trackers in, one `Track` per person out: one file = one format = one line in `READERS`.

A reader has `accepts(source) -> bool` and `read(source, options) -> list[Track]`; the first that accepts a path reads
it. It says which model its codes belong to: 'flame' where the files do not tell which FLAME. Nothing in a file is ever
run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fitting.codes import (
    amass,
    deca,
    easymocap,
    eft,
    emica,
    emoca,
    expose,
    flame_params,
    gagavatar,
    gaussian_avatars,
    head_tracker,
    hmr2,
    humandata,
    imavatar,
    keyfit_npz,
    mica,
    phalp,
    pixie,
    smirk,
    smplerx,
    smplifyx,
    spin,
    torch_frames,
    track_params,
    vhap,
)
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, require_content
from fitting.track import Track
from fitting.types import InputError

READERS = (
    phalp,  # first: other readers of .pkl expect a plain pickle
    keyfit_npz,
    vhap,
    gaussian_avatars,
    head_tracker,
    torch_frames,
    track_params,
    imavatar,
    gagavatar,
    smplifyx,
    pixie,
    smplerx,
    expose,
    easymocap,
    humandata,
    amass,
    eft,
    hmr2,
    spin,
    smirk,
    mica,
    flame_params,
    emica,
    emoca,
    deca,
)

__all__ = ["READERS", "CodesOptions", "read"]


def read(path: str | Path, options: CodesOptions | None = None) -> list[Track]:
    """Everybody's codes. Raises InputError where the path is missing, empty, damaged or of no known format."""
    source, options = Source(require_content(Path(path))), options or CodesOptions()
    for reader in READERS:
        if reader.accepts(source):
            tracks = reader.read(source, options)
            if options.model is not None:
                tracks = [replace(t, codes=replace(t.codes, model=options.model)) for t in tracks]
            return tracks
    raise InputError(
        f"{path}: no reader knows these codes{found(source)}: docs/formats.md lists the formats that are read"
    )


def found(source: Source) -> str:
    """What lies there, for the message."""
    if source.path.is_dir():
        names = sorted(p.name for p in source.path.iterdir())[:6]
        return f", a folder with {', '.join(names) or 'nothing'} in it"
    keys = sorted(source.keys)[:8]
    return f" ({', '.join(keys)})" if keys else ""
