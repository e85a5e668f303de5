"""EMOCA: its model folders (cfg.yaml, checkpoints) and the folders it leaves."""

from __future__ import annotations

from pathlib import Path

import yaml

from fitting import codes
from fitting.codes.code_folders import FRAME, find_faces
from fitting.doctor.findings import Finding, empty_files, fault, folders_below, gaps, is_checkpoint, note, some
from fitting.types import FitError

DOWNLOAD = "unpack the model's archive again: unzip stopped half-way"
AGAIN = "let EMOCA run again over these frames"
ASSETS = ("*.pkl", "*.npz", "*.tar", "*.pth", "*.pt", "*.obj")  # checkpoints and cfg.yaml are looked at one by one
FILES = ("shape.npy", "exp.npy", "pose.npy")


def check(folder: Path) -> list[Finding]:
    """What of a model or of a run is missing, empty or unreadable."""
    faces = find_faces(folder, "exp.npy")
    models = [path.parent for path in folder.rglob("cfg.yaml")]
    if not faces and not models:
        return [fault(f"{folder}: neither codes (<frame>_<person>/exp.npy) nor a model (cfg.yaml)", "check the folder")]
    found = [finding for model in models for finding in check_model(model)]
    if models:
        found += empty_files(folder, ASSETS, DOWNLOAD)
    if not faces:
        return found
    results = faces[0].path.parent
    found += empty_files(results, ("*.npy",), AGAIN)
    lost = [f"{f.path.name}/{name}" for f in faces for name in FILES if not (f.path / name).is_file()]
    if lost:
        found.append(fault(f"{len(lost)} files are missing: {some(lost)}", AGAIN))
    found += check_frames(folder, faces)
    return found if found else unreadable_codes(folder)


def check_model(model: Path) -> list[Finding]:
    """A 0-byte cfg.yaml and cut-off checkpoints are what an interrupted download leaves."""
    path = model / "cfg.yaml"
    if path.stat().st_size == 0:
        return [fault(f"{path} is empty (0 bytes)", DOWNLOAD)]
    try:
        yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        if "could not determine a constructor" not in str(error):  # tags of its own classes are its affair
            return [fault(f"{path} is not YAML ({' '.join(str(error).split())[:80]})", DOWNLOAD)]
    checkpoints = list(model.rglob("*.ckpt"))
    if not checkpoints:
        return [fault(f"{model} has no checkpoint (*.ckpt)", DOWNLOAD)]
    return [fault(f"{p} cannot be read: cut off, or empty", DOWNLOAD) for p in checkpoints if not is_checkpoint(p)]


def check_frames(folder: Path, faces: list) -> list[Finding]:
    """Frames without a folder, against the pictures of the video where they are."""
    numbers = {int(face.frame) for face in faces if FRAME.fullmatch(face.frame)}
    if not numbers:
        return []
    videos = next((p / "videos" for p in folders_below(folder) if (p / "videos").is_dir()), None)
    pictures = {int(p.stem) for p in videos.glob("*.png") if p.stem.isdecimal()} if videos else set()
    wanted = pictures or set(range(1, max(numbers) + 1))
    lost = gaps(numbers, wanted)
    found = []
    if lost:
        text = f"{len(lost)} of {len(wanted)} frames have no codes: {some(lost)}"
        found.append(note(text, "no face was found there; keyfit interpolates and marks them"))
    several = {f.frame for f in faces if f.person > 0}
    if several:
        text = f"{len(several)} frames have more than one face: {some(sorted(several))}"
        found.append(note(text, "sorted by name they interleave; keyfit keeps persons apart"))
    return found


def unreadable_codes(folder: Path) -> list[Finding]:
    try:
        codes.read(folder)
    except FitError as error:
        return [fault(str(error), AGAIN)]
    return []
