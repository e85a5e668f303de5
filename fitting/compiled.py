"""Whether compiled code is at hand (numba, the `fast` extra), and what it multiplies with. Rooms keep theirs in files
called kernel; without numba all of it is done in torch, with the same numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MANY = 16  # problems of one frame at once: of fewer, the calls for each small matrix are no burden
MATH = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order, but what is not finite stays so


@cache
def is_there() -> bool:
    """Not where numba is missing, or older than the numpy beside it, or has no folder to keep code in."""
    try:
        import threadpoolctl  # noqa: F401 -- see `products`
        from numba import njit

        njit(cache=True)(takes)  # is not compiled yet, but has to find where to keep what is
    except (ImportError, RuntimeError):
        return False
    return True


def takes(problems: int, device: torch.device) -> bool:
    """Many small problems on the CPU."""
    return problems >= MANY and device.type == "cpu" and is_there()


def alone() -> AbstractContextManager[object]:
    """While compiled code runs, in several threads too, each multiplies alone."""
    return products().limit(limits=1) if is_there() else nullcontext()


@cache
def products() -> ThreadpoolController:
    """The library that multiplies in compiled code: products of a hundred rows take ten times as long if two threads
    share them."""
    import scipy.linalg.cython_blas  # noqa: F401 -- loads it
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")
