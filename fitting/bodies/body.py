"""Skinned bodies: arrays in, points out. A chain of small immutable types, no state to reset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from fitting.bodies.columns import Columns
from fitting.bodies.contour import candidates, final_points, slide_contour
from fitting.bodies.derivatives import bend, columns_of, differentiate, moved_points, pull
from fitting.bodies.hands import Hands
from fitting.bodies.keypoint_table import KeypointTable, yard_stick
from fitting.bodies.levers import Levers, Pairs, Reach, make_levers, make_pairs, make_reach
from fitting.bodies.products import Products, make_products
from fitting.bodies.sizes import Sizes, make_sizes
from fitting.bodies.skinning import (
    Places,
    Skeleton,
    Skin,
    pose_skin,
    rest_positions,
    restricted_skin,
    some_points,
)
from fitting.bodies.surface import make_surface
from fitting.types import Block, Contour, Embedding, Layout, Parameters, PosePrior, Surface


@dataclass(frozen=True)
class PosedBody:
    """A body in one pose per frame, in the world frame, metres."""

    points: Float[Tensor, "problems frames points 3"]
    joints: Float[Tensor, "problems frames joints 3"]
    rotations: Float[Tensor, "problems frames joints 3 3"]
    entries: Float[Tensor, "problems frames entries 3"]  # of the skin, before scale and transl

    def select(self, rows: Int[Tensor, " some"]) -> PosedBody:
        """Some of the problems, by number."""
        return PosedBody(self.points[rows], self.joints[rows], self.rotations[rows], self.entries[rows])


@dataclass(frozen=True)
class Looks:
    """What pictures and files need beyond geometry; None where the model file has none."""

    colours: np.ndarray | None = None  # (V, 3) in 0..1
    uv: np.ndarray | None = None  # (N, 2)
    uv_faces: np.ndarray | None = None  # (T, 3)
    face_region: np.ndarray | None = None  # vertex numbers of the face, for accuracy in millimetres


@dataclass(frozen=True)
class SkinnedBody:
    """A FLAME- or SMPL-like body: linear rest shape, joints linear in it, linear blend skinning.

    The order of the joints is the order of the rotation blocks; the order of the coefficients is `coefficient_blocks`.
    """

    name: str
    sha256: str
    blocks: tuple[Block, ...]
    rotation_blocks: tuple[str, ...]
    coefficient_blocks: tuple[str, ...]
    joint_names: tuple[str, ...]
    head_joint: int  # whose world rotation the contour's yaw is read from
    faces: np.ndarray
    skeleton: Skeleton
    skin: Skin
    skinning: Float[Tensor, "vertices joints"]
    embeddings: Mapping[str, Embedding]
    yard_sticks: Mapping[str, float]  # metres between a layout's size pair on the mean body, by layout name
    expression_names: tuple[str, ...]
    expression_sd: Float[Tensor, " expressions"]
    expression_bounds: Float[Tensor, "expressions 2"]
    looks: Looks = field(default_factory=Looks)
    pose_priors: Mapping[str, PosePrior] = field(default_factory=dict)
    stature: float | None = None  # metres, of the mean body; None: a head has none
    keypoints: KeypointTable | None = None  # by name, for layouts that are not in `embeddings`
    hands: Hands | None = None  # what hand poses are counted from; None: no fingers
    contour: Contour | None = None  # of a restricted body: its candidates stand after the static points
    whole: SkinnedBody | None = None  # of a restricted body: what it was restricted from

    @property
    def colours(self) -> np.ndarray | None:
        return self.looks.colours

    @property
    def face_region(self) -> np.ndarray | None:
        return self.looks.face_region

    @property
    def uv(self) -> np.ndarray | None:
        return self.looks.uv

    @property
    def uv_faces(self) -> np.ndarray | None:
        return self.looks.uv_faces

    def neutral(self, problems: int, frames: int) -> Parameters:
        """The mean body at rest in the world's origin, its hands flat or relaxed as `hands` says."""
        found = Parameters({block.name: block.neutral(problems, frames) for block in self.blocks})
        if self.hands is not None:
            found = found.replace(self.hands.neutral(problems, frames))
        return found.to(self.skin.template)

    def pose(self, parameters: Parameters) -> PosedBody:
        """Points, joints and their rotations in the world: skinning, then the uniform `scale`, then `transl`."""
        coefficients = tuple(parameters[name] for name in self.coefficient_blocks)
        local = torch.cat([parameters[name] for name in self.rotation_blocks], dim=2)
        joints_rest = rest_positions(self.skeleton.template, self.skeleton.directions, coefficients)
        rest = rest_positions(self.skin.template, self.skin.directions, coefficients)
        if self.skin.pose_directions is not None:
            feature = (local[:, :, 1:] - torch.eye(3).to(local)).flatten(2)
            rest = rest + (feature @ self.skin.pose_directions).unflatten(-1, (-1, 3))
        rotations, places, entries, points = pose_skin(self.skeleton, self.skin, joints_rest, rest, local)
        if self.contour is not None:
            points = slide_contour(points, self.contour, rotations[:, :, self.head_joint])
        size, transl = self.size_of(parameters), parameters["transl"][:, :, None]
        return PosedBody(points * size + transl, places * size + transl, rotations, entries)

    def size_of(self, parameters: Parameters) -> Tensor:
        """The factor of the uniform scale (problems, 1, 1, 1)."""
        if "scale" not in parameters:
            return torch.ones(1, 1, 1, 1).to(parameters["transl"])
        return torch.exp(parameters["scale"])[..., None]

    @cached_property
    def levers(self) -> Levers:
        return make_levers(self.skeleton, self.skin, final_points(self.contour, self.skin.points))

    @cached_property
    def pairs(self) -> Pairs:
        return make_pairs(self.skeleton, self.skin, final_points(self.contour, self.skin.points))

    @cached_property
    def reach(self) -> Reach:
        return make_reach(self.skeleton, self.skin, final_points(self.contour, self.skin.points))

    @cached_property
    def sizes(self) -> Sizes:
        return make_sizes(self.skin, next((b.size for b in self.blocks if b.name == "betas"), 0))

    def spans(self, names: tuple[str, ...]) -> dict[str, slice]:
        """Where blocks stand when laid end to end."""
        sizes = {block.name: block.size for block in self.blocks}
        ends = list(accumulate(sizes[name] for name in names))
        return {name: slice(end - sizes[name], end) for name, end in zip(names, ends, strict=True)}

    def differentiate(
        self,
        parameters: Parameters,
        posed: PosedBody,
        functional: Float[Tensor, "problems frames points rows 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames points rows _"]]:
        """d (functional . point) / d step of the named blocks, in closed form: vectors as they are, rotations stepped
        from the left, R <- exp(d) R. A name that is not the body's is left out."""
        return differentiate(self, parameters, posed, functional, names)

    def columns(
        self,
        parameters: Parameters,
        posed: PosedBody,
        functional: Float[Tensor, "problems frames points rows 3"],
        places: Mapping[str, slice],
        width: int,
    ) -> Columns:
        """`differentiate` with the blocks at their places among `width` columns, made a few frames at a time."""
        return columns_of(self, parameters, posed, functional, places, width)

    def pull(
        self,
        parameters: Parameters,
        posed: PosedBody,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames _"]]:
        """d (sum of force . point) / d step of the named blocks: `differentiate` summed over points, at the price of
        posing them."""
        return pull(self, parameters, posed, forces, names)

    def turns(self, name: str) -> bool:
        """Whether a block that moves turns joints."""
        return name in self.rotation_blocks

    def bend(
        self,
        parameters: Parameters,
        posed: PosedBody,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> Float[Tensor, "problems frames steps steps"]:
        """d2 (sum of force . point) / d step d step of the named rotation blocks, end to end, its lower
        triangle: see bends.py."""
        return bend(self, parameters, posed, forces, dict.fromkeys(names))

    def products(self, places: Mapping[str, slice], more: Sequence[int]) -> Products | None:
        """What makes Gram matrices of keypoints by compiled code, for unknowns at `places` and those of `more` columns;
        None where it does not know how: see products.py."""
        return make_products(self, (), places, more)

    def moves(self, name: str) -> Bool[Tensor, " points"]:
        """Which of a restricted body's points a block moves. A contour goes with all of its points."""
        found = moved_points(self, name)
        found[self.sliding] = found[self.sliding].any()
        return found

    def restrict(self, embedding: Embedding) -> SkinnedBody:
        """The same body with nothing but an embedding's points: static ones, then the contour's, in its order."""
        skin = restricted_skin(self.skin, self.skeleton, self.skinning, places_of(embedding))
        return replace(self, skin=skin, contour=embedding.contour, whole=self.mesh)

    @property
    def mesh(self) -> SkinnedBody:
        """The body with all its vertices."""
        return self if self.whole is None else self.whole

    @property
    def surface(self) -> Surface:
        return self.mesh.own_surface

    @cached_property
    def own_surface(self) -> Surface:
        faces = torch.as_tensor(self.faces, dtype=torch.long, device=self.skin.template.device)
        turned_by = self.spans(self.rotation_blocks)
        return make_surface(faces, self.skinning, self.skeleton, self.joint_names, turned_by, self.skin.template)

    @property
    def sliding(self) -> slice:
        """Where the contour's points stand among a restricted body's: at their end."""
        return slice(-self.contour.vertices.shape[1], None) if self.contour is not None else slice(0, 0)

    def only(self, kept: Bool[Tensor, " points"]) -> SkinnedBody:
        """A restricted body with some of its points. A contour stays whole or goes: none of it or all are kept."""
        skin = some_points(self.skin, candidates(self.contour, kept))
        return replace(self, skin=skin, contour=self.contour if bool(kept[self.sliding].any()) else None)

    def part(self, posed: PosedBody, kept: Bool[Tensor, " points"]) -> PosedBody:
        """`only(kept)` in the same pose."""
        entries = candidates(self.contour, kept)[self.skin.entry_point]
        return replace(posed, points=posed.points[:, :, kept], entries=posed.entries[:, :, entries])

    @cached_property
    def bones(self) -> SkinnedBody:
        """The same body with its joints as points, and nothing else."""
        joints = torch.arange(len(self.joint_names), device=self.skin.template.device)
        nowhere = joints.new_zeros(len(joints), 1)
        layout = Layout("joints", self.joint_names, (), {}, ((), ()))
        return self.restrict(Embedding(layout, joints, nowhere, nowhere.to(self.skin.template), joints=joints))

    def embedding_of(self, layout: Layout) -> Embedding | None:
        """Where a layout's points sit: as the model's files say, else by their names. None: it has none of them."""
        if layout.name in self.embeddings:
            return self.embeddings[layout.name]
        found = None if self.keypoints is None else self.keypoints.embedding(layout)
        return None if found is None else moved(found, self.skin.template)

    def yard_stick_of(self, layout: Layout) -> float:
        """Metres: the mean body's height where the layout shows a whole person, whatever of him is in the picture; else
        what lies between the ends of the layout's size pair, NaN where the body lacks them."""
        if self.stature is not None and layout.shows_a_person:
            return self.stature
        if layout.name in self.yard_sticks:
            return self.yard_sticks[layout.name]
        found = self.embedding_of(layout)
        return float("nan") if found is None else yard_stick(found, self.skin.template, self.skeleton.template)

    def moving(self, name: str) -> str:
        return name  # nothing is decoded: see decoded.py

    def lengths(self, name: str) -> float:
        return 1.0  # nothing is decoded: see decoded.py

    def full(self, parameters: Parameters) -> Parameters:
        return parameters  # nothing is decoded: see decoded.py

    def chain(self, parameters: Parameters, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return rows

    def to(self, like: Tensor) -> SkinnedBody:
        """The same body with the dtype and on the device of `like`."""
        return moved(self, like)


def places_of(embedding: Embedding) -> Places:
    """All points of an embedding: the fixed ones, then the contour's candidates, row by row of its table."""
    vertices, weights = embedding.vertices, embedding.weights
    joints = torch.full_like(embedding.points, -1) if embedding.joints is None else embedding.joints
    if embedding.contour is not None:
        sliding = (embedding.contour.vertices.flatten(0, 1), embedding.contour.weights.flatten(0, 1))
        corners = max(vertices.shape[1], sliding[0].shape[1])
        vertices, weights = (
            torch.cat([pad(fixed, (0, corners - fixed.shape[1])), pad(moving, (0, corners - moving.shape[1]))])
            for fixed, moving in zip((vertices, weights), sliding, strict=True)
        )
        joints = torch.cat([joints, joints.new_full((len(sliding[0]),), -1)])
    return Places(vertices, weights, joints)


def moved(record: Any, like: Tensor) -> Any:
    """Every tensor of a record, however deep, to the device of `like`, floating ones to its dtype too."""
    if isinstance(record, Tensor):
        return record.to(like) if record.is_floating_point() else record.to(like.device)
    if is_dataclass(record) and not isinstance(record, type):
        return replace(record, **{f.name: moved(getattr(record, f.name), like) for f in fields(record)})
    if isinstance(record, Mapping):
        return {key: moved(value, like) for key, value in record.items()}
    return record
