"""The mesh of the open head: symmetric triangles, parts of the face, regions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.open_model.eyes import IRIS_DEGREES, PUPIL_DEGREES, UnitSphere, unit_sphere
from fitting.bodies.open_model.rings import Rings, trace_rings
from fitting.bodies.open_model.source import HeadSource

PART_NAMES = (
    "skin",
    "lips",
    "brows",
    "eyeball",
    "iris",
    "pupil",
    "teeth",
    "tongue",
    "mouth_interior",
    "scalp",
    "ears",
    "neck",
    "eye_socket",
)
MOUTH_CAVITY_RINGS, MOUTH_SKIN_RINGS = 8, 10
EYE_CAVITY_RINGS, EYE_SKIN_RINGS = 8, 10
LIP_RINGS = 7
"""Rings of the lips' red, counted from where the mouth's cavity begins."""


@dataclass(frozen=True)
class HeadMesh:
    """Topology of the open head: the kept MakeHuman vertices, then the left and the right sphere."""

    kept: Int[np.ndarray, " kept"]
    """Rows of the source that stay (all but its eyeballs)."""
    triangles: Int[np.ndarray, "triangles 3"]
    uvs: Float[np.ndarray, "uvs 2"]
    uv_triangles: Int[np.ndarray, "triangles 3"]
    mirror: Int[np.ndarray, " vertices"]
    spheres: tuple[UnitSphere, UnitSphere]
    """Left and right eyeball."""
    mouth: Rings
    left_eye: Rings
    right_eye: Rings

    @property
    def left_eyeball(self) -> Int[np.ndarray, " ids"]:
        return len(self.kept) + np.arange(len(self.spheres[0].directions))

    @property
    def right_eyeball(self) -> Int[np.ndarray, " ids"]:
        return self.left_eyeball + len(self.spheres[0].directions)

    @property
    def left_equator(self) -> Int[np.ndarray, " ids"]:
        """The ring whose mean is the centre of the left eyeball."""
        return self.left_eyeball[self.spheres[0].polar == 90.0]

    @property
    def right_equator(self) -> Int[np.ndarray, " ids"]:
        return self.right_eyeball[self.spheres[1].polar == 90.0]

    @property
    def vertex_count(self) -> int:
        return len(self.kept) + 2 * len(self.spheres[0].directions)


def build_mesh(source: HeadSource, shape: Float[np.ndarray, "vertices 3"]) -> HeadMesh:
    """Triangles, mirror table and rings; the symmetric shape (V,3) decides diagonals and corners."""
    is_eyeball = np.isin(source.group, ["left_eyeball", "right_eyeball"])
    kept = np.flatnonzero(~is_eyeball)
    new_index = np.full(len(source.group), -1)
    new_index[kept] = np.arange(len(kept))
    quads_kept = ~is_eyeball[source.quads].any(axis=1)
    skin, skin_uvs = split_quads(source.quads[quads_kept], source.quad_uvs[quads_kept], shape, source.mirror)
    spheres = (unit_sphere(False), unit_sphere(True))
    size = len(spheres[0].directions)
    uvs, uv_triangles = _with_eye_uvs(source.uvs, skin_uvs, spheres)
    eyes = len(kept) + np.arange(size)
    return HeadMesh(
        kept=kept,
        triangles=np.concatenate([new_index[skin], eyes[spheres[0].triangles], size + eyes[spheres[1].triangles]]),
        uvs=uvs,
        uv_triangles=uv_triangles,
        mirror=np.concatenate([new_index[source.mirror[kept]], eyes + size, eyes]),
        spheres=spheres,
        mouth=_renumber(trace_rings(source, shape, "mouth_cavity", MOUTH_CAVITY_RINGS, MOUTH_SKIN_RINGS), new_index),
        left_eye=_renumber(trace_rings(source, shape, "eye_cavity.L", EYE_CAVITY_RINGS, EYE_SKIN_RINGS), new_index),
        right_eye=_renumber(trace_rings(source, shape, "eye_cavity.R", EYE_CAVITY_RINGS, EYE_SKIN_RINGS), new_index),
    )


def _renumber(rings: Rings, new_index: np.ndarray) -> Rings:
    return replace(rings, vertices=new_index[rings.vertices])


def split_quads(
    quads: Int[np.ndarray, "quads 4"],
    quad_uvs: Int[np.ndarray, "quads 4"],
    shape: Float[np.ndarray, "vertices 3"],
    mirror: Int[np.ndarray, " vertices"],
) -> tuple[Int[np.ndarray, "2*quads 3"], Int[np.ndarray, "2*quads 3"]]:
    """Triangles and their uv indices. Each quad is split along its shorter diagonal; on a tie, along the one
    whose vertices or mirrored vertices have the smallest number, so that both halves of the head agree."""
    first = np.linalg.norm(shape[quads[:, 0]] - shape[quads[:, 2]], axis=1)
    second = np.linalg.norm(shape[quads[:, 1]] - shape[quads[:, 3]], axis=1)
    name = np.minimum(quads, mirror[quads])
    tie = np.abs(first - second) < 1e-7
    use_first = np.where(tie, name[:, [0, 2]].min(axis=1) <= name[:, [1, 3]].min(axis=1), first < second)[:, None]
    corners = np.where(use_first, [[0, 1, 2, 0, 2, 3]], [[1, 2, 3, 1, 3, 0]])
    rows = np.arange(len(quads))[:, None]
    return quads[rows, corners].reshape(-1, 3), quad_uvs[rows, corners].reshape(-1, 3)


def _with_eye_uvs(
    uvs: Float[np.ndarray, "uvs 2"], triangles: Int[np.ndarray, "triangles 3"], spheres: tuple[UnitSphere, UnitSphere]
) -> tuple[Float[np.ndarray, "all_uvs 2"], Int[np.ndarray, "all_triangles 3"]]:
    """Keeps the skin's texture coordinates in use and gives each eyeball a small square in the lower left corner."""
    used, compact = np.unique(triangles, return_inverse=True)
    blocks, faces = [uvs[used]], [compact.reshape(-1, 3)]
    for place, sphere in enumerate(spheres):
        faces.append(sum(len(block) for block in blocks) + sphere.triangles)
        blocks.append(0.005 + 0.06 * sphere.uvs + np.array([0.07 * place, 0.0]))
    return np.concatenate(blocks), np.concatenate(faces)


def vertex_parts(
    source: HeadSource, mesh: HeadMesh, shape: Float[np.ndarray, "vertices 3"], brows: Int[np.ndarray, " brows"]
) -> Int[np.ndarray, " vertices"]:
    """Part of every vertex, symmetric, int8. `shape` is the template, `brows` the ids of brow vertices."""
    number = {name: index for index, name in enumerate(PART_NAMES)}
    segment, group = source.segment[mesh.kept], source.group[mesh.kept]
    masks = source.mask_columns(mesh.kept)
    part = np.zeros(mesh.vertex_count, dtype=np.int8)
    skin = part[: len(mesh.kept)]  # a view
    chin = shape[mesh.mouth.out(10), 1].min()
    skin[segment == "head"] = number["scalp"]
    skin[(segment == "head") & (shape[: len(skin), 1] < chin)] = number["neck"]
    skin[(segment == "head") & (masks["face"] > 0.5)] = number["skin"]
    skin[segment == "body"] = number["neck"]
    skin[(masks["ears"] > 0.5) & (segment == "head")] = number["ears"]
    skin[np.char.startswith(segment, "eye_cavity")] = number["eye_socket"]
    skin[segment == "mouth_cavity"] = number["mouth_interior"]
    skin[np.char.endswith(group, "teeth")] = number["teeth"]
    skin[group == "tongue"] = number["tongue"]
    part[mesh.mouth.vertices[mesh.mouth.rim : mesh.mouth.rim + LIP_RINGS].ravel()] = number["lips"]
    part[brows] = number["brows"]
    for sphere, ids in zip(mesh.spheres, (mesh.left_eyeball, mesh.right_eyeball), strict=True):
        part[ids] = np.select(
            [sphere.polar < PUPIL_DEGREES + 0.1, sphere.polar < IRIS_DEGREES + 0.1],
            [number["pupil"], number["iris"]],
            number["eyeball"],
        )
    return np.minimum(part, part[mesh.mirror])


def face_region(source: HeadSource, mesh: HeadMesh) -> Int[np.ndarray, " face"]:
    """Ids of the skin from forehead to chin and from ear to ear, without cavities, eyeballs, ears and neck."""
    masks = source.mask_columns(mesh.kept)
    inside = (masks["face"] > 0.5) & (masks["ears"] < 0.5) & (source.segment[mesh.kept] == "head")
    inside = inside | inside[mesh.mirror[: len(inside)]]
    return np.flatnonzero(inside)
