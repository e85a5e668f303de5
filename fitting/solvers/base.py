"""What every solver is given and what it gives back. Solvers see tensors and functions, never a body.

A batch of independent problems is minimised side by side: each has its own step, acceptance and stop, and leaves the
batch when it has stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from fitting.types import Stop

# (unknowns of the rows asked for, their numbers in the batch) -> (objective, gradient)
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SolverOptions:
    iterations: int = 200
    tolerance: float = 1e-5  # relative decrease of the objective that no longer counts as progress
    step: float = 0.1  # Adam's first step, in natural steps


class Minimum(NamedTuple):
    """The best point of every problem: never worse than where it started."""

    x: Float[Tensor, "problems unknowns"]
    value: Float[Tensor, " problems"]
    iterations: Int[Tensor, " problems"]
    stop: tuple[Stop, ...]
