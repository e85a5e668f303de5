"""SMPL, SMPL-H, SMPL-X and the open body: their parameters' names, and the body made from a file's arrays."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch

from fitting.bodies import smpl_joints
from fitting.bodies.body import SkinnedBody
from fitting.bodies.flame import expression_bounds, expression_names, first_columns, looks, tensor
from fitting.bodies.hands import Hands
from fitting.bodies.keypoint_table import KeypointTable, yard_stick
from fitting.bodies.skinning import Skeleton, whole_skin
from fitting.bodies.smpl_files import SmplArrays
from fitting.layouts import LAYOUTS
from fitting.types import Block

JOINT_NAMES = {
    "smpl": smpl_joints.SMPL_JOINTS, "smplh": smpl_joints.SMPLH_JOINTS, "smplx": smpl_joints.SMPLX_JOINTS,
}  # fmt: skip
_SPECIAL = {
    "pelvis": "global_orient",
    "jaw": "jaw_pose",
    "left_eye_smplhf": "leye_pose",
    "right_eye_smplhf": "reye_pose",
}
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
UNITS = {"global_orient": 0.1, "body_pose": 0.1, "left_hand_pose": 0.2, "right_hand_pose": 0.2}


def smpl_body(
    arrays: SmplArrays,
    table: KeypointTable,
    hands: Hands | None = None,
    betas: int | None = None,
    expressions: int | None = None,
) -> SkinnedBody:
    """A body from a file's arrays, with its first `betas` and `expressions` coefficients (None: all).

    What a family lacks (hands, face) is no block. Raises ModelError when the file has fewer than asked for.
    """
    shape = first_columns(arrays.shape_dirs, betas, "betas", arrays.name)
    count = None if arrays.family != "smplx" else expressions
    expression = first_columns(arrays.expression_dirs, count, "expression coefficients", arrays.name)
    directions = tensor(np.concatenate([shape, expression], axis=2)).permute(2, 0, 1).contiguous()
    posedirs = None if arrays.posedirs is None else tensor(arrays.posedirs).permute(2, 0, 1).contiguous()
    template, regressor, skinning = tensor(arrays.v_template), tensor(arrays.J_regressor), tensor(arrays.weights)
    names, extras = JOINT_NAMES[arrays.family], arrays.extras
    embeddings = {layout.name: found for layout in LAYOUTS if (found := table.embedding(layout)) is not None}
    joints = regressor @ template
    blocks = smpl_blocks(arrays.family, shape.shape[2], expression.shape[2])
    return SkinnedBody(
        name=arrays.name,
        sha256=arrays.sha256,
        blocks=blocks,
        rotation_blocks=tuple(block.name for block in blocks if block.kind == "rotation"),
        coefficient_blocks=("betas", "expression") if expression.shape[2] else ("betas",),
        joint_names=names,
        head_joint=names.index("head"),
        faces=np.asarray(arrays.faces, dtype=np.int64),
        skeleton=Skeleton(
            parents=arrays.parents,
            template=joints,
            directions=torch.einsum("jv,cvd->cjd", regressor, directions).flatten(1),
        ),
        skin=whole_skin(template, directions, posedirs, skinning),
        skinning=skinning,
        embeddings=embeddings,
        yard_sticks={name: yard_stick(e, template, joints) for name, e in embeddings.items()},
        expression_names=expression_names(extras, expression.shape[2]),
        expression_sd=tensor(extras.get("expression_sd", np.ones(expression.shape[2]))[: expression.shape[2]]),
        expression_bounds=expression_bounds(extras, expression.shape[2]),
        looks=looks(extras),
        stature=float(template[:, 1].max() - template[:, 1].min()),  # at rest it stands with its arms spread
        keypoints=table,
        hands=hands,
    )


def smpl_blocks(family: str, betas: int, expressions: int) -> tuple[Block, ...]:
    """The field's names, in the order of the joints."""
    runs = [(name, len(list(run))) for name, run in groupby(JOINT_NAMES[family], key=block_of_joint)]
    return (
        Block("betas", "vector", betas, shared=True, unit=1.0),
        *((Block("expression", "vector", expressions, shared=False, unit=0.3),) if expressions else ()),
        *(Block(name, "rotation", joints, shared=False, unit=UNITS.get(name, 0.1)) for name, joints in runs),
        Block("transl", "vector", 3, shared=False, unit=0.05),
    )


def block_of_joint(joint: str) -> str:
    """The parameters that turn a joint: body_pose but for the root, the face and the fingers."""
    side, _, part = joint.partition("_")
    if part.rstrip("123") in _FINGERS:
        return f"{side}_hand_pose"
    return _SPECIAL.get(joint, "body_pose")
