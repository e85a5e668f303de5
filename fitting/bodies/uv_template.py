"""Texture coordinates from an obj: licensed models come without, their makers give them as a template mesh apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.body import SkinnedBody
from fitting.types import ModelError

ADVICE = "name the template mesh that belongs to the model, an obj with vt lines (body.uv)"


def with_uv(body: SkinnedBody, path: Path | None) -> SkinnedBody:
    """The body with the texture coordinates of an obj of the same triangles, in any order; None: as it is.

    Raises ModelError where the file is missing, has no coordinates, or is of another mesh.
    """
    if path is None:
        return body
    uv, faces, uv_faces = read_obj(path)
    return replace(
        body, looks=replace(body.looks, uv=uv, uv_faces=matched(path, np.asarray(body.faces), faces, uv_faces))
    )


def read_obj(
    path: Path,
) -> tuple[Float[np.ndarray, "coordinates 2"], Int[np.ndarray, "triangles 3"], Int[np.ndarray, "triangles 3"]]:
    """Texture coordinates, vertex indices and coordinate indices of every triangle, from 0; quads are cut in two."""
    uv: list[list[float]] = []
    corners: list[tuple[str, ...]] = []
    try:
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            key, *words = line.split() or [""]
            if key == "vt":
                uv.append([float(word) for word in words[:2]])
            elif key == "f":
                corners += [(words[0], words[k], words[k + 1]) for k in range(1, len(words) - 1)]
        pairs = np.array([[corner.split("/")[:2] for corner in face] for face in corners], dtype=np.int64) - 1
    except OSError as error:
        raise ModelError(f"body.uv {path}: {error.strerror}: {ADVICE}") from error
    except ValueError as error:
        raise ModelError(
            f"body.uv {path}: faces without texture coordinates, or damaged ({error}): {ADVICE}"
        ) from error
    if (
        pairs.ndim != 3
        or pairs.shape[2] != 2
        or not uv
        or not 0 <= pairs[..., 1].min() <= pairs[..., 1].max() < len(uv)
    ):
        raise ModelError(f"body.uv {path}: {len(uv)} texture coordinates for {len(corners)} triangles: {ADVICE}")
    return np.array(uv, dtype=np.float64), pairs[..., 0], pairs[..., 1]


def matched(
    path: Path,
    wanted: Int[np.ndarray, "triangles 3"],
    faces: Int[np.ndarray, "others 3"],
    uv_faces: Int[np.ndarray, "others 3"],
) -> Int[np.ndarray, "triangles 3"]:
    """The coordinate indices in the order of the model's own triangles and corners."""
    turned = faces.argmin(axis=1)[:, None] + np.arange(3)  # every triangle from its smallest vertex on
    place = {
        tuple(corner): coordinates
        for corner, coordinates in zip(
            np.take_along_axis(faces, turned % 3, axis=1).tolist(),
            np.take_along_axis(uv_faces, turned % 3, axis=1),
            strict=True,
        )
    }
    found = np.zeros_like(wanted)
    first = wanted.argmin(axis=1)
    for k, (face, start) in enumerate(zip(wanted.tolist(), first, strict=True)):
        coordinates = place.get((face[start], face[(start + 1) % 3], face[(start + 2) % 3]))
        if coordinates is None:
            raise ModelError(
                f"body.uv {path}: the model's triangle {k} {tuple(face)} is not among its {len(faces)}: {ADVICE}"
            )
        found[k] = np.roll(coordinates, start)
    return found
