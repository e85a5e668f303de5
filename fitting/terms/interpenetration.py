"""No part of a body inside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fitting.contact import (
    JOINED,
    Buried,
    Crossed,
    Mask,
    find_buried,
    find_crossed,
    hanging_on,
    make_mask,
    read_parts,
    with_parts,
)
from fitting.terms.base import Residuals, Scene, Structure, Term
from fitting.types import Embedding, Parameters

PATCH = 1e-4  # square metres of skin that count as one residual, however fine the mesh


@dataclass(frozen=True)
class Contacts:
    """What is buried in all frames of a scene, in a row, and the places on the skin that it is to go to: vertices, and
    bones' capsules."""

    row: Int[Tensor, " buried"]  # frame of all problems, end to end
    inside: Float[Tensor, "buried 3"]  # metres, in the world
    place: Float[Tensor, "buried 3"]
    inside_hangs: Float[Tensor, "buried joints"]  # how much of it turns with a joint
    place_hangs: Float[Tensor, "buried joints"]
    area: Float[Tensor, " buried"]  # square metres of skin that it stands for

    @property
    def out(self) -> Float[Tensor, "buried 3"]:
        """Unit vectors from where things are to where they should be."""
        return torch.nn.functional.normalize((self.place - self.inside).detach(), dim=-1)

    def laid_out(self, frames: tuple[int, ...], values: Float[Tensor, "buried _"]) -> Float[Tensor, "p f items _"]:
        """By problem and frame, 0 where a frame has fewer than another."""
        order = self.row.argsort(stable=True)
        count = torch.bincount(self.row, minlength=frames[0] * frames[1])
        item = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count).repeat_interleave(count)
        flat = values.new_zeros(len(count), max(int(count.max()), 1), values.shape[1])
        return flat.index_put((self.row[order], item), values[order]).unflatten(0, frames)

    def __add__(self, other: Contacts) -> Contacts:
        return Contacts(*(torch.cat([getattr(each, f.name) for each in (self, other)]) for f in fields(self)))


class Interpenetration(Term):
    """No part of the body lies inside another; sigma in metres of depth, for every square centimetre of skin.

    A vertex inside another part (found without gradient) is as deep as the way to the nearest place on that part's
    skin. By the envelope theorem the depth's slope is that of the distance with the place held on its triangle.
    Where limbs are in each other to the middle, vertices push to both sides; there the capsules of their bones push
    too, to one. SMPLify-X (Pavlakos et al., 2019) has the cone field of Ballan et al., 2012, instead, which knows
    crossing triangles alone and lets go of what is buried whole.
    """

    structure: ClassVar[Structure] = "surface"
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.0025
    bones: float = Field(
        default=0.015, gt=0, description="the same as sigma, for bones with flesh round them that go through each other"
    )
    ignore: tuple[str, ...] = Field(
        default=("spine2,left_shoulder", "spine2,right_shoulder"),
        description="pairs of parts that may touch, 'a,b' by joint name or number, beside those within two bones",
    )
    near: float = Field(
        default=0.1,
        ge=0,
        description="metres on the body at rest within which two places may touch: eyes, mouth, palms",
    )
    segmentation: Path | None = Field(
        default=None, description="smplx_parts_segm.pkl; without it parts come from the skinning weights"
    )

    def residuals(self, scene: Scene) -> Residuals | None:
        if int(scene.body.surface.apart.max()) <= JOINED:  # a head: everything hangs together
            return None
        found = self.contacts(scene)
        frames = tuple(scene.evidence.seen.shape)
        depth = ((found.place - found.inside) * found.out).sum(dim=-1, keepdim=True)
        share = (found.area[:, None] / PATCH).sqrt()
        return Residuals(found.laid_out(frames, depth), found.laid_out(frames, share.to(depth))[..., 0])

    def step_rows(self, scene: Scene) -> dict[str, Float[Tensor, "problems frames rows steps"]]:
        """Every vertex as if it were fixed to the joints that carry it: exact but for where joints blend."""
        found, surface, posed = self.contacts(scene), scene.body.surface, scene.posed
        joints, rotations = posed.joints.flatten(0, 1)[found.row], posed.rotations.flatten(0, 1)
        above = torch.cat([rotations, torch.eye(3).to(rotations).expand(len(rotations), 1, 3, 3)], dim=1)
        above = above[:, list(surface.parents)][found.row]  # -1, of the root: the world's axes

        def lever(point: Tensor, mass: Tensor) -> Tensor:
            arm = (point[:, None] - joints) * mass[..., None]
            return torch.linalg.cross(arm, found.out[:, None].expand_as(arm))

        turn = lever(found.place, found.place_hangs) - lever(found.inside, found.inside_hangs)
        steps = (turn[:, :, None] @ above)[:, :, 0]  # buried, joints, 3
        frames = tuple(scene.evidence.seen.shape)
        return {n: found.laid_out(frames, steps[:, span].flatten(1)) for n, span in surface.turned_by.items()}

    def contacts(self, scene: Scene) -> Contacts:
        """Found once a scene, frame by frame; differentiable where gradients are wanted."""
        key = "contacts" + ("" if torch.is_grad_enabled() else " without gradient")
        if key not in scene.kept:
            scene.kept[key] = self.find(scene)
        return scene.kept[key]

    def find(self, scene: Scene) -> Contacts:
        mask = self.mask(scene)
        with torch.no_grad():
            posed = scene.body.mesh.pose(scene.parameters.apart(scene.evidence.seen.numel()))
            skins, joints = posed.points[:, 0], posed.joints[:, 0]
            buried = [find_buried(points, mask) for points in skins]
            touching = [k for k, found in enumerate(buried) if len(found.vertex)]
            crossed = {k: find_crossed(joints[k], mask) for k in touching}
        found = self.skin_contacts(scene, buried, mask)
        return found + self.bone_contacts(scene, crossed) if crossed else found

    def skin_contacts(self, scene: Scene, buried: Sequence[Buried], mask: Mask) -> Contacts:
        surface = mask.surface
        count = torch.tensor([len(found.vertex) for found in buried], device=mask.parts.device)
        row = torch.arange(len(buried), device=count.device).repeat_interleave(count)
        vertex = torch.cat([found.vertex for found in buried])
        corners = surface.faces[torch.cat([found.face for found in buried])]
        weights = torch.cat([found.weights for found in buried])[..., None]
        inside, *around = places_of(scene, row, torch.cat([vertex[:, None], corners], dim=1)).unbind(dim=1)
        place = (torch.stack(around, dim=1) * weights).sum(dim=1)
        carried = (surface.hanging[corners] * weights.to(surface.hanging)).sum(dim=1)
        return Contacts(row, inside, place, surface.hanging[vertex], carried, surface.areas[vertex])

    def bone_contacts(self, scene: Scene, crossed: Mapping[int, Crossed]) -> Contacts:
        """`crossed` by row. A capsule's skin has its bone's place on it, and the area of two that cross at a right
        angle; other than the vertices' it counts by `bones`."""
        surface, joints = scene.body.surface, scene.posed.joints.flatten(0, 1)
        count = torch.tensor([len(found.first) for found in crossed.values()], device=surface.faces.device)
        row = torch.tensor(list(crossed), device=count.device).repeat_interleave(count)
        every = Crossed(*(torch.cat([getattr(c, f.name) for c in crossed.values()]) for f in fields(Crossed)))
        parents = torch.as_tensor(surface.parents, device=row.device)

        def on_bone(end: Tensor, share: Tensor) -> Tensor:
            start = joints[row, parents[end]]
            return start + share[:, None] * (joints[row, end] - start)

        p, q = on_bone(every.first, every.along_first), on_bone(every.second, every.along_second)
        out = torch.nn.functional.normalize((p - q).detach(), dim=-1)
        hanging = hanging_on(surface).to(joints)
        return Contacts(
            row,
            p - every.radius_first[:, None] * out,
            q + every.radius_second[:, None] * out,
            hanging[parents[every.first]],
            hanging[parents[every.second]],
            4 * every.radius_first * every.radius_second * (self.sigma / self.bones) ** 2,
        )

    def mask(self, scene: Scene) -> Mask:
        surface = scene.body.surface
        if self.segmentation is not None:
            surface = with_parts(surface, read_parts(self.segmentation, len(surface.faces)).to(surface.faces))
        return make_mask(surface, self.ignore, self.near)


def places_of(
    scene: Scene, row: Int[Tensor, " buried"], vertices: Int[Tensor, "buried some"]
) -> Float[Tensor, "buried some 3"]:
    """Where vertices are in their rows of all frames: few bodies are posed for them, and few of their vertices."""
    if len(row) == 0:
        return scene.parameters["transl"].new_zeros(*vertices.shape, 3)
    rows, where = torch.unique(row, return_inverse=True)
    used, place = torch.unique(vertices, return_inverse=True)
    weights = torch.ones(len(used), 1, device=used.device)
    points = Embedding(scene.evidence.layout, torch.arange(len(used), device=used.device), used[:, None], weights)
    every = scene.parameters.apart(scene.evidence.seen.numel())
    some = Parameters({name: value[rows] for name, value in every.items()})
    return scene.body.mesh.restrict(points).pose(some).points[where[:, None], 0, place]
