"""Solvers with one signature: (objective, x, options) -> Minimum. A new one is one file and one line below."""

from fitting.solvers import adam, lbfgs, levenberg_marquardt
from fitting.solvers.arrow import Arrow, Blocks
from fitting.solvers.base import Minimum, Objective, SolverOptions
from fitting.solvers.covariance import Covariance, held

SOLVERS = {"adam": adam.minimise, "lbfgs": lbfgs.minimise, "lm": levenberg_marquardt.minimise}

__all__ = ["SOLVERS", "Arrow", "Blocks", "Covariance", "Minimum", "Objective", "SolverOptions", "held"]
