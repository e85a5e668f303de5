"""Files of joblib.dump: a pickle, perhaps compressed as a whole, with the arrays' bytes between its instructions.

joblib puts a `NumpyArrayWrapper` (type, shape, order) into the pickle and, right after the instruction that gives it
its state, a byte that says how much padding follows, the padding, and the array. So the pickle cannot be read ahead:
this uses Python's own unpickler, instruction by instruction, with the list of `reading.py` for what it may name.
"""

from __future__ import annotations

import io
import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fitting.unpickle import inert
from fitting.unpickle.files import CODES, LARGEST, Subject, opened
from fitting.unpickle.reading import Plain, find_class

WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_ZLIB, _GZIP = b"\x78", b"\x1f\x8b"


class _Wrapper(inert.Inert):
    name = WRAPPER


class _Found(inert.Inert):
    """An array that has been read."""

    def value(self, plain: inert.Plain) -> np.ndarray:
        return self.args[0]


_InPython: Any = vars(pickle)["_Unpickler"]  # the one written in Python: C's cannot stop between instructions


class _Unpickler(_InPython):
    dispatch = _InPython.dispatch.copy()

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")
        self.stream = stream

    def find_class(self, module: str, name: str) -> type:
        return _Wrapper if f"{module}.{name}" == WRAPPER else find_class(module, name)

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _Wrapper):
            self.stack[-1] = _Found(self.read_array(self.stack[-1].state))

    dispatch[pickle.BUILD[0]] = load_build

    def read_array(self, state: dict[str, Any]) -> np.ndarray:
        """The bytes that follow; the shape must fit what the file still holds."""
        dtype = Plain()(state["dtype"])
        shape = tuple(int(n) for n in state["shape"])
        if dtype.hasobject:
            found = Plain()(_Unpickler(self.stream).load())
            return np.asarray(found, dtype=object)
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        content = self.stream.read(math.prod(shape) * dtype.itemsize if min(shape, default=0) >= 0 else 0)
        return inert.assembled(shape, dtype, "F" if state.get("order") == "F" else "C", content)


def load_joblib(path: str | Path, subject: Subject = CODES) -> Any:
    """What joblib.dump wrote, plain or compressed by zlib or gzip; an ordinary pickle is read as well.

    Raises the subject's error for a file that is damaged, or names a class that is not allowed.
    """
    with opened(path, (b"\x80", _ZLIB, _GZIP), subject) as stream:
        return Plain()(_Unpickler(io.BytesIO(_expanded(stream.read()))).load())


def _expanded(content: bytes) -> bytes:
    if content[:1] != _ZLIB and content[:2] != _GZIP:
        return content
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out by itself which of the two it is
    found = reader.decompress(content, LARGEST)
    if reader.unconsumed_tail:
        raise pickle.UnpicklingError(f"it unpacks to more than {LARGEST:,} bytes")
    return found
