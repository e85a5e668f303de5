"""The open body: what its file promises, its symmetry, its keypoints, and that restricting it changes nothing."""

import numpy as np
import pytest
import roma
import torch
from made_smpl import JOINTS, open_arrays

from fitting import bodies, places
from fitting.bodies.contour import contour_pick
from fitting.bodies.smpl_files import read_smpl
from fitting.bodies.smpl_points import smpl_table
from fitting.layouts import IBUG68, LAYOUTS, MEDIAPIPE478
from fitting.types import Layout, ModelError, Parameters

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def body():
    return bodies.load("open_body", flat_hand_mean=True)


def random_pose(body, seed: int = 0, size: float = 0.3) -> Parameters:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for block in body.blocks:
        if block.kind == "rotation":
            found[block.name] = roma.rotvec_to_rotmat(size * torch.randn(1, 1, block.size, 3, generator=generator))
        else:
            found[block.name] = size * torch.randn(1, 1, block.size, generator=generator)
    return Parameters(found)


# ------------------------------------------------------------------ the file


def test_file_is_small_and_complete(body):
    assert (places.models() / "open_body.npz").stat().st_size <= 8_000_000
    assert {block.name: block.size for block in body.blocks} == {
        "betas": 100, "expression": 76, "global_orient": 1, "body_pose": 21, "jaw_pose": 1, "leye_pose": 1,
        "reye_pose": 1, "left_hand_pose": 15, "right_hand_pose": 15, "transl": 3,
    }  # fmt: skip
    assert body.joint_names == JOINTS["smplx"] and body.name == "open_body"
    assert body.expression_names[0] == "browDownLeft" and body.colours is not None


def test_smplx_loads_the_file_as_it_is_and_agrees(body):
    smplx = pytest.importorskip("smplx", reason="smplx, a test-only extra, is not installed")
    model = smplx.SMPLX(
        str(places.models() / "open_body.npz"), num_betas=100, num_expression_coeffs=76, use_pca=False,
        flat_hand_mean=True, use_face_contour=False, ext="npz",
    )  # fmt: skip
    parameters = random_pose(body)
    rows = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in parameters.rows().items()}
    with torch.no_grad():
        theirs = model(**rows)
    ours = body.pose(parameters)
    torch.testing.assert_close(ours.points[0], theirs.vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.joints[0], theirs.joints[:, :55], atol=1e-5, rtol=0)


def test_rests_in_the_t_pose_of_smplx(body):
    joints = dict(zip(body.joint_names, body.pose(body.neutral(1, 1)).joints[0, 0].numpy(), strict=True))
    np.testing.assert_allclose(joints["pelvis"], 0, atol=1e-6)
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow, wrist, hip, ankle, knuckle = (
            joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hip", "ankle", "middle1")
        )
        for first, second in ((shoulder, elbow), (elbow, wrist), (wrist, knuckle)):
            bone = (second - first) / np.linalg.norm(second - first)
            np.testing.assert_allclose(bone, [sign, 0, 0], atol=1e-3)
        leg = (ankle - hip) / np.linalg.norm(ankle - hip)
        np.testing.assert_allclose(leg, [0, -1, 0], atol=1e-3)
    vertices = body.pose(body.neutral(1, 1)).points[0, 0].numpy()
    assert 1.6 < np.ptp(vertices[:, 1]) < 1.8
    assert vertices[:, 2].argmax() == vertices[vertices[:, 1] < -0.8, 2].argmax() or joints["left_foot"][2] > 0


@pytest.mark.parametrize("joint, axis, towards", [
    ("left_elbow", [0, -1, 0], ("left_wrist", 2)), ("right_elbow", [0, 1, 0], ("right_wrist", 2)),
    ("left_middle1", [0, 0, -1], ("left_middle3", -1)), ("right_middle1", [0, 0, 1], ("right_middle3", -1)),
    ("left_knee", [1, 0, 0], ("left_ankle", -2)), ("jaw", [1, 0, 0], None),
])  # fmt: skip
def test_joints_bend_as_smplx_does(body, joint, axis, towards):
    """The same axis-angle bends the same way: elbows forwards, fingers into the palm, knees backwards, jaw open."""
    block = next(b for b in body.rotation_blocks if joint in _joints_of(body, b))
    value = body.neutral(1, 1)[block].clone()
    turn = roma.rotvec_to_rotmat(torch.tensor(axis, dtype=torch.float32))
    value[0, 0, _joints_of(body, block).index(joint)] = turn
    still, bent = (body.pose(p) for p in (body.neutral(1, 1), body.neutral(1, 1).replace({block: value})))
    if towards is None:
        chin = body.restrict(body.embedding_of(Layout("chin", ("lower_lip",), (), {}, ((), ()))))
        before, after = (
            chin.pose(p).points[0, 0, 0] for p in (body.neutral(1, 1), body.neutral(1, 1).replace({block: value}))
        )
        assert after[1] < before[1] - 0.01
        return
    name, direction = towards
    end = body.joint_names.index(name)
    moved = (bent.joints - still.joints)[0, 0, end]
    coordinate, sign = (abs(direction), np.sign(direction)) if abs(direction) == 2 else (1, -1)
    assert sign * moved[coordinate] > 0.01
    assert moved.abs().argmax() == coordinate or moved.norm() > 0.02


def _joints_of(body, block):
    spans = body.spans(body.rotation_blocks)
    return list(body.joint_names[spans[block]])


# ------------------------------------------------------------------ symmetry


def test_the_mean_body_is_its_own_mirror_image(body):
    arrays = open_arrays()
    mirror = arrays["mirror_vertices"]
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    template = arrays["v_template"]
    np.testing.assert_allclose(template[mirror] * MIRROR.numpy(), template, atol=2e-7)
    swap = [_other(name) for name in body.joint_names]
    joints = [body.joint_names.index(name) for name in swap]
    np.testing.assert_allclose(arrays["weights"][mirror][:, joints], arrays["weights"], atol=1e-6)
    shapes = arrays["shapedirs"][:, :, :100].astype(np.float32)
    flipped = shapes[mirror] * MIRROR.numpy()[:, None]
    for k in range(100):  # every direction is symmetric or antisymmetric
        off = min(np.abs(flipped[..., k] - shapes[..., k]).max(), np.abs(flipped[..., k] + shapes[..., k]).max())
        assert off < 5e-5


def _other(name: str) -> str:
    first, _, rest = name.partition("_")
    return {"left": "right", "right": "left"}.get(first, first) + ("_" + rest if rest else "")


@pytest.mark.parametrize("layout", ["wholebody133", "body25b", "mediapipe478", "mediapipe33"])
def test_a_mirrored_pose_has_mirrored_keypoints(body, layout):
    layout = next(one for one in LAYOUTS if one.name == layout)
    embedding = body.embedding_of(layout)
    fixed = body.restrict(embedding.at(torch.ones(len(embedding.points), dtype=torch.bool), None))
    parameters = random_pose(body, size=0.2)
    parameters = parameters.replace({name: parameters[name] * 0 for name in ("betas", "expression")})
    joints = [body.joint_names.index(_other(name)) for name in body.joint_names]
    local = torch.cat([parameters[name] for name in body.rotation_blocks], dim=2)[:, :, joints]
    flip = torch.diag(MIRROR)
    sizes = [block.size for block in body.blocks if block.kind == "rotation"]
    turned = dict(zip(body.rotation_blocks, (flip @ local @ flip).split(sizes, dim=2), strict=True))
    twin = parameters.replace({**turned, "transl": parameters["transl"] * MIRROR})
    index = {int(k): n for n, k in enumerate(embedding.points)}
    partner = dict(layout.pairs) | {right: left for left, right in layout.pairs}
    order = [index[partner.get(int(k), int(k))] for k in embedding.points]
    ours, theirs = fixed.pose(parameters).points[0, 0], fixed.pose(twin).points[0, 0]
    # MediaPipe's points of the open head are mirror images to a tenth of a millimetre.
    torch.testing.assert_close(theirs[order] * MIRROR, ours, atol=2e-4 if "478" in layout.name else 2e-6, rtol=0)


# ------------------------------------------------------------------ keypoints


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_sits_on_the_body_and_restricting_changes_nothing(body, layout):
    embedding = body.embedding_of(layout)
    known = set(embedding.points.tolist())
    known |= set() if embedding.contour is None else set(embedding.contour.points.tolist())
    assert known == set(range(len(layout)))
    parameters = random_pose(body, seed=1)
    whole, some = body.pose(parameters), body.restrict(embedding).pose(parameters)
    expected = (whole.points[0, 0, embedding.vertices] * embedding.weights[..., None]).sum(dim=1)
    if embedding.joints is not None:
        of_joint = embedding.joints >= 0
        expected[of_joint] = whole.joints[0, 0, embedding.joints[of_joint]]
    if embedding.contour is not None:
        contour = embedding.contour
        table = (whole.points[0, 0, contour.vertices] * contour.weights[..., None]).sum(dim=2)
        pick = contour_pick(contour, whole.rotations[:, :, body.head_joint])[0, 0]
        expected = torch.cat([expected, torch.einsum("r,rnd->nd", pick, table)])
    torch.testing.assert_close(some.points[0, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(some.joints, whole.joints)


def test_keypoints_are_where_their_names_say(body):
    everything = Layout("all", tuple(body.keypoints.points), (), {}, ((), ()))
    places_of = body.restrict(body.embedding_of(everything)).pose(body.neutral(1, 1)).points[0, 0].numpy()
    at = dict(zip(everything.point_names, places_of, strict=True))
    for name, place in at.items():
        if name.startswith(("left_", "right_")):
            assert (place[0] > 0) == name.startswith("left_"), name
    heights = ["head_top", "left_eye", "nose", "upper_neck", "neck", "mid_hip", "left_knee", "left_ankle", "left_heel"]
    assert all(at[a][1] > at[b][1] for a, b in zip(heights, heights[1:], strict=False))
    assert at["nose"][2] > at["left_eye"][2] > at["left_ear"][2]
    assert at["left_big_toe"][2] > at["left_ankle"][2] > at["left_heel"][2]
    assert at["left_small_toe"][0] > at["left_big_toe"][0]
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        lengths = [np.linalg.norm(at[f"left_{finger}_{k + 1}"] - at[f"left_{finger}_{k}"]) for k in (1, 2, 3)]
        assert all(0.012 < length < 0.06 for length in lengths), (finger, lengths)
    joints = dict(zip(body.joint_names, body.pose(body.neutral(1, 1)).joints[0, 0].numpy(), strict=True))
    for limb in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
        assert np.linalg.norm(at[f"left_{limb}"] - joints[f"left_{limb}"]) < 0.06


def test_the_face_is_the_open_heads(body):
    """The same landmarks on the same mesh: distances between them agree once both heads have one size."""
    head = bodies.load("open_head")
    for layout in (IBUG68, MEDIAPIPE478):
        rows = [one.restrict(one.embeddings[layout.name]).pose(one.neutral(1, 1)).points[0, 0] for one in (head, body)]
        first, second = (points - points.mean(dim=0) for points in rows)
        rotation, scale = roma.rigid_vectors_registration(first, second, compute_scaling=True)[0::1]
        difference = (scale * first @ rotation.mT - second).norm(dim=1)
        assert difference.mean() < 0.004 and difference.max() < 0.012  # two means of different samples of adults


def test_a_layout_of_unknown_points_is_not_there(body):
    assert body.embedding_of(Layout("tail", ("tail_tip",), (), {}, ((), ()))) is None
    half = body.embedding_of(Layout("half", ("tail_tip", "nose"), (), {}, ((1,), (0,))))
    assert half.points.tolist() == [1]
    assert np.isnan(body.yard_stick_of(half.layout))


def test_points_found_on_a_bare_mesh_are_near_the_bodys_own(body):
    """What licensed files, which have no table, get: here on the open body's mesh, whose own table is known."""
    arrays = read_smpl(places.models() / "open_body.npz")
    found = smpl_table(arrays, body.joint_names)
    vertices, joints = arrays.v_template, body.skeleton.template.numpy()

    def place(point):
        return (
            joints[point.joint] if point.joint >= 0 else (vertices[point.vertices] * point.weights[:, None]).sum(axis=0)
        )

    limits = {"nose": 0.02, "eye": 0.012, "ear": 0.03, "heel": 0.025, "big_toe": 0.02, "small_toe": 0.02,
              "head_top": 0.01, "neck": 0.08, "mid_hip": 0.08, "pupil": 0.005}  # fmt: skip
    for name, point in found.points.items():
        limit = limits.get(name.removeprefix("left_").removeprefix("right_"), 0.06 if "_4" not in name else 0.01)
        assert np.linalg.norm(place(point) - place(body.keypoints.points[name])) < limit, name


def test_a_damaged_table_is_refused(tmp_path):
    arrays = dict(open_arrays())
    for change in (
        {"keypoint_starts": arrays["keypoint_starts"][:-1]},
        {"keypoint_vertices": arrays["keypoint_vertices"] + 20_000},
    ):
        np.savez(tmp_path / "open_body.npz", **(arrays | change))
        with pytest.raises(ModelError, match="table of keypoints does not fit"):
            bodies.load("open_body", tmp_path)
    np.savez(tmp_path / "open_body.npz", **{k: v for k, v in arrays.items() if k != "keypoint_weights"})
    with pytest.raises(ModelError, match="has no keypoint_weights"):
        bodies.load("open_body", tmp_path)


# ------------------------------------------------------------------ what it can be


def test_hands_of_real_people_are_within_its_basis(shared, body):
    """The basis is written down, not learned: of hands that it has never seen it must explain the most."""
    poses = np.load(shared / "motion" / "smplx_poses_8x165.npy")
    mean, components = body.hands.mean[0].numpy(), body.hands.components[0].numpy()
    left = np.concatenate([poses[:, 75:120], poses[:, 120:165] * np.tile([1, -1, -1], 15)])
    for count, least in ((12, 0.5), (45, 0.999)):
        basis = np.linalg.qr(components[:count].T)[0]
        rest = (left - mean) - (left - mean) @ basis @ basis.T
        assert 1 - (rest**2).sum() / ((left - mean) ** 2).sum() > least
