"""The unpickler with a list of what it lets in, and what makes plain Python and numpy of the rest.

Files come from the internet and a pickle may call any function. Here only the classes in `_ALLOWED` are let in, each
as an inert stand-in (see inert.py); any other is refused by name. numpy's `allow_pickle` is never used.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from fitting.unpickle import inert

_SCALARS = (
    *("bool_", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_SAME_PLACE = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core": "numpy.core"}
_STORAGES = ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
# Checkpoints keep settings, callbacks and optimisers beside the weights. Their classes come out as nothing at all.
_TRAINERS = (
    *("pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.", "omegaconf."),
    *("human_body_prior.", "configer.", "dotmap.", "torch.optim.", "argparse.Namespace", "typing.Any"),
)
_PLAIN_TYPES = (dict, list, set, frozenset, tuple, int, float, bool, complex)


class Refused(Exception):
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
    table |= {"collections.OrderedDict": inert.OrderedDict, "collections.defaultdict": inert.DefaultDict}
    table |= {"torch._utils._rebuild_tensor": inert.Tensor}
    table |= {f"torch.{kind}Storage": _named(inert.StorageType, kind) for kind in _STORAGES}
    table |= {f"pathlib.{kind}": inert.PathText for kind in _PATHS}
    table |= {f"pathlib._local.{kind}": inert.PathText for kind in _PATHS}
    for place in ("gmm.GMM", "gaussian_mixture.GaussianMixture", "_gaussian_mixture.GaussianMixture"):
        table[f"sklearn.mixture.{place}"] = _named(inert.Attributes, f"sklearn.mixture.{place}")
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


def find_class(module: str, name: str) -> type:
    """The stand-in for a class that a file names. Raises Refused for one that is not on the list."""
    full = _full_name(module, name)
    if full.startswith("chumpy."):
        return _named(inert.Chumpy, full)
    if full.startswith(_TRAINERS):
        return inert.Ignored
    if full not in _ALLOWED:
        raise Refused(full)
    return _ALLOWED[full]


class _Unpickler(pickle.Unpickler):
    """Every object comes out inert; `Plain` makes it ordinary. `storage` gives the bytes of a torch storage by key."""

    def __init__(self, stream: io.BufferedIOBase | io.BytesIO, storage: Callable[[str], bytes] | None = None) -> None:
        super().__init__(stream, encoding="latin1")
        self.storage = storage

    def persistent_load(self, pid: Any) -> Any:
        if self.storage is None or not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to something outside itself")
        return inert.StoredOutside(pid[1], self.storage(str(pid[2])))

    def find_class(self, module: str, name: str) -> type:
        return find_class(module, name)


class _StorageUnpickler(pickle.Unpickler):
    """Reads the pickles at the head of a torch storage only to see which classes they name."""

    def find_class(self, module: str, name: str) -> type:
        if _full_name(module, name) not in {f"torch.{kind}Storage" for kind in _STORAGES}:
            raise Refused(_full_name(module, name))
        return inert.Inert

    def persistent_load(self, _: Any) -> None:
        return None


class Plain:
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


def unpickled(stream: io.BufferedIOBase | io.BytesIO, storage: Callable[[str], bytes] | None = None) -> Any:
    """The next pickle of a stream as plain Python and numpy.

    Raises Refused, which names a class that is not on the list, and whatever a damaged file sets off.
    """
    return Plain()(_Unpickler(stream, storage).load())
