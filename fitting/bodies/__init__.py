"""Bodies: one file per family. `load` turns a name or a file into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fitting import places
from fitting.bodies.body import SkinnedBody
from fitting.bodies.decoded import DecodedBody, decoded
from fitting.bodies.flame import flame_body
from fitting.bodies.flame_embeddings import open_embeddings, read_embeddings
from fitting.bodies.flame_files import read_flame
from fitting.bodies.flame_shelf import find_model
from fitting.bodies.hands import SIDES, HandComponents, Hands
from fitting.bodies.keypoint_table import read_table
from fitting.bodies.pose_priors import with_pose_priors
from fitting.bodies.smpl import JOINT_NAMES, smpl_body
from fitting.bodies.smpl_files import OPEN_BODY, SmplArrays, read_hands, read_smpl
from fitting.bodies.smpl_points import smpl_table
from fitting.bodies.smpl_shelf import FAMILIES, find_mano, find_smpl, is_smpl_file
from fitting.bodies.uv_template import with_uv
from fitting.bodies.vposer import read_vposer
from fitting.types import ModelError

__all__ = ["DecodedBody", "SkinnedBody", "load"]


def load(
    model: str = "open_head",
    folder: Path | None = None,
    gender: str = "neutral",
    betas: int | None = None,
    expressions: int | None = None,
    embedding: Path | None = None,
    hand_pca: int | None = None,
    flat_hand_mean: bool = False,
    vposer: Path | None = None,
    gmm: Path | None = None,
    uv: Path | None = None,
) -> SkinnedBody | DecodedBody:
    """A body by name ('open_head', 'flame', 'open_body', 'smpl', 'smplh', 'smplx', the latter three also as
    'smplx_or_open': without a folder and a file on the shelf, the open body) or model file, float32 on the CPU.

    `embedding` is a landmark embedding file of FLAME's or a folder of them; by default those inside or beside the
    model file. `hand_pca`: so many components move each hand instead of its joints; `flat_hand_mean`: hands at zero
    are flat instead of half open. `vposer`: a checkpoint whose code moves the body's joints; `gmm`: SMPLify's mixture
    of poses; `uv`: an obj with texture coordinates. Raises ModelError when a file is missing, damaged, hostile, or
    smaller than asked for.
    """
    shelf = folder or places.models()
    model = or_open(model, folder, gender)
    if model in (OPEN_BODY, *FAMILIES):
        path = find_smpl(shelf, model, gender)
    elif is_smpl_file(Path(model)):
        path = Path(model)
    else:
        return with_uv(load_flame(find_model(shelf, model, gender), betas, expressions, embedding), uv)
    arrays = read_smpl(path)
    check_family(arrays, model)
    hands = hands_of(arrays, shelf, flat_hand_mean)
    if arrays.name == OPEN_BODY:
        table = read_table(arrays.extras, len(arrays.v_template), str(path))
    else:
        table = smpl_table(arrays, JOINT_NAMES[arrays.family])
    body = with_uv(with_pose_priors(smpl_body(arrays, table, hands, betas, expressions), gmm), uv)
    coders = [] if vposer is None else [read_vposer(vposer, joints_of(body))]
    return decoded(body, (*coders, *hand_decoders(body, hand_pca, arrays)))


def or_open(model: str, folder: Path | None, gender: str) -> str:
    """'smplx_or_open' as one of the two. Whoever names a folder means a file in it."""
    family = model.removesuffix("_or_open")
    if family == model or family not in FAMILIES:
        return model
    if folder is not None:
        return family
    try:
        find_smpl(places.models(), family, gender)
    except ModelError:
        return OPEN_BODY
    return family


def load_flame(path: Path, betas: int | None, expressions: int | None, embedding: Path | None) -> SkinnedBody:
    arrays = read_flame(path)
    if embedding is None and "mediapipe478_points" in arrays.extras:
        found = open_embeddings(arrays.extras)
    else:
        found = read_embeddings(embedding or path.parent, arrays.faces)
    return flame_body(arrays, found, betas, expressions)


def joints_of(body: SkinnedBody) -> int:
    """How many joints `body_pose` turns."""
    return next(block.size for block in body.blocks if block.name == "body_pose")


def check_family(arrays: SmplArrays, wanted: str) -> None:
    """Raises ModelError when a file named for one family holds another."""
    if wanted in FAMILIES and arrays.family != wanted:
        raise ModelError(
            f"{arrays.path}: `model: {wanted}` was asked for, but its {len(arrays.parents)} joints are those of "
            f"{arrays.family}: rename the file, or use `model: {arrays.family}`"
        )


def hands_of(arrays: SmplArrays, shelf: Path, flat_mean: bool) -> Hands | None:
    """Means and components of a body with fingers; without any in the files a flat mean and no components."""
    if arrays.family == "smpl":
        return None
    found = read_hands(arrays, find_mano(shelf))
    means, components = (np.zeros((2, 45)), np.zeros((2, 0, 45))) if found is None else found
    if found is None and not flat_mean:
        raise ModelError(
            f"{arrays.path}: has no hands_meanl and hands_meanr, and there are no MANO_LEFT and MANO_RIGHT in "
            f"{shelf.resolve()}. What to do: put them there (https://mano.is.tue.mpg.de/), or set "
            "`flat_hand_mean: true`"
        )
    mean, rows = (torch.as_tensor(part, dtype=torch.float32) for part in (means, components))
    return Hands(mean, rows, flat_mean)


def hand_decoders(body: SkinnedBody, count: int | None, arrays: SmplArrays) -> tuple[HandComponents, ...]:
    """Raises ModelError when there are fewer components than asked for."""
    if count is None or body.hands is None:
        return ()
    available = body.hands.components.shape[1]
    if count > available:
        raise ModelError(
            f"{arrays.path}: {count} hand components asked for, there are {available}. What to do: ask for at most "
            f"{available}, leave `hand_pca` empty for hands that move joint by joint"
            + ("" if available else ", or put MANO_LEFT.pkl and MANO_RIGHT.pkl (https://mano.is.tue.mpg.de/) beside it")
        )
    hands = body.hands
    return tuple(HandComponents(side, hands.zero[k], hands.components[k, :count]) for k, side in enumerate(SIDES))
