"""One file = one output format. Files appear whole or not at all (`atomic`).

`WRITERS` write one person: `write(solution, folder) -> paths written`. `PICTURE_WRITERS` draw everybody of an input:
`write(solutions, folder, options) -> paths written`, because people of one picture cover each other. `report` is apart:
it is written always, over all persons.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fitting.types import Solution
from fitting.writers import (
    flame_npy,
    maps,
    mesh_glb,
    mesh_obj,
    params_npz,
    picture_overlay,
    report,
    result_pkl,
    surface_texture,
    turntable,
    visibility,
)
from fitting.writers.facts import person_name
from fitting.writers.options import PictureOptions
from fitting.writers.posed import PictureWriter

WRITERS: Mapping[str, Callable[[Solution, Path], list[Path]]] = {
    "params": params_npz.write,
    "obj": mesh_obj.write,
    "glb": mesh_glb.write,
    "pkl": result_pkl.write,
    "npy": flame_npy.write,
}

PICTURE_WRITERS: Mapping[str, PictureWriter] = {
    "overlay": picture_overlay.write,
    "depth": maps.map_writer("depth", maps.depth),
    "normals": maps.map_writer("normals", maps.normals),
    "mask": maps.map_writer("mask", maps.mask),
    "wireframe": maps.map_writer("wireframe", maps.wireframe),
    "visibility": visibility.write,
    "turntable": turntable.write,
    "texture": surface_texture.write,
}

__all__ = ["PICTURE_WRITERS", "WRITERS", "PictureOptions", "person_name", "report", "surface_texture"]
