"""npz archives whose bytes depend on the arrays alone: np.savez stamps the time of day into the zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fitting.types import OutputError
from fitting.writers.atomic import replacing, write_bytes

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], compress: bool = False) -> Path:
    """Loadable with `allow_pickle=False`. Raises OutputError, also for an object array."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as file:
                file.write(npy_bytes(name, array))
    return path


def write_npy(path: Path, array: np.ndarray) -> Path:
    """One array in numpy's own format. Raises OutputError."""
    return write_bytes(path, npy_bytes(path.name, array))


def npy_bytes(name: str, array: np.ndarray) -> bytes:
    """An array in numpy's format; `name` is for the message."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise OutputError(f"{name}: an array of {array.dtype} cannot be written without pickle; give it a plain dtype.")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    return buffer.getvalue()
