"""Keyfit's results as training data: windows of consecutive good frames, in an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fitting import bodies
from fitting.codes.crops import weak_to_crop
from fitting.track import parameters_of
from fitting.training import mask
from fitting.training.crop import Square, square_of
from fitting.training.recording import Loaded, Recording, load
from fitting.types import Body, InputError

__all__ = ["FitDataset", "Recording", "WindowOptions"]


@dataclass(frozen=True)
class WindowOptions:
    """Which windows there are, and in which order."""

    stride: int = 1  # frames between the beginnings of two windows
    worst_percent: float = (
        10.0  # landmark error, in percent of the layout's yard-stick, beyond which a frame is left out
    )
    shuffle: bool = False
    seed: int = 0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of RGB in 0..1, taken off; then divided by `std`
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class FitDataset(Dataset):
    """Windows of `window` consecutive valid frames of any number of fits. An item is a dict of tensors, frames first:

    image (w, 3, 224, 224), landmarks (w, P, 2) in the crop's -1..1, confidence (w, P), mask (w, 3, 224, 224) other,
    skin, important; shape, exp, pose (w, 6) global and jaw, cam (w, 3) weak perspective in the crop; tex (w, 50) and
    light (w, 27) of the regressor's codes that the fit started from, where they have any; error_percent (w,);
    action_units (w, A), NaN where the table has no line; frame (w,) and recording ().

    A window never crosses a cut or a frame that was interpolated, held, suspicious or too far off. Items depend on
    their number alone: the same seed gives the same order whatever the number of workers. Pictures are read when asked
    for.
    """

    def __init__(
        self,
        results: Sequence[Path | str | Recording],
        window: int = 3,
        options: WindowOptions = WindowOptions(),  # noqa: B008
        body: Body | None = None,
    ) -> None:
        """`results` are folders of fits, their params.npz, or `Recording`s. `body` decodes them; default: the shelf's.

        Raises InputError for results that do not fit together, and where there is no window at all.
        """
        named = [r if isinstance(r, Recording) else Recording(Path(r)) for r in results]
        self.recordings = [load(recording) for recording in named]
        self.options, self.window = options, window
        self.body = body if body is not None else bodies.load(one_model(self.recordings))
        self.important = mask.important_vertices(self.body)
        self.unit_names = one_set_of_units(self.recordings)
        self.appearance = [n for n in self.recordings[0].extras if all(n in r.extras for r in self.recordings)]
        self.windows = [(k, first) for k, r in enumerate(self.recordings) for first in beginnings(r, window, options)]
        if not self.windows:
            raise InputError(f"no window of {window} consecutive good frames in {len(named)} fits")
        if options.shuffle:
            order = np.random.default_rng(options.seed).permutation(len(self.windows))
            self.windows = [self.windows[k] for k in order]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, first = self.windows[index]
        recording, rows = self.recordings[number], slice(first, first + self.window)
        square = square_of(recording.keypoints[rows], recording.confidence[rows] > 0)
        found = {
            **self.pictures(recording, rows, square),
            **self.codes(recording, rows, square),
            "landmarks": square.to_crop(recording.keypoints[rows]) / 112 - 1,
            "confidence": recording.confidence[rows],
            "error_percent": recording.error_percent[rows],
            "frame": np.arange(rows.start, rows.stop),
            "recording": np.array(number),
        }
        if self.unit_names:
            found["action_units"] = recording.units.rows[rows]  # type: ignore[union-attr]
        return {name: torch.as_tensor(value if value.dtype.kind == "i" else value.astype(np.float32))
                for name, value in found.items()}  # fmt: skip

    def pictures(self, recording: Loaded, rows: slice, square: Square) -> dict[str, np.ndarray]:
        """Crops and masks."""
        with torch.no_grad():
            meshes = self.body.pose(parameters_of(self.body, recording.track, rows)).points[:, 0].double().cpu().numpy()
        K = recording.track.codes.K
        assert K is not None  # `load` has seen it
        mean, std = (np.array(v, dtype=np.float32)[:, None, None] for v in (self.options.mean, self.options.std))
        frames = range(rows.start, rows.stop)
        return {
            "image": np.stack([(square.cut(recording.frames[k]) - mean) / std for k in frames]),
            "mask": np.stack([mask.draw(m, self.body, self.important, K[k], square)
                              for m, k in zip(meshes, frames, strict=True)]),
        }  # fmt: skip

    def codes(self, recording: Loaded, rows: slice, square: Square) -> dict[str, np.ndarray]:
        """DECA's names."""
        values, K = recording.track.values, recording.track.codes.K
        found = {"cam": crop_cameras(values["transl"][rows], K[rows], square)}  # type: ignore[index]
        if "betas" in values:
            found["shape"] = values["betas"][rows]
        if "expression" in values:
            found["exp"] = values["expression"][rows]
        if "jaw_pose" in values:
            found["pose"] = np.concatenate([values["global_orient"][rows], values["jaw_pose"][rows]], axis=1)
        return {**found, **{name: recording.extras[name][rows] for name in self.appearance}}


def crop_cameras(place: np.ndarray, K: np.ndarray, square: Square) -> np.ndarray:
    """[s, tx, ty] of weak perspective in the plane of the model's origin."""
    sigma = K[:, 0, 0] / -place[:, 2]
    x, y = K[:, 0, 2] + sigma * place[:, 0], K[:, 1, 2] - sigma * place[:, 1] * K[:, 1, 1] / K[:, 0, 0]
    crops = np.tile([square.x, square.y, square.side], (len(place), 1))
    return weak_to_crop(np.stack([sigma, x, y], axis=1), crops)


def beginnings(recording: Loaded, window: int, options: WindowOptions) -> list[int]:
    """First frames of windows in which every frame is good and none but the first follows a cut."""
    near = np.nan_to_num(recording.error_percent, nan=np.inf) <= options.worst_percent
    good = recording.good & near & (recording.confidence > 0).any(axis=1)
    found = []
    for first in range(0, len(recording) - window + 1, options.stride):
        inside = range(first, first + window)
        if good[first : first + window].all() and not recording.cuts & set(inside[1:]):
            found.append(first)
    return found


def one_model(recordings: list[Loaded]) -> str:
    """Raises InputError where the fits are of several models: their codes are not one data set."""
    models = {recording.track.codes.model for recording in recordings}
    if len(models) != 1:
        raise InputError(f"fits of {' and '.join(sorted(models))}: codes of one model are needed")
    return models.pop()


def one_set_of_units(recordings: list[Loaded]) -> tuple[str, ...]:
    """Names of the action units; empty where there are none. Raises InputError where tables differ."""
    names = {() if recording.units is None else recording.units.names for recording in recordings}
    if len(names) != 1:
        raise InputError("some fits have action units and others none, or others: give all the same, or none")
    return names.pop()
