"""DECA's folder `data`: the files that its configuration names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.doctor.findings import Finding, fault, is_checkpoint, require_file
from fitting.types import FitError
from fitting.unpickle import load_npy_object, load_pickle

SITE = "https://flame.is.tue.mpg.de/"
SHIPPED = "it comes with DECA's repository: check it out again"
FILES = {
    "deca_model.tar": "download it as DECA's README says (fetch_data.sh)",
    "generic_model.pkl": f"sign up at {SITE}, download FLAME 2020 and put its generic_model.pkl here",
    "landmark_embedding.npy": SHIPPED,
    "head_template.obj": SHIPPED,
    "texture_data_256.npy": SHIPPED,
    "fixed_displacement_256.npy": SHIPPED,
    "mean_texture.jpg": SHIPPED,
    "uv_face_mask.png": SHIPPED,
    "uv_face_eye_mask.png": SHIPPED,
}


def check(folder: Path) -> list[Finding]:
    """`folder` is DECA's `data`, or the repository that has it."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    found = [finding for name, mend in FILES.items() for finding in require_file(data / name, mend)]
    model = data / "generic_model.pkl"
    if model.is_file() and model.stat().st_size:
        found += check_model(model)
    weights = data / "deca_model.tar"
    if weights.is_file() and weights.stat().st_size and not is_checkpoint(weights):
        found.append(fault(f"{weights} cannot be read: cut off, or no checkpoint", FILES[weights.name]))
    for path in (data / name for name in FILES if name.endswith(".npy")):
        found += unreadable_array(path)
    return found


def unreadable_array(path: Path) -> list[Finding]:
    if path.is_file() and path.stat().st_size:
        try:
            load_npy_object(path)
        except FitError as error:
            return [fault(str(error), SHIPPED)]
    return []


def check_model(path: Path) -> list[Finding]:
    try:
        content = load_pickle(path)
    except FitError as error:
        return [fault(str(error), FILES["generic_model.pkl"])]
    lost = [key for key in ("v_template", "shapedirs", "f", "weights") if key not in content]
    if lost:
        return [fault(f"{path} has no {', '.join(lost)}: it is no FLAME model", FILES["generic_model.pkl"])]
    shape = np.shape(content["shapedirs"])
    if shape[-1] != 400:
        return [fault(f"{path}: shapedirs is {shape}, FLAME 2020 has 400 directions", FILES["generic_model.pkl"])]
    return []
