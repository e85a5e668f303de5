"""Files of others, read without running anything that is in them: model files and codes of regressors."""

from fitting.unpickle.files import (
    CODES,
    MODEL,
    Subject,
    load_npy_object,
    load_npz,
    load_pickle,
    load_pickles,
    load_torch,
)
from fitting.unpickle.joblib import load_joblib

__all__ = [
    "CODES",
    "MODEL",
    "Subject",
    "load_joblib",
    "load_npy_object",
    "load_npz",
    "load_pickle",
    "load_pickles",
    "load_torch",
]
