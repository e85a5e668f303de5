"""Closed-form derivatives of whole bodies in float64: correctives, joints, patches, a contour, and decoders."""

import pytest
import torch
from made_smpl import smpl_arrays, write_npz
from test_jacobian import stepped
from test_skinning import random_parameters

from fitting import bodies
from fitting.bodies.hands import HandComponents, left_jacobian
from fitting.bodies.jacobian import Pose, turn_rows
from fitting.types import Layout

PROBLEMS, FRAMES = 2, 2
# Patches, joints, finger tips, fixed points of the face, and a contour that slides.
POINTS = ("nose", "left_shoulder", "mid_hip", "left_index_2", "left_index_4", "right_pinky_3", "right_pinky_4",
          "left_big_toe", "right_heel", "lower_lip", "chin", "left_jaw_3", "right_jaw_1")  # fmt: skip
LAYOUT = Layout("some", POINTS, (), {}, ((1,), (2,)))
DOUBLE = torch.zeros(0, dtype=torch.float64)


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    """Made of random correctives and directions on a part of the open body's mesh."""
    folder = tmp_path_factory.mktemp("models")
    write_npz(folder / "SMPLX_NEUTRAL.npz", smpl_arrays("smplx"))
    return bodies.load("smplx", folder, betas=4, expressions=3).to(DOUBLE)


@pytest.fixture(scope="module")
def figure_of_components(figure):
    hands = figure.hands
    pairs = zip(("left", "right"), hands.zero, hands.components, strict=True)
    return bodies.decoded(figure, [HandComponents(side, zero, rows[:5]) for side, zero, rows in pairs])


def check_against_autograd(body, name):
    body = body.restrict(body.embedding_of(LAYOUT))
    block = next(b for b in body.blocks if b.name == name)
    parameters = random_parameters(body, PROBLEMS, FRAMES)
    posed = body.pose(parameters)
    assert posed.points.shape[2] == len(POINTS)
    functional = torch.randn(*posed.points.shape[:3], 2, 3, dtype=torch.float64)
    closed = body.differentiate(parameters, posed, functional, {name})
    assert set(closed) == {name}

    def functional_of(step):
        points = body.pose(stepped(parameters, block, step)).points
        return (functional * points[..., None, :]).sum(dim=-1)

    rows = 1 if block.shared else FRAMES
    zero = torch.zeros(PROBLEMS, rows, block.tangent_size, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(functional_of, zero)
    for p in range(PROBLEMS):
        for f in range(FRAMES):
            expected = full[p, f, :, :, p, 0 if block.shared else f]
            torch.testing.assert_close(closed[name][p, f], expected, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(
    "name",
    ["betas", "expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
     "right_hand_pose", "transl"],
)  # fmt: skip
def test_every_block_equals_automatic_differentiation(figure, name):
    check_against_autograd(figure, name)


@pytest.mark.parametrize("name", ["left_hand_pca", "right_hand_pca", "body_pose", "betas"])
def test_chain_rule_through_decoders(figure_of_components, name):
    check_against_autograd(figure_of_components, name)


@pytest.mark.parametrize("decoded", [False, True])
def test_forces_pulled_back_are_derivatives_summed_over_points(figure, figure_of_components, decoded):
    body = figure_of_components if decoded else figure
    body = body.restrict(body.embedding_of(LAYOUT))
    parameters = random_parameters(body, PROBLEMS, FRAMES)
    posed = body.pose(parameters)
    forces = torch.randn(*posed.points.shape, dtype=torch.float64)
    names = [block.name for block in body.blocks]
    found = body.pull(parameters, posed, forces, names)
    single = body.differentiate(parameters, posed, forces[..., None, :], names)
    assert set(found) == set(single) == set(names)
    for name in names:
        torch.testing.assert_close(found[name], single[name].sum(dim=(2, 3)), atol=1e-12, rtol=1e-9)
    assert set(body.pull(parameters, posed, forces, ["betas"])) == {"betas"}


def test_blocks_together_are_the_blocks_alone(figure):
    body = figure.restrict(figure.embedding_of(LAYOUT))
    parameters = random_parameters(body, PROBLEMS, FRAMES)
    posed = body.pose(parameters)
    functional = torch.randn(*posed.points.shape[:3], 2, 3, dtype=torch.float64)
    names = [block.name for block in body.blocks]
    together = body.differentiate(parameters, posed, functional, [*names, "no such block"])
    assert set(together) == set(names)
    for name in names:
        alone = body.differentiate(parameters, posed, functional, {name})[name]
        torch.testing.assert_close(together[name], alone, atol=1e-12, rtol=1e-12)


def test_turns_equal_the_loop_over_joints(figure):
    """The same sums, joint by joint and point by point."""
    figure = figure.restrict(figure.embedding_of(Layout("fixed", POINTS[:10], (), {}, ((), ()))))
    parents, skin = figure.skeleton.parents, figure.skin
    generator = torch.Generator().manual_seed(0)
    batch, joints = 3, len(parents)
    entries = torch.randn(batch, len(skin.entry_point), 3, generator=generator, dtype=torch.float64)
    places = torch.randn(batch, joints, 3, generator=generator, dtype=torch.float64)
    rotations = torch.linalg.qr(torch.randn(batch, joints, 3, 3, generator=generator, dtype=torch.float64))[0]
    functional = torch.randn(batch, skin.points, 2, 3, generator=generator, dtype=torch.float64)
    pose = Pose(entries, skin.entry_weight[None], rotations, places, rotations)
    fast = turn_rows(figure.pairs, range(joints), functional, pose)
    carriers = torch.repeat_interleave(torch.arange(joints), torch.tensor(skin.joint_counts))
    for a, parent in enumerate(parents):
        arm = torch.zeros(batch, skin.points, 3, dtype=torch.float64)
        for e, (carrier, point) in enumerate(zip(carriers.tolist(), skin.entry_point.tolist(), strict=True)):
            above = carrier
            while above not in (a, -1):
                above = parents[above]
            if above == a:
                arm[:, point] += entries[:, e] - skin.entry_weight[e] * places[:, a]
        expected = torch.linalg.cross(arm[:, :, None].expand_as(functional), functional)
        expected = expected if parent < 0 else expected @ rotations[:, None, parent]
        torch.testing.assert_close(fast[..., 3 * a : 3 * a + 3], expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-3, 1.0, 3.1])
def test_left_jacobian_equals_automatic_differentiation(size):
    import roma

    rotvec = size * torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64), dim=0)

    def left_step(change):
        step = roma.rotvec_to_rotmat(rotvec + change) @ roma.rotvec_to_rotmat(rotvec).mT
        return torch.stack([step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]]) / 2

    expected = torch.autograd.functional.jacobian(left_step, torch.full((3,), 1e-12, dtype=torch.float64))
    torch.testing.assert_close(left_jacobian(rotvec), expected, atol=2e-6, rtol=1e-6)


def test_a_decoded_body_is_the_body_below(figure, figure_of_components):
    body = figure_of_components
    names = [block.name for block in body.blocks]
    assert "left_hand_pca" in names and "left_hand_pose" not in names
    parameters = random_parameters(body, 1, 2)
    full = body.full(parameters)
    assert full["left_hand_pca"] is parameters["left_hand_pca"]
    inner = figure.pose(full)
    torch.testing.assert_close(body.pose(parameters).points, inner.points)
    assert body.moving("left_hand_pose") == "left_hand_pca" and body.moving("body_pose") == "body_pose"
    assert figure.full(parameters) is parameters and figure.chain(parameters, {}) == {}
    single = body.to(torch.zeros(0))
    assert single.pose(single.neutral(1, 1)).points.dtype == torch.float32
    torch.testing.assert_close(
        single.pose(single.neutral(1, 1)).points.double(), body.pose(body.neutral(1, 1)).points, atol=1e-5, rtol=0
    )
