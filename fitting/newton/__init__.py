"""Problems of one frame to second order, as `solvers/saddle_free.py` is given them."""

from fitting.newton.model import Newton, has_model

__all__ = ["Newton", "has_model"]
