"""Rotations and the codes that stand for them: VPoser's 32 numbers, hand components. A body that is moved by a code may
be started from rotations, and a code without its decoder says nothing.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.track import Track, sized
from fitting.types import Block, Body, InputError

LATENT = "pose_embedding"
STEPS, ENOUGH, HIGHEST = 60, 1e-6, 1e6  # of the search: at most; the gain that is none; the damping that ends it
CHUNK = 256  # rows in memory together
ANGLE_SIGMA = 0.005  # radians: a joint that is so far off counts as much as a code that is one deviation from 0
SAME = 1e-3  # radians between what a code decodes to and the rotations beside it
CODED = "its body_pose is VPoser's code, 32 numbers that only VPoser reads"
GIVE = "give the folder of the VPoser that made it with --vposer_ckpt, of the same version"


@runtime_checkable
class Decoder(Protocol):
    """From a vector to rotations: `fitting/bodies/decoded.py`."""

    @property
    def block(self) -> Block: ...

    def decode(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch joints 3 3"]: ...

    def steps(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch steps size"]: ...


def as_moved(track: Track, body: Body) -> Track:
    """The track with every pose as the body is moved by it: codes that are decoded, rotations that are encoded.

    Raises InputError for VPoser's code where the body has no VPoser.
    """
    exact = body.to(torch.zeros(0).double()) if hasattr(body, "decoders") else body
    decoders = {decoder.target: decoder for decoder in getattr(exact, "decoders", ())}
    moving = {decoder.block.name for decoder in decoders.values()}
    if LATENT in track.values and LATENT not in moving:
        if "body_pose" not in track.values:
            raise InputError(f"{track.format}: {CODED}: {GIVE}")
        track = track.with_values({LATENT: None})
    changes: dict[str, np.ndarray | None] = {}
    joints = {block.name: block.size for block in getattr(body, "inner", body).blocks}
    for target, decoder in decoders.items():
        if target in track.values:
            rows = torch.as_tensor(sized(track.values[target], 3 * joints[target]), dtype=torch.float64)
            known = track.values.get(decoder.block.name)
            changes[target] = None
            changes[decoder.block.name] = encoded(decoder, roma.rotvec_to_rotmat(rows.unflatten(1, (-1, 3))), known)
    return track.with_values(changes)


def encoded(
    decoder: Decoder, rotations: Float[Tensor, "rows joints 3 3"], known: Float[np.ndarray, "rows size"] | None = None
) -> Float[np.ndarray, "rows size"]:
    """The vectors whose rotations come nearest, with a weak belief that they are near 0; `known` ones are kept where
    they decode to these rotations."""
    size = decoder.block.size
    if known is not None and known.shape[1] == size:
        vector = torch.as_tensor(known, dtype=torch.float64)
        if bool((turns(decoder, vector, rotations).abs() < SAME).all()):
            return known
    parts = [nearest(decoder, rotations[first : first + CHUNK]) for first in range(0, len(rotations), CHUNK)]
    return torch.cat(parts).numpy()


def nearest(decoder: Decoder, rotations: Float[Tensor, "rows joints 3 3"]) -> Float[Tensor, "rows size"]:
    """Levenberg-Marquardt on the turns from the decoded joints to the wanted ones, every row with a damping of its own
    until it no longer gains.
    """
    size = decoder.block.size
    vector = rotations.new_zeros(len(rotations), size)
    damping = rotations.new_full((len(rotations),), 1e-2)
    left = turns(decoder, vector, rotations)
    active = torch.arange(len(rotations))
    for _ in range(STEPS):
        z, before = vector[active], costs(left[active], vector[active])
        J = decoder.steps(z) / ANGLE_SIGMA
        slope = (J.mT @ (left[active] / ANGLE_SIGMA)[..., None])[..., 0] - z
        normal = J.mT @ J + torch.eye(size).to(J)
        damped = normal + damping[active, None, None] * torch.diag_embed(normal.diagonal(dim1=1, dim2=2))
        tried = z + torch.linalg.solve(damped, slope)
        turned = turns(decoder, tried, rotations[active])
        gain = before - costs(turned, tried)
        better = active[gain > 0]
        vector[better], left[better] = tried[gain > 0], turned[gain > 0]
        damping[active] *= torch.where(gain > 0, 0.2, 8.0).to(damping)
        active = active[((gain > ENOUGH * before) | (gain <= 0)) & (damping[active] < HIGHEST)]
        if len(active) == 0:
            break
    return vector


def turns(
    decoder: Decoder, vector: Float[Tensor, "rows size"], rotations: Float[Tensor, "rows joints 3 3"]
) -> Float[Tensor, "rows steps"]:
    """Axis-angle that leads from each decoded joint to the wanted one, from the left."""
    return roma.rotmat_to_rotvec(rotations @ decoder.decode(vector).mT).flatten(1)


def costs(left: Float[Tensor, "rows steps"], vector: Float[Tensor, "rows size"]) -> Float[Tensor, " rows"]:
    return (left / ANGLE_SIGMA).square().sum(dim=1) + vector.square().sum(dim=1)
