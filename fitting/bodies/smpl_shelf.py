"""Where files of the SMPL family lie on the shelf `models/`: their usual names, and what to do when one is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fitting.bodies.smpl_files import OPEN_BODY
from fitting.types import ModelError

GENDERS = ("neutral", "female", "male")


@dataclass(frozen=True)
class _Family:
    title: str
    site: str
    names: dict[str, tuple[str, ...]]  # by gender, lower case


def _named(stem: str, extra: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {g: (f"{stem}_{g}.npz", f"{stem}_{g}.pkl", *extra.get(g, ())) for g in GENDERS}


_FAMILIES = {
    "smpl": _Family("SMPL", "https://smpl.is.tue.mpg.de/", _named("smpl", {
        # The names inside the archives of SMPL 1.0.0 and 1.1.0; the neutral one of SMPLify.
        "neutral": ("basicmodel_neutral_lbs_10_207_0_v1.0.0.pkl", "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"),
        "female": ("basicmodel_f_lbs_10_207_0_v1.0.0.pkl", "basicmodel_f_lbs_10_207_0_v1.1.0.pkl"),
        "male": ("basicmodel_m_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl"),
    })),
    "smplh": _Family("SMPL-H", "https://mano.is.tue.mpg.de/", _named("smplh", {
        g: (f"{g}/model.npz",) for g in GENDERS  # AMASS's extended SMPL-H
    })),
    "smplx": _Family("SMPL-X", "https://smpl-x.is.tue.mpg.de/", _named("smplx", {
        "neutral": ("smplx_neutral_2020.npz",),
    })),
}  # fmt: skip
FAMILIES = tuple(_FAMILIES)


def find_smpl(shelf: Path, wanted: str, gender: str = "neutral") -> Path:
    """The file of a model: 'open_body', 'smpl', 'smplh', 'smplx', or the path of a file.

    On the shelf the usual names are looked for, three folders deep, upper or lower case, nearest first.
    Raises ModelError that says where it looked, what is there and where to get the file.
    """
    if wanted == OPEN_BODY:
        path = shelf / f"{OPEN_BODY}.npz"
        if not path.is_file():
            raise ModelError(
                f"{path}: there is no such model file. What to do: install Keyfit again, it is part of it."
            )
        return path
    family = _FAMILIES[wanted]
    if gender not in GENDERS:
        raise ModelError(f"gender {gender!r} is not known: use {', '.join(GENDERS)}")
    files = model_files(shelf)
    for name in family.names[gender]:
        for file in files:
            if f"/{file.relative_to(shelf).as_posix()}".lower().endswith(f"/{name}"):
                return file
    raise ModelError(_not_found(shelf, wanted, gender, files))


def model_files(folder: Path) -> list[Path]:
    """The .pkl and .npz files in `folder` and three folders below: nearest first, then by name."""
    found = (file for depth in range(4) for file in sorted(folder.glob("*/" * depth + "*")))
    return [file for file in found if file.suffix.lower() in (".pkl", ".npz") and file.is_file()]


def find_mano(shelf: Path) -> dict[str, Path]:
    """MANO's files by side, those that are there."""
    files = {file.name.lower(): file for file in reversed(model_files(shelf))}
    return {
        side: files[f"mano_{side}.{kind}"]
        for side in ("left", "right")
        for kind in ("npz", "pkl")
        if f"mano_{side}.{kind}" in files
    }


def _not_found(shelf: Path, wanted: str, gender: str, files: list[Path]) -> str:
    family = _FAMILIES[wanted]
    there = ", ".join(str(file.relative_to(shelf)) for file in files[:12]) or "no .pkl or .npz file"
    more = f" and {len(files) - 12} more" if len(files) > 12 else ""
    state = there + more if shelf.is_dir() else "the folder does not exist"
    others = [g for g in GENDERS if any(file.name.lower() in family.names[g] for file in files)]
    instead = f" Of other genders there is {', '.join(others)}: `gender: {others[0]}`." if others else ""
    no_neutral = " SMPL-H has no neutral model of its own." if (wanted, gender) == ("smplh", "neutral") else ""
    return (
        f"no model file for `{wanted}` ({gender}) in {shelf.resolve()} and its subfolders. "
        f"Looked for: {', '.join(family.names[gender])}. Found: {state}.{instead}{no_neutral} What to do: sign up at "
        f"{family.site}, download {family.title} and put the file into {shelf / wanted}; or use `model: {OPEN_BODY}`, "
        f"which needs no file."
    )


def is_smpl_file(path: Path) -> bool:
    """Whether a path's name, or a folder's that it is in, says so: smplx/SMPLX_MALE.npz, basicModel_f_....pkl."""
    words = [part.lower() for part in path.parts[-3:]]
    return path.is_file() and any(word.startswith(("smpl", "basicmodel_", OPEN_BODY)) for word in words)
