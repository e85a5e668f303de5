"""Inputs that need no file of the user's: `sample:NAME`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from fitting import places
from fitting.readers import image, mediapipe_npz
from fitting.readers.options import ReadOptions
from fitting.types import DependencyError, InputError, Observations, Pictures

_PREFIX = "sample:"


def accepts(path: Path) -> bool:
    return str(path).startswith(_PREFIX)


def read(path: Path, options: ReadOptions) -> Pictures | list[Observations]:
    """Raises InputError for a name that is not in `SAMPLES`."""
    name = str(path).removeprefix(_PREFIX)
    if name not in SAMPLES:
        raise InputError(f"{path}: no sample of this name; there are {', '.join(_PREFIX + n for n in SAMPLES)}")
    return SAMPLES[name](options)


def grace_hopper(options: ReadOptions) -> Pictures:
    """Rear Admiral Grace Hopper, a US Navy photograph in the public domain, from matplotlib's installed data."""
    spec = importlib.util.find_spec("matplotlib")  # does not import it
    folders = list(spec.submodule_search_locations or []) if spec else []
    photo = next((p for f in folders if (p := Path(f) / "mpl-data/sample_data/grace_hopper.jpg").is_file()), None)
    if photo is None:
        found = "is installed without its sample data" if folders else "is not installed"
        raise DependencyError(
            f"{_PREFIX}grace_hopper is a photograph inside matplotlib, which {found}: "
            "pip install matplotlib, or give a picture of your own by --input"
        )
    return image.read(photo, options)


def shipped_landmarks(source: str, pictures: Pictures) -> list[Observations] | None:
    """The landmarks of a sample's photograph as found before, for installations whose detector has no models of its
    own; None for any other input."""
    name = source.removeprefix(_PREFIX)
    path = places.models() / f"sample_{name}.npz"
    if not source.startswith(_PREFIX) or not path.is_file():
        return None
    found = mediapipe_npz.read(path, ReadOptions(sequence="photos"))
    return [replace(person, names=pictures.names, pictures=pictures) for person in found]


SAMPLES = {"grace_hopper": grace_hopper}  # name -> function of the options
