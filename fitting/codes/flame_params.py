"""flame_params.npy: (N, 56), expression 50, global rotation 3, jaw 3, as EMOCA's codes are packed for talking heads.

Others put the jaw before the global rotation. A sidecar flame_params.json, as Keyfit writes it, says the order, the
model and which rows are real; without one the order above is assumed, unless the numbers or the user say otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load_json
from fitting.track import Track
from fitting.types import Codes, InputError

FORMAT = "flame_params.npy"
COLUMNS = 56
BLOCKS = {"expression": "expression", "global_rotation": "global_orient", "jaw": "jaw_pose"}
SIDEWAYS = 3.0  # a jaw opens at least so much more than it turns aside


def accepts(source: Source) -> bool:
    if source.suffix != ".npy" or not source.path.is_file() or not source.path.stat().st_size:
        return False
    if sidecar_of(source.path) is not None or source.path.stem.startswith("flame_params"):
        return True
    shape = np.shape(source.content)
    return len(shape) == 2 and shape[1] == COLUMNS


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for other columns, and where the order cannot be told."""
    packed = np.asarray(source.content)
    sidecar = sidecar_of(source.path)
    if packed.ndim != 2 or packed.dtype.kind != "f" or (sidecar is None and packed.shape[1] != COLUMNS):
        raise InputError(
            f"{source.path}: (frames, {COLUMNS}) numbers are expected, found {packed.shape} {packed.dtype}"
        )
    if not np.isfinite(packed).all():
        raise InputError(f"{source.path}: row {int(np.flatnonzero(~np.isfinite(packed).all(axis=1))[0])} is not finite")
    if sidecar is None:
        return [without_sidecar(packed.astype(np.float64), source.path, options)]
    return [with_sidecar(packed.astype(np.float64), sidecar, source.path)]


def sidecar_of(path: Path) -> dict[str, Any] | None:
    beside = path.with_suffix(".json")
    content = load_json(beside) if beside.is_file() and beside.stat().st_size else None
    return content if isinstance(content, dict) and "order" in content else None


def with_sidecar(packed: Float[np.ndarray, "frames columns"], sidecar: dict[str, Any], path: Path) -> Track:
    if list(packed.shape) != list(sidecar.get("shape", packed.shape)):
        raise InputError(
            f"{path}: its sidecar speaks of {sidecar['shape']}, found {packed.shape}: one of them is older"
        )
    values = {}
    for part in sidecar["order"]:
        first, last = part["columns"]
        values[BLOCKS.get(part["name"], part["name"])] = packed[:, first:last]
    frames = len(packed)
    return Track(
        Codes(values, str(sidecar.get("model", "flame")), np.array(sidecar.get("valid", [True] * frames), dtype=bool)),
        tuple(map(str, sidecar.get("names", [f"{k:06d}" for k in range(frames)]))),
        FORMAT,
        person=str(sidecar.get("person", "000")),
        fps=sidecar.get("fps"),
        source=tuple(sidecar["source"]) if "source" in sidecar else None,
    )


def without_sidecar(packed: Float[np.ndarray, "frames columns"], path: Path, options: CodesOptions) -> Track:
    order = options.order or "expression,global,jaw"
    names = ("global_orient", "jaw_pose") if order.endswith("jaw") else ("jaw_pose", "global_orient")
    values = {"expression": packed[:, :50], names[0]: packed[:, 50:53], names[1]: packed[:, 53:]}
    if options.order is None and looks_swapped(values["global_orient"], values["jaw_pose"]):
        raise InputError(
            f"{path}: there is no sidecar, and the last three columns turn like a head, not like a jaw: say the order "
            "with --order expression,jaw,global (or expression,global,jaw if it is that)"
        )
    note = f"no sidecar: the columns are taken as {order}, and the FLAME they belong to is not known"
    return Track(
        Codes(values, "flame", np.ones(len(packed), dtype=bool)),
        tuple(f"{k:06d}" for k in range(len(packed))),
        FORMAT,
        notes=(note,),
    )


def looks_swapped(head: Float[np.ndarray, "frames 3"], jaw: Float[np.ndarray, "frames 3"]) -> bool:
    """A jaw opens about x and hardly turns aside; a head turns every way. True where it is clearly the other way
    round.
    """

    def like_a_jaw(turn: np.ndarray) -> bool:
        aside = np.sqrt((turn[:, 1:] ** 2).mean())
        return bool(np.sqrt((turn[:, 0] ** 2).mean()) > SIDEWAYS * aside and turn[:, 0].min() > -0.1)

    return like_a_jaw(head) and not like_a_jaw(jaw) and bool(np.abs(jaw).max() > 0.2)
