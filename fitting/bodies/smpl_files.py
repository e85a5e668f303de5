"""SMPL, SMPL-H and SMPL-X model files, .pkl and .npz, and files in their array format (the open body)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.bodies import smpl_joints
from fitting.bodies.model_arrays import ModelFile, check_shapes, unflattened, whole_number
from fitting.types import ModelError

OPEN_BODY = "open_body"
NEEDED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_FAMILIES = {  # parents of the joints -> family
    smpl_joints.SMPL_PARENTS: "smpl",
    smpl_joints.SMPLH_PARENTS: "smplh",
    smpl_joints.SMPLX_PARENTS: "smplx",
}
# SMPL-X's shapedirs hold 300 shape and 100 expression columns, in the small files of its first version 10 and 10.
_FULL_SHAPES, _SMALL_SHAPES = 300, 10


@dataclass(frozen=True, eq=False)
class SmplArrays:
    """What a file of the SMPL family says. V vertices, T triangles, S shape, E expression directions, J joints.

    Metres, +y up, the body faces +z, +x is the subject's left; rest in the T-pose. float32 or float64 as in the file.
    """

    v_template: np.ndarray  # (V, 3)
    faces: np.ndarray  # (T, 3) int64
    shape_dirs: np.ndarray  # (V, 3, S) metres per standard deviation
    expression_dirs: np.ndarray  # (V, 3, E) metres per unit of the coefficient; E = 0 but for SMPL-X
    posedirs: np.ndarray | None  # (V, 3, 9 (J - 1)) metres per entry of (rotation matrix - identity); None: all zero
    J_regressor: np.ndarray  # (J, V)
    weights: np.ndarray  # (V, J)
    parents: tuple[int, ...]
    family: str  # smpl, smplh, smplx: which joints it has
    name: str  # smpl, smplh, smplx, open_body
    gender: str  # neutral, female, male
    sha256: str
    path: Path
    extras: Mapping[str, np.ndarray]  # all other arrays


def read_smpl(path: str | Path) -> SmplArrays:
    """Reads a file of any of the three and checks every array against the others; the joints tell which it is.

    Raises ModelError: unreadable or hostile file, a missing array, joints of none of the three, shapes that do not fit.
    """
    file = ModelFile.read(path, "SMPL, SMPL-H or SMPL-X", NEEDED)
    vertices, shapedirs = file.floats("v_template"), shape_array(file)
    parents = tuple(int(p) for p in file.parents())
    family = _family(file, parents)
    raw = file.array("posedirs")
    posedirs = unflattened(file.floats("posedirs"), len(vertices)) if np.any(raw) else None
    shape, expression = split_columns(file, family, shapedirs)
    arrays = SmplArrays(
        v_template=vertices,
        faces=file.integers("f"),
        shape_dirs=shape,
        expression_dirs=expression,
        posedirs=posedirs,
        J_regressor=file.floats("J_regressor", sparse_shape=(len(parents), len(vertices))),
        weights=file.floats("weights"),
        parents=parents,
        family=family,
        name=OPEN_BODY if "keypoint_names" in file.data else family,
        gender=file.gender(file.data.get("gender")),
        sha256=file.sha256(),
        path=file.path,
        extras=file.extras(),
    )
    checked = {"v_template": vertices, "f": arrays.faces, "shapedirs": shapedirs}
    checked |= {"J_regressor": arrays.J_regressor, "weights": arrays.weights}
    check_shapes(file.path, checked | ({} if posedirs is None else {"posedirs": posedirs}), len(parents))
    return arrays


def shape_array(file: ModelFile) -> np.ndarray:
    """As the file has it: converting what is cut off afterwards would be in vain."""
    array = file.array("shapedirs")
    if array.ndim != 3:
        raise ModelError(f"{file.path}: shapedirs is {array.shape}, expected (vertices, 3, coefficients)")
    return array


def split_columns(file: ModelFile, family: str, shapedirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and expression directions, float32 or float64."""
    total = shapedirs.shape[-1]
    first = _FULL_SHAPES if total > _FULL_SHAPES else _SMALL_SHAPES
    if family != "smplx":
        parts = (shapedirs, shapedirs[..., :0])
    elif total <= _SMALL_SHAPES:
        raise ModelError(
            f"{file.path}: shapedirs has {total} columns, which leaves none for expressions: a SMPL-X file has 400 "
            f"(300 shape, 100 expression) or 20 (10 and 10); download it again"
        )
    else:
        parts = (shapedirs[..., :first], shapedirs[..., first:])
    kept = [whole_number(file.data.get(key)) for key in ("num_betas", "num_expressions")]
    parts = tuple(part[..., :count] if count >= 0 else part for part, count in zip(parts, kept, strict=True))
    cut = [ModelFile(file.path, file.kind, file.needed, {"shapedirs": part}).floats("shapedirs") for part in parts]
    return cut[0], cut[1]


def _family(file: ModelFile, parents: tuple[int, ...]) -> str:
    if parents not in _FAMILIES:
        counts = ", ".join(f"{len(p)} ({family})" for p, family in _FAMILIES.items())
        flame = ": this is a FLAME head, use model: flame" if len(parents) == 5 else ""
        raise ModelError(
            f"{file.path}: {len(parents)} joints with the parents {list(parents)[:8]}..., where the SMPL family has "
            f"{counts} in an order of their own{flame}"
        )
    return _FAMILIES[parents]


# ------------------------------------------------------------------ hands


def read_hands(arrays: SmplArrays, mano: Mapping[str, Path]) -> tuple[np.ndarray, np.ndarray] | None:
    """Means (2, 45) and components (2, n, 45), left first, from the file or, where it has none, from MANO's two.

    None where neither has them. Raises ModelError when MANO's file lacks them or shapes are wrong.
    """
    extras = arrays.extras
    keys = [(f"hands_mean{side}", f"hands_components{side}") for side in "lr"]
    if all(key in extras for pair in keys for key in pair):
        found = [(extras[mean], extras[components]) for mean, components in keys]
    elif set(mano) == {"left", "right"}:
        files = [ModelFile.read(mano[side], "MANO", ("hands_mean", "hands_components")) for side in ("left", "right")]
        found = [(file.array("hands_mean"), file.array("hands_components")) for file in files]
    else:
        return None
    for mean, components in found:
        if np.shape(mean) != (45,) or np.ndim(components) != 2 or np.shape(components)[1] != 45:
            raise ModelError(
                f"{arrays.path}: a hand's mean is {np.shape(mean)} and its components {np.shape(components)}, "
                "expected (45,) and (n, 45)"
            )
    means, components = (np.stack([np.asarray(one[k], dtype=np.float64) for one in found]) for k in (0, 1))
    return means, components
