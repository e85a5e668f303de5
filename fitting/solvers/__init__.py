"""Solvers with one signature: (evaluate, x, options) -> Minimum. A new one is one file and one line below."""

from fitting.solvers import adam, lbfgs
from fitting.solvers.base import Evaluate, Minimum, SolverOptions

SOLVERS = {"adam": adam.minimise, "lbfgs": lbfgs.minimise}

__all__ = ["SOLVERS", "Evaluate", "Minimum", "SolverOptions"]
