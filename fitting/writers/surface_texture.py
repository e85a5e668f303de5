"""texture/<person>.png, .obj, .mtl, .glb: a person at rest in the colours that the pictures show; <person>_views.png is
the same from four sides.

One texture per person and clip; photos are unrelated, each has its own: texture/<frame>/<person>.png. The light of the
pictures is in the colours. What the mesh has no shape for (hair, clothes, the background past its outline) is painted
on the skin where the pictures show it there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from fitting.render import BACKGROUND, Camera, Mesh, composite, shade_layer, to_bytes
from fitting.render.fill import complete
from fitting.render.mesh import CLAY, Skin
from fitting.render.shade import EVEN
from fitting.render.texels import Texels, texels_on
from fitting.render.texture import gather, robust_mean
from fitting.types import Body, Observations, OutputError, Parameters, Solution
from fitting.writers.atomic import write_bytes, write_text
from fitting.writers.mesh_glb import glb_bytes
from fitting.writers.mesh_obj import format_faces, format_vertices
from fitting.writers.options import PictureOptions
from fitting.writers.png import write_png
from fitting.writers.posed import Picture, ordered_map, pictures_of, posed_mesh
from fitting.writers.turntable import camera_round

VIEW = 384
"""Pixels of a side of each view."""
ANGLES = (0.0, 40.0, 90.0, 180.0)
HEADER = """# Keyfit: model {model}, person {person}, at rest, with the identity that was fitted
# Metres. y up, the person looks along z.
mtllib {person}.mtl
usemtl skin
"""
MATERIAL = """newmtl skin
Ka 1.0 1.0 1.0
Kd 1.0 1.0 1.0
Ks 0.0 0.0 0.0
map_Kd {person}.png
"""


def require(body: Body, observations: Observations) -> None:
    """Raises OutputError where there is nothing to take colours from or to put them on."""
    if body.uv is None:
        raise OutputError(
            f"texture: {body.name} has no texture coordinates: name an obj that has them with --body.uv, or leave "
            "texture out of --outputs"
        )
    if observations.pictures is None:
        raise OutputError(
            "texture: the input has landmarks but no pictures: name them with --read.pictures, or leave texture out "
            "of --outputs"
        )


def write(solutions: Sequence[Solution], folder: Path, options: PictureOptions) -> list[Path]:
    """Four files for every person, of photos for every person of every photo. Raises OutputError."""
    written = []
    for solution in solutions:
        require(solution.body, solution.observations)
        rest = Mesh(at_rest(solution, 0), np.asarray(solution.body.faces))
        own = shaded_colours(solution.body, rest)
        texels = texels_on(rest, np.asarray(solution.body.uv), np.asarray(solution.body.uv_faces), options.texture)
        for name, frames in groups(solution, options.texture_frames):
            picture = paint(solution, frames, texels, own)
            written += write_person(solution, frames[0], picture, folder / "texture" / name)
    return written


def groups(solution: Solution, most: int) -> Iterator[tuple[str, list[int]]]:
    """Frames that give one texture together, and the folder it goes to."""
    fitted = [k for k in range(len(solution)) if solution.source[k] == "fitted" and k not in solution.suspicious]
    if not solution.observations.is_clip:
        yield from ((solution.observations.names[k], [k]) for k in fitted)
    elif fitted:
        chosen = np.unique(np.linspace(0, len(fitted) - 1, min(most, len(fitted))).round().astype(int))
        yield "", [fitted[k] for k in chosen]


def paint(
    solution: Solution, frames: Sequence[int], texels: Texels, own: Float[np.ndarray, "vertices 3"]
) -> UInt8[np.ndarray, "size size 3"]:
    """The texture that some frames give; `own` are the colours of what they do not show, 0..255."""
    sizes = solution.observations.image_sizes
    chosen = set(frames)

    def one(job: tuple[int, Picture]) -> tuple[np.ndarray, np.ndarray]:
        k, image = job
        camera = Camera(solution.K[k], (int(sizes[k, 0]), int(sizes[k, 1])))
        mesh = posed_mesh(solution, k)
        if mesh is None:
            return np.zeros((len(texels.index), 3), np.uint8), np.zeros(len(texels.index), np.float32)
        return gather(mesh, camera, image, texels)

    images = zip(range(len(solution)), pictures_of([solution]))  # noqa: B905 - pictures_of never ends
    jobs = ((k, image) for k, image in images if k in chosen and image is not None)
    found = list(ordered_map(one, jobs))
    if not found:
        return np.full((texels.size, texels.size, 3), 128, dtype=np.uint8)
    weights = np.stack([weight for _, weight in found])
    colours = robust_mean(np.stack([colour for colour, _ in found]), weights)
    picture = complete(colours, weights.sum(axis=0), texels, np.asarray(solution.body.faces), own)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def shaded_colours(body: Body, rest: Mesh) -> Float[np.ndarray, "vertices 3"]:
    """The model's own colours, 0..255, darker where little light comes, as the colours of pictures are."""
    plain = np.broadcast_to(CLAY, rest.vertices.shape) if body.colours is None else np.asarray(body.colours)
    return 255.0 * plain * (0.5 + 0.5 * rest.openness[:, None])


def write_person(solution: Solution, k: int, picture: np.ndarray, folder: Path) -> list[Path]:
    person, body = solution.observations.person, solution.body
    vertices = at_rest(solution, k)
    text = HEADER.format(model=body.name, person=person) + format_vertices(vertices) + format_faces(body)
    return [
        write_png(folder / f"{person}.png", picture),
        write_text(folder / f"{person}.mtl", MATERIAL.format(person=person)),
        write_text(folder / f"{person}.obj", text),
        write_bytes(folder / f"{person}.glb", glb_bytes(body, vertices, picture)),
        write_png(folder / f"{person}_views.png", views(body, vertices, picture)),
    ]


def views(body: Body, vertices: np.ndarray, picture: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """From the front, from three quarters, from the side, from behind."""
    skin = Skin(picture, np.asarray(body.uv), np.asarray(body.uv_faces))
    mesh = Mesh(vertices * [1.0, -1.0, -1.0], np.asarray(body.faces), skin=skin)
    background = np.full((VIEW, VIEW, 3), BACKGROUND, dtype=np.float32)
    layers = [shade_layer(mesh, camera_round(mesh, math.radians(angle), (VIEW, VIEW)), EVEN) for angle in ANGLES]
    return np.concatenate([to_bytes(composite(layer, background)) for layer in layers], axis=1)


def at_rest(solution: Solution, k: int) -> Float[np.ndarray, "vertices 3"]:
    """The body in its rest pose with the identity of frame `k`."""
    own, neutral = solution.frame(k), solution.body.neutral(1, 1)
    shared = {b.name: own[b.name] for b in solution.body.blocks if b.shared and b.kind == "vector" and b.name in own}
    posed = solution.body.pose(Parameters({**neutral, **shared}))
    return posed.points[0, 0].double().cpu().numpy()
