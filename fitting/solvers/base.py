"""What every solver is given and what it gives back. Solvers see tensors and functions, never a body.

A batch of independent problems is minimised side by side: each has its own step, acceptance and stop, and leaves the
batch when it has stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from fitting.solvers.arrow import Arrow
from fitting.types import Stop


@runtime_checkable
class Objective(Protocol):
    """What is minimised: independent problems, asked for by number; x holds the unknowns of those asked for."""

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values (rows,) float64 and gradients (rows, n), these as exact as x or more so."""
        ...

    def curvature(self, x: Tensor, rows: Tensor) -> Arrow:
        """Gauss-Newton matrices; asked for by second-order solvers only."""
        ...

    def steer(self, start: Tensor, end: Tensor, rows: Tensor) -> Tensor:
        """`end` (rows, n), a step from `start`, or a better end that is the same to first order. Asked for of clips."""
        ...

    def bend(self, x: Tensor, step: Tensor, rows: Tensor) -> Tensor | None:
        """J' W r2 (rows, n), r2 half the residuals' second derivative along the steered `step`; None where it is not
        known. Asked for of clips only."""
        ...


@dataclass(frozen=True)
class SolverOptions:
    iterations: int = 200
    tolerance: float = 1e-5  # relative decrease of the objective that no longer counts as progress
    step: float = 0.1  # Adam's first step, in natural steps
    damping: float = 1e-4  # the first one of Levenberg-Marquardt


class Minimum(NamedTuple):
    """The best point of every problem: never worse than where it started."""

    x: Float[Tensor, "problems unknowns"]
    value: Float[Tensor, " problems"]
    iterations: Int[Tensor, " problems"]
    stop: tuple[Stop, ...]
