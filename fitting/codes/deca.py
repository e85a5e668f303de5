"""DECA's codes, as its many forks save them: npy, npz, pkl or mat with any of shape, exp, pose, cam, tex, light,
detail.

One file for a batch, (B, D); or a folder with one file per image, or one folder per image with one file in it. `pose`
is global and jaw. A camera in the full image needs `cam` and the crop: `tform` (DECA's own), or `crop` [middle x,
middle y, side]. DECA's demo writes .mat files without any codes; they are refused by name. FLAME 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fitting.codes.crops import crop_to_weak, tform_to_crop
from fitting.codes.frames import Frame, stack
from fitting.codes.options import CodesOptions
from fitting.codes.source import Source, load, natural_key, rows, vector
from fitting.track import Track
from fitting.types import Codes, InputError

FORMAT = "DECA codes"
MODEL = "flame2020"
SUFFIXES = (".npy", ".npz", ".pkl", ".mat")
SIZES: Mapping[str, tuple[int, ...]] = {"shape": (100,), "exp": (50,), "pose": (6,), "cam": (3,)}
EXTRAS = ("tex", "light", "detail")
DECODED = {"verts", "trans_verts", "landmarks2d", "displacement_map"}


def accepts(source: Source) -> bool:
    if source.path.is_dir():
        files = code_files(source.path)
        return bool(files) and is_deca(Source(files[0]).keys)
    return source.suffix in SUFFIXES and (is_deca(source.keys) or len(DECODED & source.keys) > 1)


def is_deca(keys: frozenset[str]) -> bool:
    return {"exp", "pose"} <= keys or {"shape", "exp"} <= keys and not {"expr", "translation"} & keys


def read(source: Source, options: CodesOptions) -> list[Track]:
    """One person. Raises InputError for arrays of other sizes, and for DECA's decoded .mat, which has no codes."""
    if source.path.is_dir():
        files = code_files(source.path)
        names = [file.stem if file.parent == source.path else file.parent.name for file in files]
        track = stack([frame_of(load(file), file) for file in files], names, MODEL, FORMAT)
        return [with_camera(replace(track, match="name"))]
    if not is_deca(source.keys):
        raise InputError(
            f"{source.path}: this is what DECA's demo decodes (meshes and pictures); the codes are not in it: "
            "save the dict that deca.encode gives: np.savez(path, shape=..., exp=..., pose=..., cam=..., tform=...)"
        )
    return [with_camera(batch_of(source.content, source.path))]


def code_files(folder: Path) -> list[Path]:
    """One file per image in the folder, or one in each of its folders."""
    own = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    if own:
        return sorted(own, key=natural_key)
    inside = (
        next((f for s in SUFFIXES for f in sorted(p.glob(f"*{s}"))), None) for p in folder.iterdir() if p.is_dir()
    )
    return sorted((file for file in inside if file is not None), key=lambda file: natural_key(file.parent))


def batch_of(content: Mapping[str, Any], path: Path) -> Track:
    """(B, D) arrays as B frames in order; arrays of one row hold for all."""
    count = max(len(np.atleast_2d(content[key])) for key in SIZES if key in content)
    found = {key: rows(content[key], sizes, count, key, path) for key, sizes in SIZES.items() if key in content}
    extras = {key: rows(content[key], np.size(content[key]) // len(np.atleast_2d(content[key])), count, key, path)
              for key in EXTRAS if key in content}  # fmt: skip
    if "cam" in found:
        extras["cam"] = found["cam"]
    crops = None
    if "tform" in content:
        crops = np.stack([tform_to_crop(m, path) for m in np.asarray(content["tform"]).reshape(-1, 3, 3)])
    elif "crop" in content:
        crops = rows(content["crop"], 3, count, "crop", path)
    if crops is not None:
        crops = np.broadcast_to(crops, (count, 3)) if len(crops) in (1, count) else None
    names = [str(name) for name in np.ravel(content["names"])] if "names" in content else None
    codes = Codes(values_of(found), MODEL, np.ones(count, dtype=bool))
    return Track(
        codes,
        tuple(names or (f"{k:06d}" for k in range(count))),
        FORMAT,
        match="name" if names else "order",
        crops=crops,
        extras=extras,
    )


def frame_of(content: Any, path: Path) -> Frame:
    """The codes of one image."""
    if not isinstance(content, Mapping) or not is_deca(frozenset(map(str, content))):
        raise InputError(f"{path}: named arrays shape, exp, pose, cam are expected")
    found = {key: vector(content[key], sizes, key, path)[None] for key, sizes in SIZES.items() if key in content}
    extras = {key: np.ravel(np.asarray(content[key], dtype=np.float64)) for key in EXTRAS if key in content}
    if "cam" in found:
        extras["cam"] = found["cam"][0]
    crop = None
    if "tform" in content:
        crop = tform_to_crop(content["tform"], path)
    elif "crop" in content:
        crop = vector(content["crop"], 3, "crop", path)
    return Frame({name: value[0] for name, value in values_of(found).items()}, crop=crop, extras=extras)


def values_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """DECA's names to Keyfit's blocks."""
    values = {}
    if "shape" in found:
        values["betas"] = found["shape"]
    if "exp" in found:
        values["expression"] = found["exp"]
    if "pose" in found:
        values |= {"global_orient": found["pose"][:, :3], "jaw_pose": found["pose"][:, 3:]}
    return values


def with_camera(track: Track) -> Track:
    """Weak perspective in the full image, where both the camera and the crop are known."""
    if "cam" not in track.extras:
        return track
    if track.crops is None:
        note = "its camera is that of a crop which the file does not give: the head is placed by landmarks"
        return replace(track, notes=(*track.notes, note))
    return replace(track, weak=crop_to_weak(track.extras["cam"], track.crops))
