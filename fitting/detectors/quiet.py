"""MediaPipe's C++ talks to file descriptor 2 whatever the log level: it is turned away while it works."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """File descriptor 2 leads nowhere inside; Python's own `sys.stderr` still reaches where it did.

    Both are put back however the block ends. Deprecation notes of protobuf, which the user cannot mend, are dropped.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all, as in a service
        yield
        return
    python_stderr = sys.stderr
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, saved)
        if _writes_to_two(python_stderr):
            python_stderr.flush()
            sys.stderr = stack.enter_context(open(os.dup(saved), "w", buffering=1, errors="backslashreplace"))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"google\.protobuf")
                yield
        finally:
            os.dup2(saved, 2)
            sys.stderr = python_stderr


def _writes_to_two(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
