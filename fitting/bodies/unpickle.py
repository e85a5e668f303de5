"""Reads model files without running anything that is in them: .pkl, .npy and .npz, from Python 2 and 3.

Model files come from the internet and a pickle may call any function. Here only the classes in `_ALLOWED` are let
in, each as an inert stand-in (see inert.py); any other is refused by name. numpy's `allow_pickle` is never used.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fitting.bodies import inert
from fitting.types import ModelError

_SCALARS = (
    *("bool_", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_SAME_PLACE = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core": "numpy.core"}
_STORAGES = ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool")
_PLAIN_TYPES = (dict, list, set, frozenset, tuple, int, float, bool, complex)


class _Refused(Exception):
    """The file asks for a class or function that is not on the list."""


def _named(kind: type, name: str) -> type:
    return type(kind.__name__, (kind,), {"name": name})


def _allowed() -> dict[str, type]:
    """Full name of every class or function a model file may name -> what stands in for it."""
    kinds = (
        *(inert.ArrayType, inert.Array, inert.BufferArray, inert.Scalar, inert.DType, inert.Encoded),
        *(inert.ObjectType, inert.Reconstructed, inert.TorchStorage, inert.Tensor, inert.TorchParameter),
    )
    table: dict[str, type] = {kind.name: kind for kind in kinds}
    table |= {f"numpy.{name}": _named(inert.ScalarType, name) for name in _SCALARS}
    table |= {f"builtins.{kind.__name__}": kind for kind in _PLAIN_TYPES}
    table |= {f"builtins.{name}": inert.Encoded for name in ("bytes", "bytearray")}
    table |= {"collections.OrderedDict": dict, "collections.defaultdict": inert.DefaultDict}
    table |= {"torch._utils._rebuild_tensor": inert.Tensor}
    for format in ("csc", "csr", "coo"):
        kind = type("Sparse", (inert.Sparse,), {"format": format, "name": f"scipy.sparse.{format}_matrix"})
        for module in (f"scipy.sparse.{format}", f"scipy.sparse._{format}"):
            table |= {f"{module}.{format}_matrix": kind, f"{module}.{format}_array": kind}
    return table


_ALLOWED = _allowed()


def _full_name(module: str, name: str) -> str:
    """The present name of what a file of any age asks for."""
    for old, new in _SAME_PLACE.items():
        if module == old or module.startswith(old + "."):
            module = new + module[len(old) :]
    return f"{module}.{name}"


class _Unpickler(pickle.Unpickler):
    """Every object comes out inert; `_Plain` makes it ordinary."""

    def find_class(self, module: str, name: str) -> type:
        full = _full_name(module, name)
        if full.startswith("chumpy."):
            return _named(inert.Chumpy, full)
        if full not in _ALLOWED:
            raise _Refused(full)
        return _ALLOWED[full]


class _StorageUnpickler(pickle.Unpickler):
    """Reads the pickles at the head of a torch storage only to see which classes they name."""

    def find_class(self, module: str, name: str) -> type:
        if _full_name(module, name) not in {f"torch.{kind}Storage" for kind in _STORAGES}:
            raise _Refused(_full_name(module, name))
        return inert.Inert

    def persistent_load(self, _: Any) -> None:
        return None


class _Plain:
    """Turns inert objects into ordinary ones, each once however often the file repeats it."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}  # by identity, with the original, which so keeps its identity

    def __call__(self, value: Any) -> Any:
        if isinstance(value, type):
            return self._type(value)
        if not isinstance(value, (inert.Inert, dict, list, tuple, set, frozenset)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = (value, self)  # itself: the mark of an object whose inside is being read
            self._done[id(value)] = (value, self._made(value))
        result = self._done[id(value)][1]
        if result is self:
            raise pickle.UnpicklingError("an object that contains itself")
        return result

    def _made(self, value: Any) -> Any:
        if isinstance(value, inert.TorchStorage):
            _check_storage(self(value.args[0]))
        if isinstance(value, inert.Inert):
            return value.value(self)
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        return type(value)(self(item) for item in value)

    def _type(self, value: type) -> type:
        return np.dtype(value.name.rstrip("_")).type if issubclass(value, inert.ScalarType) else value


def _check_storage(content: bytes) -> None:
    """`torch.load(weights_only=True)` refuses foreign classes too; this names them the same in every release."""
    stream = io.BytesIO(content)
    for _part in ("magic number", "protocol", "system", "storage", "keys"):
        _StorageUnpickler(stream).load()


def _unpickled(stream: io.BufferedIOBase) -> Any:
    return _Plain()(_Unpickler(stream, encoding="latin1").load())


# ------------------------------------------------------------------ files


_LOOKS = (  # first bytes, what that is, what to do
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run `git lfs pull` where it came from"),
    (b"PK\x03\x04", "a zip archive", "unpack it and use the file inside, or name it .npz if it is one"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x93NUMPY", "a numpy .npy file", "check that it is the right file"),
    (b"\x80", "a pickle", "check that it is the right file and that its name ends in .pkl"),
    (b"{", "a JSON text", "check that it is the right file"),
)
_LARGEST = 4 << 30
_AGAIN = "download it again, logged in, and compare its size with the one the site states"


def _looks(head: bytes) -> tuple[str, str]:
    """What a file is by its first bytes, and what to do if something else was expected."""
    if not head:
        return "empty", _AGAIN
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, probably the site's log-in page", _AGAIN
    known = ((what, mend) for start, what, mend in _LOOKS if head.startswith(start))
    return next(known, ("damaged, or no model file", _AGAIN))


def _failure(path: Path, because: str, mend: str) -> ModelError:
    size = path.stat().st_size if path.is_file() else 0
    return ModelError(f"{path} ({size:,} bytes): {because}. What to do: {mend}.")


@contextmanager
def _opened(path: str | Path, starts: tuple[bytes, ...]) -> Iterator[io.BufferedIOBase]:
    """The open file, if it begins with one of `starts`; whatever goes wrong with it becomes a ModelError."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path} {what}. What to do: check the path; models/README.md says which files go where.")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            if not head.startswith(starts):
                what, mend = _looks(head)
                raise _failure(path, f"this file is {what}", mend)
            stream.seek(0)
            yield stream
    except _Refused as name:
        raise _failure(
            path,
            f"it tries to use {name}. A model file holds arrays and has no business with that: it could run any code "
            "on this machine. It was not read and nothing in it was run",
            "get the file from its official site; if it came from there, please report the class",
        ) from None
    except OSError as error:
        raise _failure(path, f"it cannot be read ({error})", "check the file's permissions and the disk") from error
    except ModelError:
        raise
    except Exception as error:  # a damaged file sets off anything: numpy's header alone has TokenError and SyntaxError
        because = f"it is damaged, cut off or no model file ({str(error) or type(error).__name__})"
        raise _failure(path, because, _AGAIN) from error


def load_pickle(path: str | Path) -> Any:
    """The content of a .pkl as plain Python and numpy: chumpy and torch arrays as numpy arrays, sparse ones as scipy's.

    Raises ModelError, which names the file, when it is missing, empty, cut off, no pickle, or names a class that is
    not allowed (named too).
    """
    # Protocol 0 and 1 have no mark of their own: a dict begins with '(' or '}'. Their writers are long gone, but not
    # all of their files.
    with _opened(path, (b"\x80", b"(", b"}", b"c")) as stream:
        return _unpickled(stream)


def load_npy_object(path: str | Path) -> Any:
    """The array of a .npy; where it was saved from one Python object (a dict), that object. Raises as `load_pickle`."""
    with _opened(path, (b"\x93NUMPY",)) as stream:
        return _npy_content(stream.read())


def load_npz(path: str | Path) -> dict[str, Any]:
    """The arrays of a .npz by name, arrays of objects unwrapped as by `load_npy_object`. Raises as `load_pickle`."""
    with _opened(path, (b"PK\x03\x04",)) as stream, zipfile.ZipFile(stream) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if not members:
            raise zipfile.BadZipFile("a zip archive without any .npy in it: unpack it and use the file inside")
        if sum(archive.getinfo(name).file_size for name in members) > _LARGEST:
            raise zipfile.BadZipFile(f"it unpacks to more than {_LARGEST:,} bytes, as no model does")
        return {name.removesuffix(".npy"): _npy_content(archive.read(name)) for name in members}


def _npy_content(content: bytes) -> Any:
    stream = io.BytesIO(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, fortran, dtype = read_header(stream)
    if dtype.kind == "O":
        array = _unpickled(stream)
        return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of records with Python objects")
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise EOFError(f"an array of shape {shape} needs {math.prod(shape) * dtype.itemsize:,} bytes")
    # Not `assembled`: it is plain data, which may also be of no size or of a dtype with fields.
    flat: np.ndarray = np.ndarray(math.prod(shape), dtype, buffer=bytearray(content), offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
