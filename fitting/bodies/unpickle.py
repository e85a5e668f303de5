"""Moved to `fitting/unpickle`, since codes are read by it as well."""

from fitting.unpickle import load_npy_object, load_npz, load_pickle

__all__ = ["load_npy_object", "load_npz", "load_pickle"]
