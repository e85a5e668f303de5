"""A data folder of TalkingGaussian, ER-NeRF or AD-NeRF: what training opens, and whether all is of the same frames."""

from __future__ import annotations

import csv
import json
import wave
from pathlib import Path

import numpy as np

from fitting.doctor.findings import Finding, fault, gaps, note, numbered, require_file, some, unreadable
from fitting.types import FitError
from fitting.unpickle import CODES, load_torch

FPS = 25.0
UNITS = (" AU01_r", " AU04_r", " AU05_r", " AU06_r", " AU07_r", " AU25_r", " AU45_r")  # with the blank, as it asks
PER_FRAME = (  # folder, suffix, what makes them
    ("ori_imgs", ".jpg", "extract the frames at 25 a second, numbered from 0"),
    ("ori_imgs", ".lms", "run the landmark step; a frame without a face has none, and is skipped"),
    ("parsing", ".png", "run the parsing step"),
    ("gt_imgs", ".jpg", "run the extraction of ground truth"),
    ("torso_imgs", ".png", "run the extraction of the torso"),
    ("teeth_mask", ".npy", "run create_teeth_mask.py"),
)
SPEECH = ("aud_ds.npy", "aud_hu.npy", "aud_eo.npy", "aud_ave.npy")


def check(folder: Path) -> list[Finding]:
    """Everything that is missing, empty, or disagrees about the number of frames."""
    found = require_file(folder / "bc.jpg", "run the background step")
    frames = set(numbered(folder / "ori_imgs", ".jpg"))
    if not frames:
        found.append(fault("ori_imgs has no <number>.jpg", PER_FRAME[0][2]))
    found += per_frame(folder, frames)
    found += track_params(folder / "track_params.pt", len(frames))
    found += transforms(folder, frames, set(numbered(folder / "ori_imgs", ".lms")))
    found += action_units(folder / "au.csv", len(frames))
    found += audio(folder, len(frames))
    return found + flame_params(folder, len(frames))


def per_frame(folder: Path, frames: set[int]) -> list[Finding]:
    found = []
    if frames and sorted(frames) != list(range(len(frames))):
        lost = gaps(frames, set(range(max(frames) + 1)))
        found.append(fault(f"ori_imgs has no pictures {some(lost)}: it must count on from 0", PER_FRAME[0][2]))
    for name, suffix, mend in PER_FRAME:
        there = numbered(folder / name, suffix)
        lost, empty = gaps(set(there), frames), [k for k, p in sorted(there.items()) if p.stat().st_size == 0]
        if lost:
            what = f"all {len(lost)}" if len(lost) == len(frames) else f"{len(lost)} of {len(frames)}"
            kind = note if suffix == ".lms" and len(lost) < len(frames) else fault
            found.append(kind(f"{name}: {what} *{suffix} are missing ({some(lost)})", mend))
        if empty:
            found.append(fault(f"{name}: {len(empty)} *{suffix} are empty, 0 bytes ({some(empty)})", mend))
    return found


def track_params(path: Path, frames: int) -> list[Finding]:
    mend = "run the face tracker, or `keyfit convert ... --to talking_gaussian`"
    found = require_file(path, mend) or unreadable(path, mend)
    if found:
        return found
    content = load_torch(path, CODES)
    lost = [key for key in ("euler", "trans", "focal") if key not in content]
    if lost:
        return [fault(f"{path.name} has no {', '.join(lost)}", mend)]
    rows = {len(content["euler"]), len(content["trans"])}
    if rows != {frames} and frames:
        return [note(f"{path.name} has {' and '.join(map(str, sorted(rows)))} rows, there are {frames} pictures", mend)]
    return []


def transforms(folder: Path, frames: set[int], landmarks: set[int]) -> list[Finding]:
    """img_id must be numbers of pictures. A running number instead, which the original writes, shows as ids that count
    on without the gaps of the frames that have no landmarks.
    """
    mend = "write them with `keyfit convert ... --to talking_gaussian`"
    found, ids = [], []
    for name in ("transforms_train.json", "transforms_val.json"):
        missing = require_file(folder / name, mend)
        found += missing
        if missing:
            continue
        try:
            content = json.loads((folder / name).read_text())
            ids += [int(entry["img_id"]) for entry in content["frames"]]
        except (ValueError, KeyError, TypeError) as error:
            found.append(fault(f"{name} is not readable ({type(error).__name__}: {error})", mend))
    lost = [k for k in ids if k not in frames]
    if lost and frames:
        found.append(fault(f"transforms name pictures that are not there: {some(lost)}", mend))
    if (
        ids
        and landmarks
        and frames - landmarks
        and sorted(ids) == list(range(len(landmarks)))
        and len(ids) < len(frames)
    ):
        first = min(frames - landmarks)
        text = f"img_id counts on although picture {first} has no landmarks: from there on every frame is another's"
        found.append(fault(text, mend))
    return found


def action_units(path: Path, frames: int) -> list[Finding]:
    mend = "run OpenFace's FeatureExtraction on the 25 fps video, or write it with keyfit --to talking_gaussian --au"
    found = require_file(path, mend)
    if found:
        return found
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = list(csv.reader(stream))
    header = rows[0] if rows else []
    lost = [name for name in UNITS if name not in header]
    bare = [name for name in lost if name.strip() in header]
    if bare:
        found.append(fault(f"au.csv: {bare[0].strip()!r} has no blank before it, which the trainer asks for", mend))
    elif lost:
        found.append(fault(f"au.csv has no column {lost[0]!r}; its first are {header[:3]}", mend))
    lines = len([row for row in rows[1:] if row])
    if frames and lines < frames:
        found.append(fault(f"au.csv has {lines} rows, there are {frames} pictures: rows are taken by number", mend))
    return found


def audio(folder: Path, frames: int) -> list[Finding]:
    found = require_file(folder / "aud.wav", "extract the sound: ffmpeg -i video -f wav -ar 16000 aud.wav")
    if not found and frames:
        try:
            with wave.open(str(folder / "aud.wav")) as sound:
                seconds = sound.getnframes() / sound.getframerate()
                rate = sound.getframerate()
        except (wave.Error, EOFError, ZeroDivisionError) as error:
            return [fault(f"aud.wav is no readable wav ({error})", "extract the sound again")]
        if abs(seconds * FPS - frames) > max(FPS, 0.02 * frames):
            text = f"aud.wav lasts {seconds:.1f} s, {frames} pictures at 25 a second {frames / FPS:.1f} s"
            found.append(fault(text + f": they were taken at about {frames / max(seconds, 1e-9):.1f}", PER_FRAME[0][2]))
        if rate != 16000:
            found.append(note(f"aud.wav has {rate} samples a second, 16000 are usual", "convert it with -ar 16000"))
    if not any((folder / name).is_file() for name in SPEECH):
        found.append(fault(f"no speech features: none of {', '.join(SPEECH)}", "run the audio feature extractor"))
    return found


def flame_params(folder: Path, frames: int) -> list[Finding]:
    """Only where somebody has begun to use them."""
    path = folder / "flame_params.npy"
    if not path.exists():
        return []
    mend = "pack it again with `keyfit convert ... --to flame_params`"
    found = require_file(path, mend) + require_file(folder / "flame_params_stats.npz", mend)
    try:
        packed = np.load(path, allow_pickle=False) if path.stat().st_size else np.zeros((0, 56))
    except (ValueError, OSError, FitError) as error:
        return [*found, fault(f"flame_params.npy cannot be read ({error})", mend)]
    if packed.ndim != 2 or packed.shape[1] != 56 or frames and len(packed) != frames:
        found.append(fault(f"flame_params.npy is {packed.shape}, ({frames}, 56) is expected", mend))
    return found
