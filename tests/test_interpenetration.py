"""A body that goes through itself: pairs and depths against slow obvious ways, gradients, and fits that come apart."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from benchmarks import cone_field
from fitting.bodies.surface import tree_distance
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.config import FitConfig, StageConfig
from fitting.contact import crossing_pairs, find_buried, find_crossed, make_mask, read_parts, with_parts
from fitting.contact.bones import nearest_on_bones
from fitting.contact.nearest import nearest_places
from fitting.contact.pairs import triangles_cross
from fitting.contact.sweep import overlapping_boxes
from fitting.curvature import LeastSquares
from fitting.evidence import as_evidence, bind, embedded_points
from fitting.layouts import BODY25
from fitting.posture import with_arms
from fitting.problem import Problem
from fitting.solve import solve
from fitting.solvers import SOLVERS, SolverOptions
from fitting.terms import Terms
from fitting.types import ConfigError, ModelError, Observations, Parameters

TERM = Terms.model_validate({"interpenetration": {}}).interpenetration
RECIPE = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_smplx.yaml"
CROSSED = {"left_hip": (-0.55, 0.0, -0.42), "right_hip": (-0.5, 0.0, 0.42), "left_knee": (0.7, 0.0, 0.0),
           "right_knee": (0.7, 0.0, 0.0)}  # fmt: skip
SITTING = {"left_hip": (-1.4, 0.0, 0.0), "right_hip": (-1.4, 0.0, 0.0), "left_shoulder": (0.1, -0.5, -1.4),
           "left_elbow": (0.0, -0.9, 0.0)}  # fmt: skip


def turned(body, vectors):
    pose = torch.zeros(1, 1, 21, 3)
    for joint, vector in vectors.items():
        pose[:, :, body.joint_names.index(joint) - 1] = torch.tensor(vector)
    return body.neutral(1, 1).replace({"body_pose": roma.rotvec_to_rotmat(pose)})


@pytest.fixture(scope="module")
def mask(open_body):
    return make_mask(open_body.surface, TERM.ignore, TERM.near)


@pytest.fixture(scope="module")
def sitting(open_body):
    """A hand in a thigh."""
    return open_body.pose(turned(open_body, SITTING)).points[0, 0]


def test_boxes_that_overlap_are_all_found():
    rng = np.random.default_rng(0)
    lower = rng.random((300, 3))
    upper = lower + rng.exponential(0.1, (300, 3))
    parts, looked_at = rng.integers(3, size=300), ~np.eye(3, dtype=bool)
    every = [
        (a, b)
        for a in range(300)
        for b in range(a + 1, 300)
        if parts[a] != parts[b] and (lower[a] <= upper[b]).all() and (lower[b] <= upper[a]).all()
    ]
    assert len(every) > 50
    found = overlapping_boxes(lower, upper, parts, looked_at)
    assert found.tolist() == [list(pair) for pair in every]
    tree = pytest.importorskip("fitting.contact.tree", reason="needs warp")
    quick = tree.overlapping_boxes(
        torch.as_tensor(lower).float(),
        torch.as_tensor(upper).float(),
        torch.as_tensor(parts),
        torch.as_tensor(looked_at),
    )
    assert quick.tolist() == [list(pair) for pair in every]


def test_triangles_cross_where_a_line_of_one_is_inside_the_other():
    """Against the equations of every edge and the other triangle, solved."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 400, 3, 3))
    expected = [
        any(pierces(s[k], s[(k + 1) % 3], t) for s, t in ((x, y), (y, x)) for k in range(3))
        for x, y in zip(a, b, strict=True)
    ]
    found = triangles_cross(torch.as_tensor(a), torch.as_tensor(b))
    assert found.tolist() == expected
    assert 20 < sum(expected) < 380


def pierces(start, end, triangle):
    """A segment and a triangle, by solving for where they meet."""
    columns = np.stack([end - start, triangle[0] - triangle[1], triangle[0] - triangle[2]], axis=1)
    t, u, v = np.linalg.solve(columns, triangle[0] - start)
    return 0 <= t <= 1 and u >= 0 and v >= 0 and u + v <= 1


def test_the_nearest_place_is_no_farther_than_any_other():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 1, 3, generator=generator, dtype=torch.float64)
    triangles = torch.randn(50, 4, 3, 3, generator=generator, dtype=torch.float64)
    weights, distance = nearest_places(points, triangles)
    places = (weights[..., None, :] @ triangles)[..., 0, :]
    torch.testing.assert_close((places - points).norm(dim=-1), distance)
    grid = torch.tensor([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)], dtype=torch.float64) / 60
    others = (grid @ triangles - points[:, :, None]).norm(dim=-1).amin(dim=-1)
    assert (distance <= others + 1e-12).all()
    assert (others - distance).max() < 0.1


def test_bones_between_joints():
    assert tree_distance((-1, 0, 0, 1, 3, 2)).tolist()[4] == [3, 2, 4, 1, 0, 5]


@pytest.mark.parametrize("arms", ["rest", "hanging", "forward"])
def test_nothing_touches_in_a_natural_pose(open_body, mask, arms):
    rest = open_body.neutral(1, 1)
    points = open_body.pose(rest if arms == "rest" else with_arms(open_body, rest, arms)).points[0, 0]
    assert len(crossing_pairs(points, mask)) == 0
    assert len(find_buried(points, mask).vertex) == 0


def test_a_hand_in_a_thigh_is_found(open_body, mask, sitting):
    names = np.array(open_body.joint_names)
    buried = find_buried(sitting, mask)
    assert {"left_wrist", "left_hip"} <= set(names[mask.surface.vertex_parts[buried.vertex].numpy()])
    place = (sitting[mask.surface.faces[buried.face]] * buried.weights[..., None]).sum(dim=1)
    assert 0.01 < float((sitting[buried.vertex] - place).norm(dim=1).max()) < 0.1
    assert (winding(sitting[buried.vertex], sitting, mask.surface.faces) > 1).double().mean() > 0.95


def winding(points, vertices, faces):
    """Generalised winding number by solid angles (Jacobson et al., 2013): on the skin 0.5, on buried skin 1.5."""
    found = []
    for point in points[:: max(len(points) // 40, 1)].double():
        a, b, c = (vertices.double()[faces] - point).unbind(dim=1)
        la, lb, lc = a.norm(dim=1), b.norm(dim=1), c.norm(dim=1)
        volume = (a * torch.linalg.cross(b, c)).sum(dim=1)
        below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        found.append((2 * torch.atan2(volume, below)).sum() / (4 * torch.pi))
    return torch.stack(found)


def test_without_warp_the_same_pairs_are_found(mask, sitting):
    pytest.importorskip("warp")
    pairs = crossing_pairs(sitting, mask)
    assert len(pairs) > 20
    assert torch.equal(pairs, crossing_pairs(sitting, mask, quick=False))


def test_parts_that_may_touch_are_named_or_numbered(open_body, sitting):
    names = open_body.joint_names
    hip = names.index("left_hip")
    hand = [k for k, name in enumerate(names) if name.startswith("left_") and k > 19 or name == "left_wrist"]
    by_name = make_mask(open_body.surface, tuple(f"left_hip,{names[k]}" for k in hand), TERM.near)
    by_number = make_mask(open_body.surface, tuple(f"{hip},{k}" for k in hand), TERM.near)
    assert torch.equal(by_name.parts, by_number.parts)
    pairs = by_name.surface.face_parts[crossing_pairs(sitting, by_name)]
    assert not ((pairs == hip).any(dim=1) & torch.isin(pairs, torch.tensor(hand)).any(dim=1)).any()


@pytest.mark.parametrize("pair", ["9", "9,16,17", "9,99", ","])
def test_a_pair_that_is_none_is_refused(open_body, pair):
    with pytest.raises(ConfigError, match=r"terms\.interpenetration\.ignore"):
        make_mask(open_body.surface, (pair,), TERM.near)


def test_parts_from_a_file(open_body, tmp_path):
    path = tmp_path / "smplx_parts_segm.pkl"
    segm = open_body.surface.face_parts.numpy()
    path.write_bytes(pickle.dumps({"segm": segm, "parents": segm}, protocol=2))
    surface = with_parts(open_body.surface, read_parts(path, len(segm)))
    assert torch.equal(surface.face_parts, open_body.surface.face_parts)
    assert torch.equal(surface.touched, open_body.surface.touched)
    with pytest.raises(ModelError, match="segm"):
        read_parts(path, len(segm) + 1)


def test_the_cone_field_of_the_benchmark():
    """Its cones stand on circumcircles, its profile has no step, and it pushes a vertex out."""
    triangles = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    centre, radius, normal = cone_field.cones(triangles)
    torch.testing.assert_close((triangles - centre[:, None]).norm(dim=-1), radius[:, None].expand(-1, 3))
    torch.testing.assert_close(((triangles - centre[:, None]) * normal[:, None]).sum(-1).abs().max().item(), 0.0)
    h = torch.linspace(-3, 3, 60001, dtype=torch.float64) * cone_field.HEIGHT
    assert cone_field.psi(h).diff().abs().max() < 1e-3 and cone_field.psi(h)[-1] == 0
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.3, 0.3, -0.1], [0.2, 0.4, 0.1], [0.4, 0.4, 0.1]])
    points.requires_grad_()
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    cone_field.cone_field(points, faces, torch.tensor([[0, 1]])).backward()
    assert points.grad[3, 2] < 0  # up, out of the first triangle, is downhill


def test_bones_are_nearest_where_a_grid_says(open_body):
    generator = torch.Generator().manual_seed(3)
    joints = torch.randn(len(open_body.joint_names), 3, generator=generator)
    parents = torch.tensor(open_body.surface.parents)
    first, second = torch.tensor([1, 4, 7, 16, 18, 20, 30, 45]), torch.tensor([2, 5, 12, 9, 21, 3, 50, 17])
    s, t, distance = nearest_on_bones(joints, first, second, open_body.surface)
    assert len(torch.unique(torch.cat([s, t]))) > 5  # not at their ends alone
    share = torch.linspace(0, 1, 201)[:, None]
    a, b = ((1 - share) * joints[parents[end], None] + share * joints[end, None] for end in (first, second))
    grid = torch.cdist(a, b).flatten(1).amin(dim=1)
    assert (distance <= grid + 1e-5).all()
    torch.testing.assert_close(distance, grid, atol=0.02, rtol=0)


@pytest.mark.parametrize("arms", ["rest", "hanging", "forward"])
def test_no_bones_cross_in_a_natural_pose(open_body, mask, arms):
    rest = open_body.neutral(1, 1)
    joints = open_body.pose(rest if arms == "rest" else with_arms(open_body, rest, arms)).joints[0, 0]
    assert len(find_crossed(joints, mask).first) == 0


def test_thighs_that_cross_are_told_by_their_bones(open_body, mask):
    names = np.array(open_body.joint_names)
    found = find_crossed(open_body.pose(turned(open_body, CROSSED)).joints[0, 0], mask)
    assert ("left_knee", "right_knee") in set(zip(names[found.first], names[found.second], strict=True))


def test_contact_is_two_stages_more(tmp_path):
    """With the same settings, and without what would let a body starve; as it is written, it is read."""
    plain = FitConfig.load(RECIPE)
    settings = [("contact", "true"), ("terms.interpenetration.near", "0.2"), ("terms.interpenetration.sigma", "0.01")]
    config = FitConfig.load(RECIPE, settings)
    assert config.stages[:-2] == plain.stages
    assert all(config.stage_terms(stage).interpenetration is None for stage in (*plain.stages, *plain.search.stages))
    terms = [config.stage_terms(stage) for stage in config.stages[-2:]]
    assert [term.interpenetration.sigma for term in terms] == pytest.approx([0.2, 0.01])
    assert {term.interpenetration.near for term in terms} == {0.2}
    before = config.stage_terms(plain.stages[-1]).keypoints
    assert terms[0].keypoints == before.model_copy(update={"kernel_width": 2 * before.kernel_width})
    assert terms[1].keypoints == before
    for stage in config.stages[-2:]:
        assert set(plain.stages[-1].free) - set(stage.free) == {"shape", "expression"}
    path = tmp_path / "conf.yaml"
    path.write_text(config.to_yaml())
    assert FitConfig.load(path) == config


@pytest.mark.parametrize("value", ["1", "maybe", "[true]"])
def test_contact_is_true_or_false(value):
    with pytest.raises(ConfigError, match="contact"):
        FitConfig.load(RECIPE, [("contact", value)])


def test_contact_in_a_recipe_of_objects_is_refused():
    """It would do nothing."""
    with pytest.raises(ValueError, match="contact"):
        FitConfig(contact=True, stages=(StageConfig(name="one", free=("transl",)),))


# ------------------------------------------------------------------ in an objective


def make_case(body, frames=1, pose=SITTING):
    """One person, by default with a hand in a thigh, seen as BODY_25, `frames` times the same; and the truth."""
    truth = turned(body, pose)
    truth = truth.replace({"transl": torch.tensor([[[0.0, 0.0, -3.0]]])}).to(body.skin.template)
    truth = Parameters(
        {n: v if v.shape[1] == 1 and n == "betas" else v.expand(-1, frames, *v.shape[2:]) for n, v in truth.items()}
    )
    K = np.tile(intrinsics(1000.0, (800, 800)), (frames, 1, 1))
    embedding = body.embedding_of(BODY25)
    points = body.restrict(embedding).pose(truth).points[0]
    pixels = camera_to_pixels(world_to_camera(points), torch.as_tensor(K).to(points))
    keypoints, confidence = np.zeros((frames, 25, 2)), np.zeros((frames, 25))
    keypoints[:, embedded_points(embedding)] = pixels.numpy()
    confidence[:, embedded_points(embedding)] = 1.0
    names = tuple(str(k) for k in range(frames))
    seen = Observations("000", BODY25, keypoints, confidence, names, np.tile([800, 800], (frames, 1)), frames > 1)
    return bind(body, seen, K, truth["transl"]), truth


def make_problem(body, free=("body_pose", "global_orient", "betas"), frames=1, pose=SITTING):
    case, truth = make_case(body, frames, pose)
    truth = truth.replace({"focal": torch.zeros(1, 1, 1).to(truth["transl"])})
    terms = {"keypoints": Terms.model_validate({"keypoints": {}}).keypoints, "interpenetration": TERM}
    blocks = tuple(block for block in body.blocks if block.name in free)
    return Problem(
        case.restricted, case.yard_stick, as_evidence(case, truth), case.K[None], terms, truth, truth, blocks
    )


@pytest.fixture(scope="module")
def double_body(open_body):
    return open_body.to(torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize(("frames", "pose"), [(1, SITTING), (3, SITTING), (1, CROSSED)])
def test_gradient_equals_the_numerical_one(double_body, frames, pose):
    problem = make_problem(double_body, frames=frames, pose=pose).only({"interpenetration": TERM})
    torch.manual_seed(0)
    x = 0.02 * torch.randn(1, problem.size, dtype=torch.float64)
    values, gradient = problem.evaluate(x, torch.arange(1))
    assert values > 1
    step = 1e-6
    for _ in range(3):
        along = torch.randn_like(x)
        numerical = (problem.objective(x + step * along) - problem.objective(x - step * along)) / (2 * step)
        torch.testing.assert_close((gradient * along).sum(dim=1), numerical, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pose", [SITTING, CROSSED])
def test_curvature_is_nearly_that_of_the_residuals(double_body, pose):
    """J' J by automatic differentiation; blended skin is taken for rigid."""
    problem = make_problem(double_body, free=("body_pose", "global_orient"), pose=pose).only({"interpenetration": TERM})
    x = problem.zero()

    def residuals(x):
        rows = TERM.residuals(problem.scene(problem.retract(x)))
        return (rows.values[..., 0] * rows.confidence / TERM.sigma).flatten()

    with torch.enable_grad():
        J = torch.autograd.functional.jacobian(residuals, x)[:, 0]
    arrow = LeastSquares(problem).curvature(x, torch.arange(1))
    own = arrow.blocks(slice(0, 1)).own[0, 0]
    expected = J.T @ J
    assert float((own - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize("solver", ["lm", "lbfgs", "adam"])
def test_every_solver_takes_the_hand_out(open_body, solver):
    problem = make_problem(open_body)
    minimum = SOLVERS[solver](LeastSquares(problem), problem.zero(), SolverOptions(25, 1e-6, 0.05))
    before, after = (
        float(problem.costs(problem.retract(x))["interpenetration"].sum()) for x in (problem.zero(), minimum.x)
    )
    assert after < 0.1 * before


@pytest.mark.slow
def test_with_contact_a_body_leaves_itself_and_does_not_starve(open_body, mask):
    case, truth = make_case(open_body, pose=CROSSED)
    settings, found = [("error_bars", "false"), ("terms.keypoints.sigma", "0.002")], []
    for more, stages in ([], 1), ([("contact", "true")], 3):
        config = FitConfig.load(RECIPE, [*settings, *more])
        found.append(solve(case, truth, config.model_copy(update={"stages": config.stages[-stages:]})))
    depths = [deepest(p, find_buried(p, mask), mask) for p in (torch.tensor(s.vertices(0)).float() for s in found)]
    assert depths[0] > 0.06 and depths[1] < 0.006
    assert torch.equal(found[0].parameters["betas"], found[1].parameters["betas"])
    assert found[1].error_px[0] < found[0].error_px[0] + 1


def deepest(points, buried, mask):
    place = (points[mask.surface.faces[buried.face]] * buried.weights[..., None]).sum(dim=1)
    return float((points[buried.vertex] - place).norm(dim=1).max()) if len(place) else 0.0


def test_it_does_not_apply_to_a_head(open_head):
    assert int(open_head.surface.apart.max()) <= 2
