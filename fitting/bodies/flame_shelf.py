"""Where model files lie: the usual names of FLAME's files on the shelf `models/`, and the versions their names tell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fitting.types import ModelError

SITE = "https://flame.is.tue.mpg.de/"
OPEN_HEAD = "open_head"
_NAMES = {
    "neutral": ("flame_neutral.pkl", "flame_neutral.npz", "generic_model.pkl"),
    "female": ("flame_female.pkl", "flame_female.npz", "female_model.pkl"),
    "male": ("flame_male.pkl", "flame_male.npz", "male_model.pkl"),
}
_NAMES_2023 = ("flame2023.pkl", "flame2023_open.pkl", "flame2023_no_jaw.pkl", "flame2023.npz", "flame2023_open.npz")
_VERSIONS = {  # a word in the path -> version; the longer word first
    "flame2023_no_jaw": "flame2023_no_jaw",
    "flame2023_open": "flame2023_open",
    "flame2023open": "flame2023_open",
    "flame2023": "flame2023",
    "flame2020": "flame2020",
    "flame2019": "flame2019",
}


def find_model(models_folder: str | Path, wanted: str, gender: str = "neutral") -> Path:
    """The file of a model: 'open_head', 'flame', a version ('flame2020', ...), or the path of a file or folder.

    A path is taken as it is; in a folder, and on the shelf `models_folder`, the usual names are looked for, two
    folders deep. Raises ModelError that says where it looked, what is there and where to get the file.
    """
    shelf = Path(models_folder)
    if wanted == OPEN_HEAD:
        return _existing(shelf / "open_head.npz", "it is part of Keyfit: install it again, or check it out again")
    if wanted == "flame" or wanted in _VERSIONS.values():
        return _best(shelf, wanted, gender)
    if Path(wanted).is_dir():
        return _best(Path(wanted), "flame", gender)
    return _existing(Path(wanted), f"give an existing .pkl or .npz, `flame`, or `{OPEN_HEAD}`")


def _existing(path: Path, mend: str) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file. What to do: {mend}.")
    return path


def _best(folder: Path, wanted: str, gender: str) -> Path:
    if gender not in _NAMES:
        raise ModelError(f"gender {gender!r} is not known: use {', '.join(_NAMES)}")
    files = _model_files(folder)
    names = _NAMES[gender] + (_NAMES_2023 if gender == "neutral" else ())
    for name in names:
        for file in files:
            if file.name.lower() == name and wanted in ("flame", version_of_path(file)):
                return file
    raise ModelError(_not_found(folder, wanted, gender, names, files))


def _model_files(folder: Path) -> list[Path]:
    """The .pkl and .npz files in `folder` and two folders below: nearest first, then by name."""
    found = (file for pattern in ("*", "*/*", "*/*/*") for file in sorted(folder.glob(pattern)))
    return [file for file in found if file.suffix.lower() in (".pkl", ".npz") and file.is_file()]


def _not_found(folder: Path, wanted: str, gender: str, names: Iterable[str], files: list[Path]) -> str:
    there = ", ".join(str(file.relative_to(folder)) for file in files[:12]) or "no .pkl or .npz file"
    more = f" and {len(files) - 12} more" if len(files) > 12 else ""
    state = there + more if folder.is_dir() else "the folder does not exist"
    return (
        f"no model file for `{wanted}` ({gender}) in {folder.resolve()} and its subfolders. "
        f"Looked for: {', '.join(names)}. Found: {state}. What to do: sign up at {SITE}, download a FLAME archive and "
        f"put its .pkl into {folder / 'flame'}; or use `model: {OPEN_HEAD}`, which needs no file."
    )


def version_of_path(path: Path) -> str:
    """The version that a file's or its nearest folder's name states; 'flame' where none does."""
    for part in reversed(Path(path).parts[-3:]):
        for word, version in _VERSIONS.items():
            if word in part.lower().replace("-", "_").replace(" ", ""):
                return version
    return "flame"
