"""No part of a body inside another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fitting.contact import JOINED, Mask, find_buried, make_mask, read_parts, with_parts
from fitting.terms.base import Residuals, Scene, Structure, Term
from fitting.types import Parameters

PATCH = 1e-4  # square metres of skin that count as one residual, however fine the mesh


@dataclass(frozen=True)
class Contacts:
    """Buried vertices of all frames of a scene in a row, and the places on the skin that they are to go to."""

    row: Int[Tensor, " buried"]  # frame of all problems, end to end
    item: Int[Tensor, " buried"]  # which of its frame's
    vertex: Int[Tensor, " buried"]
    corners: Int[Tensor, "buried 3"]
    weights: Float[Tensor, "buried 3"]
    inside: Float[Tensor, "buried 3"]  # metres, in the world
    place: Float[Tensor, "buried 3"]

    @property
    def out(self) -> Float[Tensor, "buried 3"]:
        """Unit vectors from where the vertices are to where they should be."""
        return torch.nn.functional.normalize((self.place - self.inside).detach(), dim=-1)

    def laid_out(self, frames: tuple[int, ...], values: Float[Tensor, "buried _"]) -> Float[Tensor, "p f items _"]:
        """By problem and frame, 0 where a frame has fewer than another."""
        items = int(self.item.max()) + 1 if len(self.item) else 1
        flat = values.new_zeros(frames[0] * frames[1], items, values.shape[1])
        return flat.index_put((self.row, self.item), values).unflatten(0, frames)


class Interpenetration(Term):
    """No part of the body lies inside another; sigma in metres of depth, for every square centimetre of skin.

    A vertex inside another part (found without gradient) is as deep as the way to the nearest place on that part's
    skin. By the envelope theorem the depth's slope is that of the distance with the place held on its triangle.
    SMPLify-X (Pavlakos et al., 2019) has the cone field of Ballan et al., 2012, instead, which knows crossing triangles
    alone and lets go of what is buried whole.
    """

    structure: ClassVar[Structure] = "surface"
    in_error_bars: ClassVar[bool] = False
    sigma: float = 0.005
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
        share = (scene.body.surface.areas[found.vertex, None] / PATCH).sqrt()
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

        carried = (surface.hanging[found.corners] * found.weights[..., None]).sum(dim=1)
        turn = lever(found.place, carried) - lever(found.inside, surface.hanging[found.vertex])
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
        mesh, mask = scene.body.mesh, self.mask(scene)
        parameters = scene.parameters.apart(scene.evidence.seen.numel())
        with torch.no_grad():
            found = [find_buried(points, mask) for points in mesh.pose(parameters).points[:, 0]]
        rows = [k for k, buried in enumerate(found) if len(buried.vertex)]
        some = Parameters({name: value[rows] for name, value in parameters.items()})
        device = mask.parts.device
        count = torch.tensor([len(buried.vertex) for buried in found], device=device)
        local = torch.arange(len(rows), device=device).repeat_interleave(count[rows])
        item = torch.cat([torch.arange(int(n), device=device) for n in count])
        vertex = torch.cat([buried.vertex for buried in found])
        corners = mask.surface.faces[torch.cat([buried.face for buried in found])]
        weights = torch.cat([buried.weights for buried in found])
        points = mesh.pose(some).points[:, 0] if rows else weights.new_zeros(0, 1, 3)
        place = (points[local[:, None], corners] * weights[..., None]).sum(dim=1)
        row = torch.tensor(rows, dtype=torch.long, device=device)[local]
        return Contacts(row, item, vertex, corners, weights, points[local, vertex], place)

    def mask(self, scene: Scene) -> Mask:
        surface = scene.body.surface
        if self.segmentation is not None:
            surface = with_parts(surface, read_parts(self.segmentation, len(surface.faces)).to(surface.faces))
        return make_mask(surface, self.ignore, self.near)
