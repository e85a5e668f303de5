"""Files of others read without running anything that is in them: .pkl, .npy, .npz and torch's, of any age."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fitting.types import FitError, InputError, ModelError
from fitting.unpickle.reading import Refused, unpickled


@dataclass(frozen=True)
class Subject:
    """What kind of file is read: the error it raises, and how its messages end."""

    error: type[FitError]
    name: str  # 'model file'
    missing: str
    again: str
    official: str


MODEL = Subject(
    ModelError,
    "model file",
    "check the path; models/README.md says which files go where",
    "download it again, logged in, and compare its size with the one the site states",
    "get the file from its official site; if it came from there, please report the class",
)
CODES = Subject(
    InputError,
    "file of codes",
    "check the path",
    "write it again with the program it comes from, or copy it again",
    "write the codes again as plain numpy arrays; if a program writes them like this, please report the class",
)


_LOOKS = (  # first bytes, what that is, what to do
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run `git lfs pull` where it came from"),
    (b"PK\x03\x04", "a zip archive", "unpack it and use the file inside, or name it .npz if it is one"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x93NUMPY", "a numpy .npy file", "check that it is the right file"),
    (b"\x80", "a pickle", "check that it is the right file and that its name ends in .pkl"),
    (b"{", "a JSON text", "check that it is the right file"),
)
LARGEST = 4 << 30


def _looks(head: bytes, subject: Subject) -> tuple[str, str]:
    """What a file is by its first bytes, and what to do if something else was expected."""
    if not head:
        return "empty", subject.again
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, probably the site's log-in page", subject.again
    known = ((what, mend) for start, what, mend in _LOOKS if head.startswith(start))
    return next(known, (f"damaged, or no {subject.name}", subject.again))


def _failure(path: Path, because: str, mend: str, subject: Subject) -> FitError:
    size = path.stat().st_size if path.is_file() else 0
    return subject.error(f"{path} ({size:,} bytes): {because}. What to do: {mend}.")


@contextmanager
def opened(path: str | Path, starts: tuple[bytes, ...], subject: Subject) -> Iterator[io.BufferedReader]:
    """The open file, if it begins with one of `starts`; whatever goes wrong with it becomes the subject's error."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise subject.error(f"{path} {what}. What to do: {subject.missing}.")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            if not head.startswith(starts):
                what, mend = _looks(head, subject)
                raise _failure(path, f"this file is {what}", mend, subject)
            stream.seek(0)
            yield stream
    except Refused as name:
        raise _failure(
            path,
            f"it tries to use {name}. A {subject.name} holds arrays and has no business with that: it could run any "
            "code on this machine. It was not read and nothing in it was run",
            subject.official,
            subject,
        ) from None
    except OSError as error:
        mend = "check the file's permissions and the disk"
        raise _failure(path, f"it cannot be read ({error})", mend, subject) from error
    except FitError:
        raise
    except Exception as error:  # a damaged file sets off anything: numpy's header alone has TokenError and SyntaxError
        because = f"it is damaged, cut off or no {subject.name} ({str(error) or type(error).__name__})"
        raise _failure(path, because, subject.again, subject) from error


def load_pickle(path: str | Path, subject: Subject = MODEL) -> Any:
    """The content of a .pkl as plain Python and numpy: chumpy and torch arrays as numpy arrays, sparse ones as scipy's.

    Raises the subject's error, which names the file, when it is missing, empty, cut off, no pickle, or names a class
    that is not allowed (named too).
    """
    # Protocol 0 and 1 have no mark of their own: a dict begins with '(' or '}'. Their writers are long gone, but not
    # all of their files.
    with opened(path, (b"\x80", b"(", b"}", b"c"), subject) as stream:
        return unpickled(stream)


def load_npy_object(path: str | Path, subject: Subject = MODEL) -> Any:
    """The array of a .npy; where it was saved from one Python object (a dict), that object. Raises as `load_pickle`."""
    with opened(path, (b"\x93NUMPY",), subject) as stream:
        return _npy_content(stream.read())


def load_npz(path: str | Path, subject: Subject = MODEL) -> dict[str, Any]:
    """The arrays of a .npz by name, arrays of objects unwrapped as by `load_npy_object`. Raises as `load_pickle`."""
    with opened(path, (b"PK\x03\x04",), subject) as stream, zipfile.ZipFile(stream) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if not members:
            raise zipfile.BadZipFile("a zip archive without any .npy in it: unpack it and use the file inside")
        if sum(archive.getinfo(name).file_size for name in members) > LARGEST:
            raise zipfile.BadZipFile(f"it unpacks to more than {LARGEST:,} bytes, as no model does")
        return {name.removesuffix(".npy"): _npy_content(archive.read(name)) for name in members}


def load_pickles(path: str | Path, subject: Subject = CODES) -> list[Any]:
    """All pickles of a file that holds several, one after the other. Raises as `load_pickle`."""
    found = []
    with opened(path, (b"\x80", b"(", b"}", b"c", b"]"), subject) as stream:
        end = Path(path).stat().st_size
        while stream.tell() < end:
            found.append(unpickled(stream))
    return found


def load_torch(path: str | Path, subject: Subject = CODES) -> Any:
    """What torch.save wrote, tensors as numpy arrays; numpy arrays inside are read as well. Raises as `load_pickle`.

    torch.load(weights_only=True) refuses numpy's, and without it runs whatever the file says: the zip is read here.
    The format before torch 1.6 goes through weights_only.
    """
    with opened(path, (b"PK\x03\x04", b"\x80"), subject) as stream:
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            return _without_tensors(torch.load(stream, map_location="cpu", weights_only=True))
        with zipfile.ZipFile(stream) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise zipfile.BadZipFile("a zip archive without torch's data.pkl")
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise zipfile.BadZipFile(f"it unpacks to more than {LARGEST:,} bytes")
            base = names[0].removesuffix("data.pkl")
            return unpickled(io.BytesIO(archive.read(names[0])), lambda key: archive.read(f"{base}data/{key}"))


def _without_tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    return type(value)(map(_without_tensors, value)) if isinstance(value, (list, tuple)) else value


def _npy_content(content: bytes) -> Any:
    stream = io.BytesIO(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, fortran, dtype = read_header(stream)
    if dtype.kind == "O":
        array = unpickled(stream)
        return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of records with Python objects")
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise EOFError(f"an array of shape {shape} needs {math.prod(shape) * dtype.itemsize:,} bytes")
    # Not `assembled`: it is plain data, which may also be of no size or of a dtype with fields.
    flat: np.ndarray = np.ndarray(math.prod(shape), dtype, buffer=bytearray(content), offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
