"""What a writer for a trainer is given beside the parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.track import Track
from fitting.types import Body, Observations, OutputError


def unheard(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Target:
    """`body` decodes the track's codes; `observations` are there when a fit is written, not for mere codes."""

    folder: Path
    body: Body | None = None
    observations: Observations | None = None
    action_units: Path | None = None  # an OpenFace csv of the same frames
    note: Callable[[str], None] = unheard  # told what a user should know of what was written


@dataclass(frozen=True)
class Export:
    """A format of a trainer. `models` are those that its users decode with; empty: any."""

    write: Callable[[Track, Target], list[Path]]
    models: tuple[str, ...] = ()
    needs_body: bool = False
    needs: tuple[str, ...] = ()  # blocks
    needs_camera: bool = False
    names_persons: bool = False  # its files carry the person's number; else persons beyond the first have folders

    def folder(self, top: Path, person: str) -> Path:
        """Where a person's files go."""
        return top if self.names_persons or person == "000" else top / f"person_{person}"

    def check(self, name: str, track: Track) -> None:
        """Raises OutputError for codes that the format cannot hold, or whose meaning would change in it."""
        missing = [block for block in self.needs if block not in track.values]
        if missing:
            raise OutputError(
                f"{name}: it needs {', '.join(self.needs)}, but {track.format} has no {', '.join(missing)}"
                f"{NO_PLACE if 'transl' in missing else ''}"
            )
        if self.needs_camera and track.codes.K is None:
            raise OutputError(f"{name}: it needs a camera, but {track.format} has none{NO_PLACE}")
        self.check_model(name, track.codes.model)

    def check_model(self, name: str, model: str) -> None:
        """Raises OutputError for codes of another model than the format's users decode with."""
        if self.is_for(model):
            return
        if model.startswith(PEOPLE):
            mend = f"Fit {self.models[0]} to keypoints with them as --start and --codes.pose_only true"
        else:
            mend = f"Convert them with --convert_model {self.models[0]}"
        said = self.said_of(name, f"these codes belong to {model}")
        raise OutputError(f"{said} {mend}, or say with --codes_model which model they really belong to")

    def check_fit(self, name: str, model: str, outputs: Sequence[str]) -> None:
        """`check_model` before anything is fitted: `outputs` are all that are wanted."""
        if self.is_for(model):
            return
        others = ",".join(output for output in outputs if output != name) or "params"
        said, mend = self.said_of(name, f"this fit is of {model}"), f"Fit --body.model {self.models[0]}"
        if not model.startswith(PEOPLE):
            mend += f", convert the params.npz of this one with --convert_model {self.models[0]}"
        raise OutputError(f"{said} {mend}, or leave {name} out: --outputs {others}")

    def is_for(self, model: str) -> bool:
        return not self.models or model in self.models or model == "flame"

    def said_of(self, name: str, found: str) -> str:
        theirs = " or ".join(self.models)
        return f"{name}: its users decode with {theirs}, {found}: the same numbers are somebody else there."


PEOPLE = ("smpl", "open_body")  # shapes of these are not converted
NO_PLACE = ": fit them to keypoints first (fit.py --start), which finds where the person is"


def cameras(track: Track) -> np.ndarray:
    """K of every frame, which `Export.check` has seen to be there."""
    if track.codes.K is None:
        raise OutputError(f"{track.format} has no camera{NO_PLACE}")
    return track.codes.K


def sizes_of(track: Track) -> np.ndarray:
    """Width and height of every frame. Raises OutputError."""
    if track.image_sizes is None:
        raise OutputError(f"{track.format} does not say how large the pictures are: give --image_size")
    return track.image_sizes


def require_body(target: Target, name: str) -> Body:
    if target.body is None:
        raise OutputError(f"{name}: a model is needed to decode the codes: give one with --body")
    return target.body
