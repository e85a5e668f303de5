"""SMPLify-X's data folder: images/ and keypoints/ in pairs; its folder of models; or one folder that has both."""

from __future__ import annotations

import json
from pathlib import Path

from fitting.doctor import smpl_models
from fitting.doctor.findings import Finding, fault, note, some

IMAGES = {".png", ".jpg", ".jpeg"}
SIZES = {"pose_keypoints_2d": (75, 54, 57), "hand_left_keypoints_2d": (63, 0), "hand_right_keypoints_2d": (63, 0),
         "face_keypoints_2d": (210, 0)}  # fmt: skip
RUN = "run OpenPose with --face --hand --write_json keypoints"


def check(folder: Path) -> list[Finding]:
    """Pictures without keypoints, keypoints without pictures, files without people or of another form; models that are
    missing, damaged or of another kind."""
    images, keypoints = folder / "images", folder / "keypoints"
    models = smpl_models.check(folder)
    if not images.is_dir() and not keypoints.is_dir() and smpl_models.has_models(folder):
        return models
    return [*data(folder, images, keypoints), *models]


def data(folder: Path, images: Path, keypoints: Path) -> list[Finding]:
    if not images.is_dir() or not keypoints.is_dir():
        absent = " and ".join(p.name for p in (images, keypoints) if not p.is_dir())
        mend = "give the folder that holds images/ and keypoints/, or that of the models (smplx/, vposer_v1_0/)"
        return [fault(f"{folder} has no folder {absent}", mend)]
    pictures = {p.stem for p in images.iterdir() if p.suffix.lower() in IMAGES}
    files = {p.name.removesuffix("_keypoints.json"): p for p in keypoints.glob("*_keypoints.json")}
    found = []
    if not pictures:
        found.append(fault(f"{images} has no pictures", "put png or jpg files there"))
    lost = sorted(pictures - set(files))
    if lost:
        found.append(fault(f"{len(lost)} pictures have no keypoints/<name>_keypoints.json: {some(lost)}", RUN))
    spare = sorted(set(files) - pictures)
    if spare:
        found.append(note(f"{len(spare)} keypoint files have no picture: {some(spare)}", "they are not used"))
    return found + contents({name: path for name, path in files.items() if name in pictures})


def contents(files: dict[str, Path]) -> list[Finding]:
    damaged, nobody, odd = [], [], []
    for name, path in sorted(files.items()):
        try:
            people = json.loads(path.read_text())["people"]
        except (ValueError, KeyError, TypeError):
            damaged.append(name)
            continue
        if not people:
            nobody.append(name)
        elif any(len(person.get(key, [])) not in sizes for person in people for key, sizes in SIZES.items()):
            odd.append(name)
    found = []
    if damaged:
        found.append(fault(f"{len(damaged)} keypoint files are not OpenPose's, or empty: {some(damaged)}", RUN))
    if nobody:
        text = f"{len(nobody)} keypoint files have nobody in them: {some(nobody)}"
        found.append(note(text, "SMPLify-X stops there with KeyError 'img'; keyfit keeps an empty row"))
    if odd:
        found.append(fault(f"{len(odd)} keypoint files have another number of points: {some(odd)}", RUN))
    return found
