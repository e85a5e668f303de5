"""meshes/<frame>/<person>.glb: the mesh in the world frame (y up, as in glTF), metres, in the model's colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from trimesh import Trimesh

from fitting.render import vertex_normals
from fitting.types import Body, Solution
from fitting.writers.atomic import write_bytes
from fitting.writers.facts import frames_with_body


def write(solution: Solution, folder: Path) -> list[Path]:
    """One file for every frame that has a body. Raises OutputError."""
    person = solution.observations.person
    return [
        write_bytes(folder / "meshes" / frame / f"{person}.glb", glb_bytes(solution.body, solution.vertices(k)))
        for k, frame in frames_with_body(solution)
    ]


def glb_bytes(
    body: Body, vertices: Float[np.ndarray, "vertices 3"], texture: UInt8[np.ndarray, "size size 3"] | None = None
) -> bytes:
    """glTF 2.0, binary: with a texture where one is given, else with the model's colours at the vertices."""
    from PIL import Image
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    faces = np.asarray(body.faces)
    normals = vertex_normals(vertices, faces)  # without them viewers show every triangle
    if texture is None or body.uv is None or body.uv_faces is None:
        colours = (
            None if body.colours is None else np.clip(255 * np.asarray(body.colours) + 0.5, 0, 255).astype(np.uint8)
        )
        return packed(Trimesh(vertices, faces, vertex_normals=normals, vertex_colors=colours, process=False))
    # glTF has one index for place and texture coordinates: a vertex on a seam is there once per side.
    pairs = np.stack([faces.ravel(), np.asarray(body.uv_faces).ravel()], axis=-1)
    both, index = np.unique(pairs, axis=0, return_inverse=True)
    material = PBRMaterial(baseColorTexture=Image.fromarray(texture), metallicFactor=0.0, roughnessFactor=1.0)
    visual = TextureVisuals(uv=np.asarray(body.uv)[both[:, 1]], material=material)
    corners = index.reshape(-1, 3)
    mesh = Trimesh(vertices[both[:, 0]], corners, vertex_normals=normals[both[:, 0]], visual=visual, process=False)
    return packed(mesh)


def packed(mesh: Trimesh) -> bytes:
    content = mesh.export(file_type="glb", include_normals=True)
    assert isinstance(content, bytes)
    return content
