"""The same pictures from pytorch3d's rasteriser, where it is installed: worth it on a GPU only.

pytorch3d has no wheel on the package index; 512 x 512 pixels of 20 000 triangles take 11 s on a CPU and rays 0.04 s.
Ambient light still comes from rays (`Mesh.openness`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from fitting.render.mesh import Camera, Mesh
from fitting.render.raycast import Hits, Window, pixels_to_rays
from fitting.render.shade import Layer, surface_colours
from fitting.types import DependencyError

FINER = 3
"""Samples along a pixel's side for a smooth outline."""


@dataclass(frozen=True)
class Rasteriser:
    """Triangles drawn one by one. Raises DependencyError without pytorch3d."""

    device: str = "cuda"

    def hits(self, mesh: Mesh, camera: Camera) -> Hits:
        # ndc: x to the left, y up, the shorter side from -1 to 1, pixel centres at half steps.
        try:
            from pytorch3d.renderer.mesh import rasterize_meshes
            from pytorch3d.structures import Meshes
        except ImportError as error:
            raise DependencyError(
                "renderer pytorch3d: the library is not installed: build it (github.com/facebookresearch/pytorch3d), "
                "or choose render.renderer: rays"
            ) from error
        width, height = camera.size
        vertices = torch.as_tensor(to_ndc(mesh, camera), dtype=torch.float32, device=self.device)
        faces = torch.as_tensor(np.asarray(mesh.faces), dtype=torch.int64, device=self.device)
        triangle, depth, barycentrics, _ = rasterize_meshes(
            Meshes([vertices], [faces]), (height, width), faces_per_pixel=1, perspective_correct=True
        )
        found = triangle[0, :, :, 0].cpu().numpy()
        seen = found >= 0
        weights = np.where(seen[..., None], barycentrics[0, :, :, 0].cpu().numpy(), 0).astype(np.float32)
        return Hits(found, weights, np.where(seen, depth[0, :, :, 0].cpu().numpy(), np.inf).astype(np.float32))

    def layer(self, mesh: Mesh, camera: Camera) -> Layer:
        width, height = camera.size
        K = np.array(camera.K, dtype=np.float64)
        K[:2, :2] *= FINER
        K[:2, 2] = FINER * (K[:2, 2] + 0.5) - 0.5  # corners are scaled, not centres
        finer = Camera(K, (FINER * width, FINER * height), camera.rotation, camera.translation)
        found = self.hits(mesh, finer)
        rays = pixels_to_rays(Window(0, 0, *finer.size).pixels(), K)
        rgba = surface_colours(mesh, finer, rays, (found.triangle.ravel(), found.barycentrics.reshape(-1, 3)))
        return Layer(Window(0, 0, width, height), rgba.reshape(height, FINER, width, FINER, 4).mean(axis=(1, 3)))


def to_ndc(mesh: Mesh, camera: Camera) -> Float[np.ndarray, "vertices 3"]:
    """Normalised device coordinates as `rasterize_meshes` takes them, and metres along the optical axis."""
    width, height = camera.size
    placed = camera.to_camera(mesh.vertices)
    pixels = placed @ np.asarray(camera.K).T
    pixels = pixels[:, :2] / np.where(np.abs(placed[:, 2:]) < 1e-9, 1e-9, placed[:, 2:])
    half = min(width, height) / 2
    return np.stack(
        [(width / 2 - 0.5 - pixels[:, 0]) / half, (height / 2 - 0.5 - pixels[:, 1]) / half, placed[:, 2]], axis=-1
    )
