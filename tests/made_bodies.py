"""A body with SMPL-X's 55 joints, small and random, for the mathematics of what looks at whole bodies."""

from __future__ import annotations

import numpy as np
import torch

from fitting.bodies.body import SkinnedBody
from fitting.bodies.skinning import Skeleton, whole_skin
from fitting.bodies.smpl_joints import SMPLX_JOINTS, SMPLX_PARENTS
from fitting.layouts import MEDIAPIPE478
from fitting.types import Block, Embedding, PosePrior

ROTATIONS = {
    "global_orient": 1, "body_pose": 21, "jaw_pose": 1, "leye_pose": 1, "reye_pose": 1, "left_hand_pose": 15,
    "right_hand_pose": 15,
}  # fmt: skip


def random_prior(components: int, size: int, seed: int, centred: bool) -> PosePrior:
    rng = np.random.default_rng(seed)
    means = np.zeros((components, size)) if centred else rng.normal(0, 0.3, (components, size))
    spread = rng.normal(0, 0.3, (components, size, size)) / np.sqrt(size) + 0.3 * np.eye(size)
    return PosePrior(
        torch.as_tensor(means),
        torch.as_tensor(np.linalg.inv(spread)),
        torch.as_tensor(np.arange(components, dtype=np.float64)),
    )


def random_figure(seed: int = 0, vertices: int = 90) -> SkinnedBody:
    """Float64; its priors are centred on the T-pose, so that every belief is at rest there."""
    rng = np.random.default_rng(seed)
    count = len(SMPLX_JOINTS)
    template = torch.as_tensor(rng.normal(0, 0.3, (vertices, 3)))
    directions = torch.as_tensor(rng.normal(0, 0.01, (6, vertices, 3)))
    regressor = torch.as_tensor(rng.dirichlet(np.ones(vertices), count))
    skinning = torch.as_tensor(np.eye(count)[rng.integers(count, size=vertices)])
    faces = np.stack([rng.permutation(vertices)[:3] for _ in range(60)]).astype(np.int64)
    points = torch.as_tensor(sorted(rng.choice(478, 20, replace=False).tolist()))
    corners = torch.as_tensor(faces[rng.integers(60, size=20)])
    return SkinnedBody(
        name="figure",
        sha256="0" * 64,
        blocks=(
            Block("betas", "vector", 4, shared=True, unit=1.0),
            Block("expression", "vector", 2, shared=False, unit=0.3),
            *(Block(name, "rotation", size, shared=False, unit=0.1) for name, size in ROTATIONS.items()),
            Block("transl", "vector", 3, shared=False, unit=0.05),
        ),
        rotation_blocks=tuple(ROTATIONS),
        coefficient_blocks=("betas", "expression"),
        joint_names=SMPLX_JOINTS,
        head_joint=SMPLX_JOINTS.index("head"),
        faces=faces,
        skeleton=Skeleton(
            tuple(SMPLX_PARENTS), regressor @ template, torch.einsum("jv,cvd->cjd", regressor, directions).flatten(1)
        ),
        skin=whole_skin(template, directions, None, skinning),
        skinning=skinning,
        embeddings={
            "mediapipe478": Embedding(MEDIAPIPE478, points, corners, torch.as_tensor(rng.dirichlet(np.ones(3), 20)))
        },
        yard_sticks={"mediapipe478": 0.1},
        expression_names=("a", "b"),
        expression_sd=torch.ones(2).double(),
        expression_bounds=torch.tensor([[0.0, 1.0]] * 2).double(),
        pose_priors={"learned": random_prior(1, 63, 1, centred=True), "gmm": random_prior(3, 63, 2, centred=False)},
    )
