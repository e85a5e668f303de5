"""Makes files of the SMPL family from the open body, with random pose correctives: nothing licensed is needed."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from fitting import places
from fitting.bodies import smpl_joints

EVERY = 12  # one of so many vertices of the open body is kept
JOINTS = {
    "smpl": smpl_joints.SMPL_JOINTS,
    "smplh": smpl_joints.SMPLH_JOINTS,
    "smplx": smpl_joints.SMPLX_JOINTS,
}
PARENTS = {
    "smpl": smpl_joints.SMPL_PARENTS,
    "smplh": smpl_joints.SMPLH_PARENTS,
    "smplx": smpl_joints.SMPLX_PARENTS,
}


@cache
def open_arrays() -> dict[str, np.ndarray]:
    with np.load(places.models() / "open_body.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def merged(joint: str, family: str) -> str:
    """The joint of a family that carries what SMPL-X's `joint` does."""
    names = JOINTS[family]
    if joint in names:
        return joint
    if family == "smpl" and joint.partition("_")[0] in ("left", "right") and "eye" not in joint:
        return f"{joint.partition('_')[0]}_hand"
    return "head"


def smpl_arrays(family: str, betas: int = 10, expressions: int = 10, seed: int = 0) -> dict[str, Any]:
    """The keys of a licensed file over some vertices of the open body; float64, the regressor sparse.

    SMPL-X: 300 shape and 100 expression columns, or (with 10 and 10) the 20 of its first version.
    """
    rng, whole, names = np.random.default_rng(seed), open_arrays(), JOINTS[family]
    kept = slice(None, None, EVERY)
    template = whole["v_template"][kept].astype(np.float64)
    carried = np.zeros((len(template), len(names)))
    for column, joint in zip(whole["weights"].T, smpl_joints.SMPLX_JOINTS, strict=True):
        carried[:, names.index(merged(joint, family))] += column[kept]
    places_of_joints = whole["J_regressor"].astype(float) @ whole["v_template"]
    wanted = [
        smpl_joints.SMPLX_JOINTS.index(n if n in smpl_joints.SMPLX_JOINTS else f"{n[:-5]}_middle1") for n in names
    ]
    distance = np.linalg.norm(places_of_joints[wanted][:, None] - template, axis=2)
    near = np.exp(-((distance / 0.05) ** 2)) * (distance <= np.sort(distance, axis=1)[:, 8:9])
    faces = np.stack([rng.permutation(len(template))[:3] for _ in range(200)]).astype(np.uint32)
    columns = betas if family != "smplx" else (400 if betas > 10 else 20)
    arrays = {
        "v_template": template,
        "f": faces,
        "shapedirs": rng.normal(0, 0.01, (len(template), 3, columns)),
        "posedirs": rng.normal(0, 0.003, (len(template), 3, 9 * (len(names) - 1))),
        "J_regressor": scipy.sparse.csc_matrix(near / near.sum(axis=1, keepdims=True)),
        "weights": carried / carried.sum(axis=1, keepdims=True),
        "kintree_table": np.array([[p % 2**32 for p in PARENTS[family]], range(len(names))], dtype=np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    if family != "smpl":
        for side in "lr":
            arrays[f"hands_components{side}"] = np.linalg.qr(rng.normal(size=(45, 45)))[0]
            arrays[f"hands_mean{side}"] = rng.normal(0, 0.3, 45)
    if family == "smplx":
        arrays |= {
            "lmk_faces_idx": rng.integers(len(faces), size=51).astype(np.uint32),
            "lmk_bary_coords": rng.dirichlet(np.ones(3), 51),
            "dynamic_lmk_faces_idx": rng.integers(len(faces), size=(79, 17)).astype(np.uint32),
            "dynamic_lmk_bary_coords": rng.dirichlet(np.ones(3), (79, 17)),
        }
    return arrays


def write_pkl(path: Path, arrays: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dense = {n: v.toarray() if scipy.sparse.issparse(v) else v for n, v in arrays.items()}
    np.savez(path, **dense)
    return path
