"""Codes of one FLAME as codes of another: the target's basis fitted to the source's mesh, vertex by vertex.

Both have the same triangles, so vertex k is the same place of the head. Identity is one linear least-squares problem at
rest, for the clip's mean shape. Expression, jaw and the rigid motion follow frame by frame from the posed mesh by
Gauss-Newton with the bodies' closed-form Jacobians; neck and eyes are taken over. A weak prior keeps coefficients that
the mesh does not determine near zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.track import Track, parameters_of
from fitting.types import Body, Codes, Embedding, InputError, Layout, Parameters

SIGMA = 2e-4  # metres: a vertex that is so far off counts as much as a coefficient that is one deviation off
VERTICES = 1200  # that frames are fitted to; the error is measured on all
CHUNK = 32  # frames in memory together
STEPS = 4
MOVED = ("expression", "jaw_pose", "global_orient", "transl")
FITTED = ("betas", "expression", "jaw_pose")  # are found even where the source has none


@dataclass(frozen=True)
class Transfer:
    """Converted codes, and what of the source's mesh the target's basis cannot show."""

    track: Track
    mean_mm: float  # over frames and vertices of the face, or of the head where the body does not say which they are
    largest_mm: float


def transfer(track: Track, source: Body, target: Body) -> Transfer:
    """`track`, settled and decoded by `source`, as codes of `target`. Raises InputError for different triangles."""
    check_topology(source, target)
    source, target = source.to(torch.zeros(0).double()), target.to(torch.zeros(0).double())
    betas = fit_identity(track, source, target)
    region = np.arange(int(np.max(source.faces)) + 1)
    if source.face_region is not None:
        region = np.asarray(source.face_region)
    elif target.face_region is not None:
        region = np.asarray(target.face_region)
    chosen = torch.as_tensor(region[:: max(1, len(region) // VERTICES)])
    some = restricted(target, chosen)
    parts, errors = [], []
    for first in range(0, len(track), CHUNK):
        rows = slice(first, min(first + CHUNK, len(track)))
        with torch.no_grad():
            mesh = source.pose(parameters_of(source, track, rows)).points[:, 0]
            found = fit_frames(some, start_of(target, track, rows, betas), mesh[:, chosen])
            error = (target.pose(found).points[:, 0] - mesh).norm(dim=-1)[:, torch.as_tensor(region)]
        errors.append(error[torch.as_tensor(track.valid[rows])].flatten())
        parts.append(found.rows())
    known = {*track.values, *FITTED}  # where the head is stays unknown where it was
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in known}
    error = 1000 * torch.cat(errors)
    codes = Codes(values, target.name, track.valid, track.codes.K)
    note = (
        f"converted from {track.codes.model} to {target.name}: vertices are {float(error.mean()):.2f} mm off on "
        f"average, {float(error.max()):.2f} mm at most"
    )
    moved = replace(track, codes=codes, notes=(*track.notes, note))
    return Transfer(moved, float(error.mean()), float(error.max()))


def check_convertible(source: str, target: str) -> None:
    """Raises InputError for names of models of whole people: their shapes are bases of different meshes."""
    people = [name for name in (source, target) if name.startswith(("smpl", "open_body"))]
    if people and source != target:
        raise InputError(
            f"codes of {source} are not converted to {target}: keyfit converts between versions of FLAME only. Poses "
            f"mean the same in all bodies: fit {target} to keypoints with --start and --codes.pose_only true, which "
            "finds its shape"
        )


def check_topology(source: Body, target: Body) -> None:
    check_convertible(source.name, target.name)
    if not np.array_equal(source.faces, target.faces):
        raise InputError(
            f"{source.name} has {len(source.faces)} triangles, {target.name} {len(target.faces)} or others: codes are "
            "converted only between models of the same triangles, as all FLAME versions are"
        )


def fit_identity(track: Track, source: Body, target: Body) -> Float[Tensor, " betas"]:
    """The target's shape coefficients for the clip's mean shape, both at rest; a shift of the whole is left out."""
    mean = {
        name: rows[track.valid].mean(axis=0, keepdims=True) for name, rows in track.values.items() if name == "betas"
    }
    rest = track_of_one(mean)
    with torch.no_grad():
        mesh = source.pose(parameters_of(source, rest, slice(0, 1))).points[0, 0]
        neutral = target.neutral(1, 1)
        base = target.pose(neutral)
        rows = torch.eye(3).double().expand(1, 1, len(mesh), 3, 3)
        J = target.differentiate(neutral, base, rows, ("betas",))["betas"][0, 0].flatten(0, 1)
        shift = torch.eye(3).double().repeat(len(mesh), 1)
        A = torch.cat([J, shift], dim=1) / SIGMA
        b = (mesh - base.points[0, 0]).flatten() / SIGMA
        prior = torch.diag(torch.cat([torch.ones(J.shape[1]), torch.zeros(3)]).double())
        return torch.linalg.solve(A.mT @ A + prior, A.mT @ b)[: J.shape[1]]


def restricted(body: Body, vertices: Int[Tensor, " points"]) -> Body:
    """The body with nothing but some of its vertices."""
    names = tuple(map(str, vertices.tolist()))
    layout = Layout("vertices", names, (), {}, ((0,), (0,)))
    weights = torch.tensor([1.0, 0.0, 0.0]).expand(len(names), 3)
    return body.restrict(Embedding(layout, torch.arange(len(names)), vertices[:, None].expand(-1, 3), weights))


def fit_frames(body: Body, start: Parameters, mesh: Float[Tensor, "frames vertices 3"]) -> Parameters:
    """Gauss-Newton on posed vertices, every frame a problem of its own."""
    names = tuple(name for name in MOVED if name in {block.name for block in body.blocks})
    parameters = start
    functional = torch.eye(3, dtype=mesh.dtype).expand(len(mesh), 1, mesh.shape[1], 3, 3)
    for _ in range(STEPS):
        posed = body.pose(parameters)
        J = body.differentiate(parameters, posed, functional, names)
        columns = torch.cat([J[name][:, 0].flatten(1, 2) for name in names], dim=2) / SIGMA
        residual = (mesh - posed.points[:, 0]).flatten(1) / SIGMA
        sizes = [J[name].shape[-1] for name in names]
        weight = torch.cat(
            [torch.full((n,), float(name == "expression")) for name, n in zip(names, sizes, strict=True)]
        )
        now = torch.cat([parameters["expression"][:, 0] if n == "expression" else torch.zeros(len(mesh), size)
                         for n, size in zip(names, sizes, strict=True)], dim=1).to(mesh)  # fmt: skip
        normal = columns.mT @ columns + torch.diag(weight.to(mesh)) + 1e-9 * torch.eye(len(weight)).to(mesh)
        right = (columns.mT @ residual[..., None])[..., 0] - weight.to(mesh) * now
        step = torch.linalg.solve(normal, right).split(sizes, dim=1)
        parameters = parameters.replace({n: stepped(parameters[n], s) for n, s in zip(names, step, strict=True)})
    return parameters


def stepped(value: Tensor, step: Float[Tensor, "frames _"]) -> Tensor:
    """Vectors by addition, rotations from the left."""
    if value.ndim == 3:
        return value + step[:, None]
    return roma.rotvec_to_rotmat(step.unflatten(1, (-1, 3)))[:, None] @ value


def start_of(target: Body, track: Track, rows: slice, betas: Tensor) -> Parameters:
    """The source's pose, the fitted identity, no expression."""
    posed = track.with_values({"betas": None, "expression": None})
    found = parameters_of(target, posed, rows)
    count = len(found["transl"])
    return found.replace({"betas": betas.expand(count, 1, -1).clone()})


def track_of_one(values: dict[str, np.ndarray]) -> Track:
    return Track(Codes(values, "", np.ones(1, dtype=bool)), ("0",), "")
