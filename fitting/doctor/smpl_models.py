"""Model files of SMPLify-X: bodies of the SMPL family, VPoser's checkpoint, the mixture of poses, the parts' table."""

from __future__ import annotations

from pathlib import Path

from fitting.bodies.pose_priors import read_gmm
from fitting.bodies.smpl_files import SmplArrays, read_smpl
from fitting.bodies.vposer import read_vposer
from fitting.doctor.findings import Finding, fault, note, require_file
from fitting.types import FitError

VERTICES = {"smpl": 6890, "smplh": 6890, "smplx": 10475}
SITES = {
    "smpl": "https://smpl.is.tue.mpg.de/",
    "smplh": "https://mano.is.tue.mpg.de/",
    "smplx": "https://smpl-x.is.tue.mpg.de/",
}
GENDERS = ("NEUTRAL", "MALE", "FEMALE")
SUFFIXES = (".npz", ".pkl")
MIXED = 69  # angles of the mixture of poses
PARTS = "smplx_parts_segm.pkl"
VPOSER = "download VPoser again: version 1 is vposer_v1_0 with snapshots/*.pt, version 2 V02_05 with snapshots/*.ckpt"


def check(folder: Path) -> list[Finding]:
    """Whatever of these lies in the folder or in its `models`; nothing where there is none."""
    tops = [p for p in (folder, folder / "models") if p.is_dir()]
    found = [finding for family in VERTICES for top in tops for finding in check_family(top / family, family)]
    found += [finding for top in tops for vposer in checkpoints(top) for finding in check_vposer(vposer)]
    for path in files(tops, "gmm_*.pkl"):
        found += unreadable(path, "download it again from https://smplify.is.tue.mpg.de/")
    for path in files(tops, PARTS):
        found += require_file(path, "it is on the download page of SMPL-X; older links to it are dead")
    return found


def files(tops: list[Path], pattern: str) -> list[Path]:
    """In these folders or one below, each once."""
    return sorted({path for top in tops for depth in ("", "*/") for path in top.glob(depth + pattern)})


def has_models(folder: Path) -> bool:
    """Whether any of these lies there."""
    tops = [p for p in (folder, folder / "models") if p.is_dir()]
    return any((top / family).is_dir() for top in tops for family in VERTICES) or any(map(checkpoints, tops))


def check_family(folder: Path, family: str) -> list[Finding]:
    """One folder, `smplx`: which genders there are, and whether their files hold this family."""
    if not folder.is_dir():
        return []
    mend = f"sign up at {SITES[family]} and put {family.upper()}_NEUTRAL, _MALE or _FEMALE here"
    files = {p.stem.upper(): p for p in sorted(folder.iterdir(), reverse=True) if p.suffix.lower() in SUFFIXES}
    there = [gender for gender in GENDERS if f"{family.upper()}_{gender}" in files]
    if not there:
        inside = ", ".join(sorted(p.name for p in files.values())) or "no model file"
        return [fault(f"{folder} has none of {family.upper()}_{'|'.join(GENDERS)} (found {inside})", mend)]
    lost = [gender.lower() for gender in GENDERS if gender not in there]
    found = [note(f"{folder} has no {' and no '.join(lost)} model", "gender cannot be that")] if lost else []
    return [*found, *(f for gender in there for f in check_body(files[f"{family.upper()}_{gender}"], family, mend))]


def check_body(path: Path, family: str, mend: str) -> list[Finding]:
    """Empty, unreadable, of another family, or of another number of vertices."""
    found = require_file(path, mend)
    if found:
        return found
    try:
        arrays = read_smpl(path)
    except FitError as error:
        return [fault(str(error), mend)]
    if arrays.family != family:
        return [fault(f"{path} holds {arrays.family}: {len(arrays.parents)} joints", mend)]
    if len(arrays.v_template) != VERTICES[family]:
        text = f"{path} has {len(arrays.v_template)} vertices, {family.upper()} has {VERTICES[family]}"
        return [fault(text, mend)]
    return without_hands(path, arrays)


def without_hands(path: Path, arrays: SmplArrays) -> list[Finding]:
    if arrays.family == "smpl" or "hands_componentsl" in arrays.extras:
        return []
    text = f"{path} has no hands_componentsl: hands have no components with it"
    return [note(text, "merge MANO into it, or put MANO_LEFT.pkl and MANO_RIGHT.pkl beside it: keyfit reads both")]


def checkpoints(folder: Path) -> list[Path]:
    """Folders that look like VPoser's."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and ((p / "snapshots").is_dir() or "vposer" in p.name))


def check_vposer(folder: Path) -> list[Finding]:
    try:
        version = read_vposer(folder).version
    except FitError as error:
        return [fault(str(error), VPOSER)]
    if version == 1:
        return []
    return [note(f"{folder} is VPoser 2, whose codes are others than version 1's", "SMPLify-X reads version 1 only")]


def unreadable(path: Path, mend: str) -> list[Finding]:
    found = require_file(path, mend)
    if found:
        return found
    try:
        read_gmm(path, MIXED)
    except FitError as error:
        return [fault(str(error), mend)]
    return []
