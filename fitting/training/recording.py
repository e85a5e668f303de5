"""One person of one fit as a data set sees it: parameters, landmarks, quality, pictures, action units; by frame."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Float

from fitting import codes
from fitting.action_units import ActionUnits, read_action_units
from fitting.track import Track, matched
from fitting.training.pictures import Frames, open_frames
from fitting.types import Codes, InputError

APPEARANCE = ("tex", "light")
NOT_BLOCKS = {"keypoints", "confidence", "projected", "world_from_camera", "image_sizes", "timestamps", "K"}


@dataclass(frozen=True)
class Recording:
    """Where a fit lies. `path` is its folder or one params.npz in it; pictures are looked for where the fit found
    them.
    """

    path: Path
    pictures: Path | None = None
    action_units: Path | None = None  # an OpenFace csv of the same video
    codes: Path | None = None  # a regressor's, for its tex and light; default: those that the fit started from


@dataclass(frozen=True)
class Loaded:
    """The small arrays of a recording; pictures stay on the disk."""

    track: Track
    keypoints: Float[np.ndarray, "frames points 2"]
    confidence: Float[np.ndarray, "frames points"]
    error_percent: Float[np.ndarray, " frames"]
    good: Bool[np.ndarray, " frames"]  # fitted, and not suspicious
    cuts: frozenset[int]
    layout: str
    frames: Frames
    units: ActionUnits | None
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.track)


def load(recording: Recording) -> Loaded:
    """Raises InputError where the fit has no landmarks, or pictures or action units are of another clip."""
    path = recording.path / "params.npz" if recording.path.is_dir() else recording.path
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable params.npz ({error})") from error
    lost = [name for name in ("keypoints", "confidence", "K", "layout", "error_percent") if name not in arrays]
    if lost:
        raise InputError(f"{path}: no {lost[0]!r} in it: the data set needs a fit, not mere codes")
    track = track_of(arrays)
    where = recording.pictures or pictures_of(path.parent)
    frames = open_frames(where)
    if len(frames) != len(track):
        raise InputError(
            f"{path} has {len(track)} frames, {where} has {len(frames)}: give the pictures it was made from"
        )
    cuts, suspicious = from_report(path.parent, track.person)
    good = track.valid & ~np.isin(np.arange(len(track)), list(suspicious))
    units = None if recording.action_units is None else read_action_units(recording.action_units, len(track))
    return Loaded(
        track, arrays["keypoints"].astype(np.float64), arrays["confidence"].astype(np.float64),
        arrays["error_percent"], good, frozenset(cuts), str(arrays["layout"]), frames, units,
        appearance(recording, path.parent, track),
    )  # fmt: skip


def track_of(arrays: dict[str, Any]) -> Track:
    valid = arrays["valid"].astype(bool)
    blocks = {str(name) for name in arrays.get("block_names", [])} or set(arrays) - NOT_BLOCKS
    values = {n: a.astype(np.float64) for n, a in arrays.items() if n in blocks and a.ndim == 2 and a.dtype.kind == "f"}
    return Track(
        Codes(values, str(arrays["model"]), valid, arrays["K"].astype(np.float64)),
        tuple(map(str, arrays["names"])),
        "params.npz",
        person=str(arrays["person"]),
        image_sizes=arrays["image_sizes"],
    )


def appearance(recording: Recording, folder: Path, track: Track) -> dict[str, np.ndarray]:
    """What codes know of skin and light, frame by frame: `tex` and `light`, NaN where a frame has none; nothing where
    no codes are known. Raises InputError for codes that were given and are of another clip."""
    began = conf_of(folder).get("start")
    named = recording.codes or (Path(began) if began not in (None, "input") and Path(began).exists() else None)
    found = [] if named is None else [found for found in codes.read(named) if found.person == track.person]
    if not found:
        return {}
    rows = matched(found[0], track.names)
    known = {name: np.asarray(rows.extras[name], dtype=np.float64) for name in APPEARANCE if name in rows.extras}
    return {name: np.where(rows.valid[:, None], value, np.nan) for name, value in known.items()}


def conf_of(folder: Path) -> dict[str, Any]:
    conf = folder / "conf.yaml"
    return (yaml.safe_load(conf.read_text()) if conf.is_file() else None) or {}


def pictures_of(folder: Path) -> Path:
    """What conf.yaml says the fit was made from: read.pictures, or the input itself. Raises InputError."""
    content = conf_of(folder)
    named = [(content.get("read") or {}).get("pictures"), content.get("input")]
    for name in filter(None, named):
        path = Path(str(name))
        if path.is_dir() or path.is_file() and path.suffix.lower() not in (".npz", ".npy", ".json", ".csv"):
            return path
    raise InputError(f"{folder}: its pictures are not where conf.yaml says; give Recording(..., pictures=...)")


def from_report(folder: Path, person: str) -> tuple[set[int], set[int]]:
    """Cuts, and frames whose landmarks are not to be trusted; nothing where there is no report."""
    path = folder / "report.json"
    if not path.is_file():
        return set(), set()
    content = json.loads(path.read_text())
    rows = [row for row in content.get("frames", []) if row["person"] == person]
    return set(content.get("cuts", {}).get(person, [])), {row["index"] for row in rows if row.get("suspicious")}
