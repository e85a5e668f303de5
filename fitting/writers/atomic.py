"""Files appear whole or not at all: written beside their place under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from fitting.types import OutputError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or choose another folder with --output",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose another folder with --output",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or choose another folder with --output",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or choose another folder with --output",
    errno.EISDIR: "a folder stands where the file belongs: remove it, or choose another folder with --output",
}
_DEFAULT_ADVICE = "make the folder writable, or choose another one with --output"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; takes the place of `path` when the block ends well, vanishes when it does not.

    Folders are made as needed. Raises OutputError for whatever the file system refuses.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OutputError(_message(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """`content` as the whole file `path`; returns `path`. Raises OutputError."""
    with replacing(path) as part:
        part.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """`content` as UTF-8 with plain line feeds on every system; returns `path`. Raises OutputError."""
    return write_bytes(path, content.encode("utf-8"))


def _message(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{path}: could not be written ({reason}); {_ADVICE.get(error.errno or 0, _DEFAULT_ADVICE)}."
