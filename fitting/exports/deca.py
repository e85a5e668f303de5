"""DECA's set, one folder per frame: <name>.obj, _kpt2d.txt, _kpt3d.txt, _depth.jpg, .mat, and _codes.npz, which DECA's
own demo leaves out.

Landmarks are in the crop's -1..1 with y down: (68, 2); and (68, 4) with z and whether the point can be seen. The mesh
is FLAME's, turned but not moved. `verts`, `trans_verts`, `landmarks2d`, `landmarks3d`, `landmarks3d_world` and `faces`
are in the .mat. The crop is that of the source, or what DECA would cut out round the 68 landmarks; weak perspective
follows from the pinhole camera in the plane of the landmarks.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float, Int

from fitting.exports.decoded import landmarks, meshes, to_pixels
from fitting.exports.target import Export, Target, cameras, require_body
from fitting.render import vertex_normals
from fitting.render.raycast import build_scene, cast
from fitting.track import Track, sized
from fitting.types import Body, OutputError
from fitting.writers.atomic import write_bytes, write_text
from fitting.writers.mesh_obj import format_faces, format_vertices
from fitting.writers.npz import write_npz

SHAPES, EXPRESSIONS = 100, 50
CROP = 224
BOX_TO_CROP = 1.1 * 1.25
LAYOUT = "ibug68"
FACING = 0.1  # a normal's z in DECA's axes, below which a landmark counts as seen


def write(track: Track, target: Target) -> list[Path]:
    """Frames that have codes; others have no folder. Raises OutputError for a body without 68 landmarks."""
    body = require_body(target, "deca")
    if LAYOUT not in body.embeddings:
        raise OutputError(f"deca: {body.name} has no 68 landmarks: put landmark_embedding.npy beside its file")
    posed = track.with_values({"transl": None})
    points = landmarks(body, posed, LAYOUT)
    crops, views = crops_and_cameras(track, body, points)
    tail = format_faces(body)
    written: list[Path] = []
    for k, mesh in enumerate(meshes(body, posed)):
        if track.valid[k]:
            seen = Seen(mesh, points[k], views[k])
            base = target.folder / track.names[k] / track.names[k]
            written += write_frame(base, seen, body, tail)
            written.append(write_npz(base.with_name(f"{base.name}_codes.npz"), codes_of(track, k, views[k], crops[k])))
    return written


class Seen:
    """A mesh and its landmarks under DECA's orthographic camera: s (X + t), then y and z turned over."""

    def __init__(self, mesh: np.ndarray, points: np.ndarray, view: np.ndarray) -> None:
        self.mesh, self.points = mesh, points
        self.trans_verts = orthographic(mesh, view)
        self.landmarks = orthographic(points, view)


def orthographic(points: Float[np.ndarray, "points 3"], view: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "points 3"]:
    s, tx, ty = view
    return s * (points + [tx, ty, 0]) * [1, -1, -1]


def crops_and_cameras(
    track: Track, body: Body, points: Float[np.ndarray, "frames points 3"]
) -> tuple[Float[np.ndarray, "frames 3"], Float[np.ndarray, "frames 3"]]:
    """Squares [middle x, y, side] in the full image and [s, tx, ty] in them. The source's own where it has both."""
    if track.crops is not None and "cam" in track.extras:
        return track.crops, track.extras["cam"]
    K, place = cameras(track), track.values["transl"]
    depth = -place[:, 2] - np.nanmean(points[..., 2], axis=1)
    sigma = K[:, 0, 0] / depth
    origin = np.stack([K[:, 0, 2] + sigma * place[:, 0], K[:, 1, 2] - sigma * place[:, 1]], axis=1)
    crops = track.crops
    if crops is None:
        pixels = to_pixels(points + place[:, None], K)
        low, high = np.nanmin(pixels, axis=1), np.nanmax(pixels, axis=1)
        side = ((high - low).mean(axis=1) * BOX_TO_CROP).astype(int)
        crops = np.concatenate([(low + high) / 2, side[:, None]], axis=1)
    half = CROP / 2 * crops[:, 2] / (CROP - 1)
    corner = crops[:, :2] - crops[:, 2:] / 2
    shift = (origin - corner - half[:, None]) / sigma[:, None] * [1, -1]
    return crops, np.concatenate([(sigma / half)[:, None], shift], axis=1)


def write_frame(base: Path, seen: Seen, body: Body, tail: str) -> list[Path]:
    faces = np.asarray(body.faces)
    normals = vertex_normals(seen.trans_verts, faces)
    visible = landmark_normals(body, normals)[:, 2] < FACING
    kpt3d = np.concatenate([np.nan_to_num(seen.landmarks), visible[:, None]], axis=1)
    content = {
        "verts": seen.mesh[None],
        "trans_verts": seen.trans_verts[None],
        "landmarks2d": np.nan_to_num(seen.landmarks[None, :, :2]),
        "landmarks3d": np.nan_to_num(seen.landmarks[None]),
        "landmarks3d_world": np.nan_to_num(seen.points[None]),
        "faces": faces[None],
    }
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content)
    return [
        write_text(base.with_name(f"{base.name}.obj"), format_vertices(seen.mesh) + tail),
        write_text(base.with_name(f"{base.name}_kpt2d.txt"), table(kpt3d[:, :2])),
        write_text(base.with_name(f"{base.name}_kpt3d.txt"), table(kpt3d)),
        write_bytes(base.with_name(f"{base.name}.mat"), buffer.getvalue()),
        write_bytes(base.with_name(f"{base.name}_depth.jpg"), depth_jpg(seen.trans_verts, faces)),
    ]


def landmark_normals(body: Body, normals: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "points 3"]:
    """Of the layout's points; those of the contour take the row of a frontal head."""
    embedding = body.embeddings[LAYOUT]
    found = np.zeros((len(embedding.layout), 3))
    parts = [(embedding.points, embedding.vertices, embedding.weights)]
    if embedding.contour is not None:
        row = int(embedding.contour.yaw.abs().argmin())
        parts.append((embedding.contour.points, embedding.contour.vertices[row], embedding.contour.weights[row]))
    for points, vertices, weights in parts:
        corners = normals[vertices.cpu().numpy()]
        found[points.cpu().numpy()] = np.einsum("pc,pcd->pd", weights.double().cpu().numpy(), corners)
    return found


def depth_jpg(vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "triangles 3"]) -> bytes:
    """Parallel rays through the crop's pixels; the nearest point white, the farthest black, nothing black."""
    from PIL import Image

    ndc = (np.arange(CROP) - (CROP - 1) / 2) / (CROP / 2)
    x, y = np.meshgrid(ndc, ndc)
    nearest = float(vertices[:, 2].min()) - 1
    origins = np.stack([x.ravel(), y.ravel(), np.full(x.size, nearest)], axis=1)
    triangle, _, distance = cast(build_scene(vertices, faces), origins, np.tile([0.0, 0.0, 1.0], (x.size, 1)))
    z = vertices[:, 2]
    shade = (z.max() - (nearest + np.where(triangle >= 0, distance, 0))) / max(float(np.ptp(z)), 1e-9)
    grey = np.where(triangle >= 0, np.clip(shade, 0, 1) * 255, 0).round().astype(np.uint8).reshape(CROP, CROP)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def table(rows: Float[np.ndarray, "rows columns"]) -> str:
    return "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in rows.tolist())


def codes_of(track: Track, k: int, view: np.ndarray, crop: np.ndarray) -> dict[str, np.ndarray]:
    """What DECA's encoder gives, (1, D), and the crop's `tform`."""
    pose = np.concatenate([track.values["global_orient"][k], track.values["jaw_pose"][k]])
    scale = (CROP - 1) / crop[2]
    corner = crop[:2] - crop[2] / 2
    found = {
        "shape": sized(track.values["betas"][k : k + 1], SHAPES),
        "exp": sized(track.values["expression"][k : k + 1], EXPRESSIONS),
        "pose": pose[None],
        "cam": view[None],
        **{name: track.extras[name][k : k + 1] for name in ("tex", "light") if name in track.extras},
        "tform": np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1]])[None],
    }
    return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}


EXPORT = Export(
    write,
    models=("flame2020",),
    needs=("betas", "expression", "global_orient", "jaw_pose", "transl"),
    needs_body=True,
    needs_camera=True,
)
