"""What stands in for a class while a file is unpickled: it keeps what the file gives it and does nothing.

No class of the file's own is ever made and no numpy, scipy or torch code runs while the file is in charge: even
numpy's `dtype.__setstate__` takes flags from the file that make it read bytes as memory addresses. Only when all is
read do `plain` and the `value` methods build ordinary arrays from it, with every size checked.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch

Plain = Callable[[Any], Any]
"""From what was unpickled to plain Python and numpy, with all that is inside."""


class Inert:
    """One object of a pickle: the arguments it was to be made with, and the state it was to be given."""

    name = "object"
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Inert:
        self = object.__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self, plain: Plain) -> Any:
        raise pickle.UnpicklingError(f"a bare {self.name} where an array was expected")


def assembled(shape: Sequence[int], dtype: np.dtype, order: Literal["C", "F"], raw: Any) -> np.ndarray:
    """An array of `shape` from its raw content: bytes, latin-1 text (Python 2), or a list for objects.

    The content decides how much memory is taken: a shape that does not fit it is a ValueError.
    """
    if dtype.hasobject:
        flat = np.empty(len(raw), dtype=object)
        for k, item in enumerate(raw):  # `flat[:] = raw` would spread out nested lists
            flat[k] = item
    else:
        content = raw.encode("latin1") if isinstance(raw, str) else raw
        flat = np.frombuffer(content, dtype).copy()
    if min(shape, default=0) < 0 or flat.size != math.prod(shape):
        raise ValueError(f"an array of shape {tuple(shape)} holds {flat.size} values")
    return flat.reshape(tuple(shape), order=order)


# ------------------------------------------------------------------ numpy and scipy


class ArrayType(Inert):
    name = "numpy.ndarray"


class Array(Inert):
    """`_reconstruct(ndarray, (0,), 'b')` with the state (version, shape, dtype, fortran order, content)."""

    name = "numpy.core.multiarray._reconstruct"

    def value(self, plain: Plain) -> np.ndarray:
        if self.args[0] is not ArrayType or self.state is None:
            raise pickle.UnpicklingError("an array that is not a plain numpy.ndarray")
        shape, dtype, fortran, content = self.state[-4:]
        return assembled(shape, plain(dtype), "F" if fortran else "C", plain(content))


class BufferArray(Inert):
    """`_frombuffer(content, dtype, shape, order[, axis order])`: pickle protocol 5."""

    name = "numpy.core.numeric._frombuffer"

    def value(self, plain: Plain) -> np.ndarray:
        content, dtype, shape, order, *axes = self.args
        content, dtype = plain(content), plain(dtype)
        if order == "K":
            return assembled(shape, dtype, "C", content).transpose(axes[0])
        return assembled(shape, dtype, order, content)


class Scalar(Inert):
    name = "numpy.core.multiarray.scalar"

    def value(self, plain: Plain) -> Any:
        dtype, content = self.args
        return assembled((), plain(dtype), "C", plain(content))[()]


class ScalarType(Inert):
    """numpy.float32 and the like, named as a value."""


class DType(Inert):
    """`dtype('f8', align, copy)` with the state (version, byte order, base, names, fields, ...)."""

    name = "numpy.dtype"

    def value(self, plain: Plain) -> np.dtype:
        code, state = self.args[0], self.state or (3, "=", None, None, None)
        simple = re.fullmatch(r"[<>=|]?[?biufcSUO]\d*", state[1] + code)
        if not simple or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not read, only numbers, text and objects")
        return np.dtype(object) if code[0] == "O" else np.dtype(state[1] + code)


class Sparse(Inert):
    """A csc, csr or coo matrix of scipy, of any version."""

    format = ""

    def value(self, plain: Plain) -> scipy.sparse.spmatrix:
        state = plain(self.state)
        shape = state.get("_shape", state.get("shape"))
        if self.format == "coo":
            places = state["coords"] if "coords" in state else (state["row"], state["col"])
            return scipy.sparse.coo_matrix((state["data"], places), shape=shape)
        make = scipy.sparse.csc_matrix if self.format == "csc" else scipy.sparse.csr_matrix
        matrix = make((state["data"], state["indices"], state["indptr"]), shape=shape)
        matrix.check_format(full_check=True)  # scipy's C code trusts the indices and would write out of bounds
        return matrix


# ------------------------------------------------------------------ chumpy, torch, Python


class Chumpy(Inert):
    """Any class of chumpy: a `Ch` holds its array as `x`, a `Select` picks `idxs` out of the flattened `a`."""

    def value(self, plain: Plain) -> np.ndarray:
        state = self.state if isinstance(self.state, dict) else {}
        if "x" in state:
            return np.asarray(plain(state["x"]))
        if "a" in state and "idxs" in state:
            picked = np.asarray(plain(state["a"])).ravel()[np.asarray(plain(state["idxs"]))]
            return picked.reshape(plain(state.get("preferred_shape", picked.shape)))
        raise pickle.UnpicklingError(f"{self.name} holds no array: save the file again with plain numpy arrays")


class TorchStorage(Inert):
    """`_load_from_bytes(b)`: a tensor's numbers. torch would unpickle them without any check."""

    name = "torch.storage._load_from_bytes"

    def value(self, plain: Plain) -> np.ndarray:
        content = io.BytesIO(plain(self.args[0]))
        storage = torch.load(content, map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=storage.dtype).set_(storage).numpy()


class Tensor(Inert):
    """`_rebuild_tensor_v2(storage, offset, sizes, strides, ...)`."""

    name = "torch._utils._rebuild_tensor_v2"

    def value(self, plain: Plain) -> np.ndarray:
        flat, start, sizes, strides = plain(self.args[0]), *self.args[1:4]
        last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        inside = min((start, *sizes, *strides)) >= 0 and last < flat.size and math.prod(sizes) <= flat.size
        if not inside:
            raise ValueError(f"a tensor of {tuple(sizes)} that lies outside its own {flat.size} numbers")
        steps = tuple(step * flat.itemsize for step in strides)
        return np.lib.stride_tricks.as_strided(flat[start:], tuple(sizes), steps).copy()


class TorchParameter(Inert):
    name = "torch._utils._rebuild_parameter"

    def value(self, plain: Plain) -> np.ndarray:
        return plain(self.args[0])


class StorageType(Inert):
    """torch.FloatStorage and the like, named as a value."""


class StoredOutside(Inert):
    """A storage whose numbers lie beside the pickle, in torch's zip format."""

    name = "torch storage"

    def value(self, plain: Plain) -> np.ndarray:
        kind, content = self.args
        if not (isinstance(kind, type) and issubclass(kind, StorageType)):
            raise pickle.UnpicklingError("a storage of unknown kind")
        return np.frombuffer(content, _STORAGE_DTYPES[kind.name]).copy()


_STORAGE_DTYPES = {
    **{"Float": np.float32, "Double": np.float64, "Half": np.float16, "Bool": np.bool_},
    **{"Long": np.int64, "Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8},
}


class Attributes(Inert):
    """An object of which only its attributes matter: scikit-learn's mixtures in old pose priors."""

    def value(self, plain: Plain) -> dict[str, Any]:
        if not isinstance(self.state, dict):
            raise pickle.UnpicklingError(f"{self.name} without attributes")
        return plain(self.state)


class Ignored(Inert):
    """An object of a training program beside the weights in a checkpoint: whatever it is given is dropped."""

    name = "a training program's object"

    def value(self, plain: Plain) -> None:
        return None

    def __setitem__(self, key: Any, item: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


class PathText(Inert):
    """A path of any system, as text: nothing is looked up on the disk."""

    name = "pathlib.Path"

    def value(self, plain: Plain) -> str:
        return "/".join(str(plain(part)) for part in self.args)


class Encoded(Inert):
    """`_codecs.encode(text, 'latin1')`: how Python 3 writes bytes in protocol 2; and `bytes` and `bytearray`."""

    name = "_codecs.encode"

    def value(self, plain: Plain) -> bytes:
        content = plain(self.args[0]) if self.args else b""
        return content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))


class ObjectType(Inert):
    name = "builtins.object"


class Reconstructed(Inert):
    """`copyreg._reconstructor(class, object, None)`: how protocols 0 and 1 make an object."""

    name = "copyreg._reconstructor"

    def value(self, plain: Plain) -> Any:
        kind, base, _ = self.args
        if base is not ObjectType or not (isinstance(kind, type) and issubclass(kind, Inert)):
            raise pickle.UnpicklingError("an object built on a class of unknown make")
        made = kind()
        made.state = self.state
        return made.value(plain)


class DefaultDict(dict):
    """A defaultdict whose factory is forgotten."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        raise pickle.UnpicklingError("a defaultdict with attributes")


class OrderedDict(dict):
    """Its attributes are forgotten: torch's state_dict carries its layers' versions as one."""

    def __setstate__(self, _: Any) -> None: ...
