"""One file = one output format, written from a `Solution`: `write(solution, folder) -> paths written`.

`report` is apart: it is written once, over all persons. Files appear whole or not at all (`atomic`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fitting.types import Solution
from fitting.writers import flame_npy, mesh_obj, params_npz, picture_overlay, report, result_pkl
from fitting.writers.facts import person_name

WRITERS: Mapping[str, Callable[[Solution, Path], list[Path]]] = {
    "params": params_npz.write,
    "obj": mesh_obj.write,
    "pkl": result_pkl.write,
    "npy": flame_npy.write,
    "overlay": picture_overlay.write,
}

__all__ = ["WRITERS", "person_name", "report"]
