"""FLAME and the open head: five joints, identity and expression bases, eyeballs that turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fitting.bodies.body import Looks, SkinnedBody
from fitting.bodies.flame_files import FlameArrays
from fitting.bodies.keypoint_table import yard_stick
from fitting.bodies.skinning import Skeleton, whole_skin
from fitting.types import Block, Embedding, ModelError

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
ROTATION_BLOCKS = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")

# Where a part's skin colour matters to the eye; everything else is skin.
PART_COLOURS = {
    "skin": (0.84, 0.68, 0.60), "face": (0.84, 0.68, 0.60), "scalp": (0.80, 0.65, 0.57), "neck": (0.82, 0.66, 0.58),
    "ears": (0.83, 0.66, 0.58), "lips": (0.76, 0.48, 0.46), "brows": (0.62, 0.48, 0.41),
    "eyeball": (0.95, 0.95, 0.94), "iris": (0.35, 0.42, 0.48), "pupil": (0.06, 0.06, 0.07),
    "teeth": (0.96, 0.95, 0.91), "tongue": (0.72, 0.42, 0.42), "mouth": (0.45, 0.24, 0.24),
}  # fmt: skip


def flame_body(
    arrays: FlameArrays, embeddings: Mapping[str, Embedding], betas: int | None = None, expressions: int | None = None
) -> SkinnedBody:
    """A body from a model file's arrays, with its first `betas` and `expressions` coefficients (None: all).

    Raises ModelError when the file has fewer than asked for.
    """
    identity = first_columns(arrays.identity_dirs, betas, "betas", arrays.name)
    expression = first_columns(arrays.expression_dirs, expressions, "expression coefficients", arrays.name)
    directions = tensor(np.concatenate([identity, expression], axis=2)).permute(2, 0, 1).contiguous()
    template, regressor = tensor(arrays.v_template), tensor(arrays.J_regressor)
    posedirs = tensor(arrays.posedirs).permute(2, 0, 1).contiguous() if np.any(arrays.posedirs) else None
    skinning = tensor(arrays.weights)
    return SkinnedBody(
        name=arrays.name,
        sha256=arrays.sha256,
        blocks=blocks(identity.shape[2], expression.shape[2], has_size="size_sd" in arrays.extras),
        rotation_blocks=ROTATION_BLOCKS,
        coefficient_blocks=("betas", "expression"),
        joint_names=JOINTS,
        head_joint=JOINTS.index("neck"),  # the skull hangs on the neck joint; there is none of its own
        faces=np.asarray(arrays.faces, dtype=np.int64),
        skeleton=Skeleton(
            parents=tuple(int(p) for p in arrays.parents),
            template=regressor @ template,
            directions=torch.einsum("jv,cvd->cjd", regressor, directions).flatten(1),
        ),
        skin=whole_skin(template, directions, posedirs, skinning),
        skinning=skinning,
        embeddings=embeddings,
        yard_sticks={name: yard_stick(e, template, regressor @ template) for name, e in embeddings.items()},
        expression_names=expression_names(arrays.extras, expression.shape[2]),
        expression_sd=tensor(arrays.extras.get("expression_sd", np.ones(expression.shape[2]))[: expression.shape[2]]),
        expression_bounds=expression_bounds(arrays.extras, expression.shape[2]),
        looks=looks(arrays.extras),
    )


def blocks(betas: int, expressions: int, has_size: bool) -> tuple[Block, ...]:
    """FLAME's parameters, and the head's size where the basis does not hold it."""
    found = (
        Block("betas", "vector", betas, shared=True, unit=1.0),
        Block("expression", "vector", expressions, shared=False, unit=0.3),
        *(Block(name, "rotation", 1, shared=False, unit=0.1) for name in ROTATION_BLOCKS),
        Block("transl", "vector", 3, shared=False, unit=0.02),
    )
    return (*found, Block("scale", "vector", 1, shared=True, unit=0.05)) if has_size else found


def first_columns(directions: np.ndarray, count: int | None, what: str, name: str) -> np.ndarray:
    available = directions.shape[2]
    if count is not None and count > available:
        raise ModelError(f"{name}: {count} {what} asked for, the model has {available}: ask for at most {available}")
    return directions[..., :count]


def expression_names(extras: Mapping[str, np.ndarray], count: int) -> tuple[str, ...]:
    names = extras.get("expression_names")
    return tuple(str(n) for n in names[:count]) if names is not None else tuple(f"expression_{i}" for i in range(count))


def expression_bounds(extras: Mapping[str, np.ndarray], count: int) -> Tensor:
    bounds = extras.get("expression_bounds")
    if bounds is None:
        bounds = np.tile([-np.inf, np.inf], (count, 1))
    return tensor(bounds[:count])


def looks(extras: Mapping[str, np.ndarray]) -> Looks:
    return Looks(
        colours=part_colours(extras["part"], extras["part_names"]) if "part" in extras else None,
        uv=extras.get("vt"),
        uv_faces=extras.get("ft"),
        face_region=extras.get("face_region"),
    )


def part_colours(part: np.ndarray, names: np.ndarray) -> np.ndarray:
    """One colour per vertex: that of the part whose name contains the entry's, e.g. 'teeth' for 'upper_teeth'."""
    table = [next((c for key, c in PART_COLOURS.items() if key in str(name)), PART_COLOURS["skin"]) for name in names]
    return np.asarray(table, dtype=np.float32)[part]


def tensor(array: Any) -> Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float32))
