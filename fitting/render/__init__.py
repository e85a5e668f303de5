"""Pictures of meshes without OpenGL or a display: rays (embreex), soft light, overlays for people to look at.

Imports nothing of its siblings; writers and detectors may import it.
"""

from fitting.render.crop import BACKGROUND, Crop, crop_round
from fitting.render.maps import depth_map, mask_map, normal_map, vertex_normals
from fitting.render.mesh import Camera, Mesh, join
from fitting.render.overlay import Look, Subject, overlay, to_bytes
from fitting.render.raycast import NEAREST, Hits, raycast
from fitting.render.shade import Layer, Lights, composite, shade, shade_layer
from fitting.render.view import RAYS, Rays, Renderer, View, visible_vertices

__all__ = [
    "BACKGROUND",
    "Camera",
    "Crop",
    "Hits",
    "Layer",
    "Lights",
    "Look",
    "Mesh",
    "NEAREST",
    "RAYS",
    "Rays",
    "Renderer",
    "Subject",
    "View",
    "composite",
    "crop_round",
    "depth_map",
    "join",
    "mask_map",
    "normal_map",
    "overlay",
    "raycast",
    "shade",
    "shade_layer",
    "to_bytes",
    "vertex_normals",
    "visible_vertices",
]
