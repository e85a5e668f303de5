"""Beliefs about whole bodies: zero where they should be, right in their gradients, and as their sources have them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from made_bodies import random_figure
from test_terms import BODY_TERMS, PROBLEMS, make_problem
from test_vposer import write_first

from fitting.bodies.body import moved as moved_to
from fitting.bodies.decoded import decoded
from fitting.bodies.hands import HandComponents
from fitting.bodies.pose_priors import make_prior, mean_hand
from fitting.bodies.vposer import read_vposer
from fitting.config import StageConfig
from fitting.curvature import LeastSquares
from fitting.solve import moving_blocks
from fitting.terms import Terms
from fitting.terms.body_limits import joint_limits
from fitting.terms.body_pose import POSTURE, nearest
from fitting.uncertainty import error_bars

CODED = ("pose_latent", "hand_components")  # of blocks that stand for others; the body below has none
AT_REST = sorted(set(BODY_TERMS) - {"bend", "pose_gmm", *CODED})


@pytest.fixture(scope="module")
def figure():
    return random_figure()


def moved(problem, scale, seed=0):
    torch.manual_seed(seed)
    return scale * torch.randn(PROBLEMS, problem.size, dtype=torch.float64)


@pytest.mark.parametrize("term", AT_REST)
def test_zero_at_rest(figure, term):
    problem = make_problem(figure, term)
    assert term in problem.costs(problem.base)
    assert problem.costs(problem.base)[term].abs().max() < 1e-16


@pytest.mark.parametrize("kernel", ["squared", "huber", "geman_mcclure"])
@pytest.mark.parametrize("term", sorted(set(BODY_TERMS) - set(CODED)))
def test_gradient_equals_the_numerical_one(figure, term, kernel):
    problem = make_problem(figure, term, kernel)
    x = moved(problem, 5)
    assert (problem.costs(problem.retract(x))[term] > 0).any()
    values, gradient = problem.evaluate(x, torch.arange(PROBLEMS))
    step = 1e-6
    for _ in range(8):
        direction = torch.randn_like(x)
        numerical = (problem.objective(x + step * direction) - problem.objective(x - step * direction)) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(dim=1), numerical, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("term", sorted(set(BODY_TERMS) - set(CODED)))
def test_curvature_is_that_of_the_residuals(figure, term):
    """J' J by automatic differentiation of the whitened residuals, every joint turned and some limits passed."""
    problem = make_problem(figure, term, free=("global_orient", "body_pose", "left_hand_pose", "right_hand_pose"))
    problem = replace(problem, terms={term: problem.terms[term]}, base=problem.retract(moved(problem, 7)))
    size, sigma = problem.size, problem.terms[term].sigma

    def residuals(x):
        rows = problem.terms[term].residuals(problem.scene(problem.retract(x)))
        return (rows.values / sigma).flatten()

    x = torch.zeros(PROBLEMS, size, dtype=torch.float64)
    J = torch.func.jacrev(residuals)(x).flatten(0, 0)
    expected = torch.einsum("rpi,rpj->pij", J, J)
    arrow = LeastSquares(problem).curvature(x, torch.arange(PROBLEMS))
    n = arrow.width
    own = arrow.blocks(slice(0, problem.frames)).own
    for frame in range(problem.frames):
        place = slice(frame * n, (frame + 1) * n)
        wanted = expected[:, place, place]
        assert wanted.abs().max() > 0
        torch.testing.assert_close(own[:, frame], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


def test_they_do_not_apply_to_a_head(random_body):
    problem = make_problem(random_body, "shape")
    scene = problem.scene(problem.base)
    for name in BODY_TERMS:
        term = Terms.model_validate({name: {}}).named()[name]
        assert term.residuals(scene) is None


# ------------------------------------------------------------------ one by one


def scene_at(figure, **vectors):
    """One frame, joints turned by axis-angle."""
    problem = make_problem(figure, "shape", frames=1)
    pose = torch.zeros(PROBLEMS, 1, 21, 3).double()
    for joint, vector in vectors.items():
        pose[:, :, figure.joint_names.index(joint) - 1] = torch.tensor(vector).double()
    return problem.scene(problem.base.replace({"body_pose": roma.rotvec_to_rotmat(pose)}))


def test_bend_is_smplifys_prior(figure):
    """w * sum of exp(2 s angle) over 52 (+), 55 (-), 9 (-), 12 (-) of the 63, with w = sigma^-2."""
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 0.5, 63)
    expected = sum(np.exp(2 * sign * pose[k]) for k, sign in ((52, 1), (55, -1), (9, -1), (12, -1)))
    scene = scene_at(figure, **{n: pose[3 * k : 3 * k + 3] for k, n in enumerate(figure.joint_names[1:22])})
    (bend,) = Terms.model_validate({"bend": {}}).named().values()
    values = bend.residuals(scene).values[0]
    assert float(values.square().sum()) == pytest.approx(expected, rel=1e-12)


def test_a_knee_bends_one_way(figure):
    (limits,) = Terms.model_validate({"angle_limits": {}}).named().values()
    for joint, natural in {
        "left_knee": (1.5, 0.0, 0.0), "right_knee": (1.5, 0.0, 0.0),
        "left_elbow": (0.0, -1.5, 0.0), "right_elbow": (0.0, 1.5, 0.0),
        "left_hip": (-1.5, 0.0, 0.0), "left_shoulder": (0.0, 0.0, -1.4), "right_shoulder": (0.0, 0.0, 1.4),
    }.items():  # fmt: skip
        assert limits.residuals(scene_at(figure, **{joint: natural})).values.abs().max() == 0
        wrong = tuple(-a for a in natural)
        if joint.endswith(("knee", "elbow")):
            past = limits.residuals(scene_at(figure, **{joint: wrong})).values[0, 0]
            assert past.abs().max() > 1.3 and (past != 0).sum() == 1


def test_limits_are_mirrored(figure):
    low, high = joint_limits(("left_elbow", "right_elbow")).unbind(-1)
    torch.testing.assert_close(
        low[0] * torch.tensor([1.0, -1.0, -1.0]), torch.stack([low[1, 0], high[1, 1], high[1, 2]])
    )
    assert (low < high).all()
    assert torch.isinf(joint_limits(("jaw",))).all()


def gmm_energy(pose, means, covars, weights):
    """SMPLify's, as published: min_k 1/2 d' S^-1 d - log(w / (c sqrt(det) / min sqrt(det))), c = (2 pi)^(n/2)."""
    roots = np.sqrt([np.linalg.det(c) for c in covars])
    c = (2 * np.pi) ** (means.shape[1] / 2)
    return min(
        0.5 * (pose - m) @ np.linalg.inv(S) @ (pose - m) - np.log(w / (c * root / roots.min()))
        for m, S, w, root in zip(means, covars, weights, roots, strict=True)
    )


def random_mixture(size=12, components=8, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(0, 1, (components, size, size))
    covars = 0.05 * mix @ mix.transpose(0, 2, 1) + 0.05 * np.eye(size)
    return rng.normal(0, 0.5, (components, size)), covars, rng.dirichlet(np.ones(components))


def test_a_mixture_is_smplifys_up_to_a_constant():
    means, covars, weights = random_mixture()
    prior = make_prior(Path("made"), means, covars, weights, 12)
    poses = np.random.default_rng(1).normal(0, 0.7, (200, 12))
    half = 0.5 * nearest(prior, torch.as_tensor(poses)).square().sum(dim=-1).numpy()
    expected = np.array([gmm_energy(pose, means, covars, weights) for pose in poses])
    differences = half - expected
    np.testing.assert_allclose(differences, differences[0], rtol=0, atol=1e-9)
    assert half.min() >= 0


def test_fewer_coordinates_are_the_marginal_and_more_are_independent():
    means, covars, weights = random_mixture()
    smaller = make_prior(Path("made"), means, covars, weights, 9)
    again = make_prior(Path("made"), means[:, :9], covars[:, :9, :9], weights, 9)
    for name in ("means", "whiten", "offsets"):
        torch.testing.assert_close(getattr(smaller, name), getattr(again, name))
    larger = make_prior(Path("made"), means, covars, weights, 15)
    pose = torch.zeros(15).double()
    pose[:12] = torch.as_tensor(means[3])
    base = nearest(larger, pose).square().sum()
    pose[13] = 0.15
    assert float(nearest(larger, pose).square().sum() - base) == pytest.approx(1.0)


def test_upright_measures_the_angle(figure):
    (upright,) = Terms.model_validate({"upright": {}}).named().values()
    problem = make_problem(figure, "shape", frames=1)
    for angle in (0.01, 0.5, 3.0):
        for axis, expected in (
            ([1.0, 0, 0], 2 * np.sin(angle / 2)),
            ([0, 1.0, 0], 0.0),
            ([0, 0, 1.0], 2 * np.sin(angle / 2)),
        ):
            R = roma.rotvec_to_rotmat(angle * torch.tensor(axis).double()).expand(PROBLEMS, 1, 1, 3, 3)
            values = upright.residuals(problem.scene(problem.base.replace({"global_orient": R}))).values[0, 0]
            for part in values:  # pelvis and chest
                assert float(part.norm()) == pytest.approx(expected, abs=1e-12)


def test_upright_sees_a_bent_spine_from_the_chest_up(figure):
    (upright,) = Terms.model_validate({"upright": {}}).named().values()
    problem = make_problem(figure, "shape", frames=1)
    pose = problem.base["body_pose"].clone()
    for name in ("spine1", "spine2", "spine3"):
        joint = figure.joint_names.index(name) - 1
        pose[:, :, joint] = roma.rotvec_to_rotmat(torch.tensor([0.2, 0.0, 0.0]).double())
    straight = torch.eye(3).double().expand(PROBLEMS, 1, 1, 3, 3)
    bent = problem.base.replace({"body_pose": pose, "global_orient": straight})
    pelvis, chest = upright.residuals(problem.scene(bent)).values[0, 0]
    assert float(pelvis.norm()) == 0.0
    assert float(chest.norm()) == pytest.approx(2 * np.sin(0.3), abs=1e-7)


def test_full_hands_rest_in_the_mean_hand(figure):
    (hands,) = Terms.model_validate({"hands": {}}).named().values()
    mean = 0.2 * torch.randn(45).double()
    prior = mean_hand(mean)
    figure = replace(figure, pose_priors={"left_hand_pose": prior, "right_hand_pose": prior})
    problem = make_problem(figure, "shape", frames=1)
    R = roma.rotvec_to_rotmat(mean.view(15, 3)).expand(PROBLEMS, 1, 15, 3, 3)
    at_mean = problem.base.replace({"left_hand_pose": R, "right_hand_pose": R})
    assert hands.residuals(problem.scene(at_mean)).values.abs().max() < 1e-12
    assert hands.residuals(problem.scene(problem.base)).values.square().sum() > 1
    coded = at_mean.replace({f"{side}_hand_pca": torch.ones(PROBLEMS, 1, 12).double() for side in ("left", "right")})
    assert hands.residuals(problem.scene(coded)) is None  # their coefficients are believed in instead


@pytest.mark.parametrize(
    "term, blocks", [("pose_latent", ("pose_embedding",)), ("hand_components", ("left_hand_pca", "right_hand_pca"))]
)
def test_codes_are_normal(figure, term, blocks):
    (belief,) = Terms.model_validate({term: {}}).named().values()
    problem = make_problem(figure, "shape", frames=1)
    codes = {name: torch.ones(PROBLEMS, 1, 32).double() for name in blocks}
    values = belief.residuals(problem.scene(problem.base.replace(codes))).values
    assert values.shape == (PROBLEMS, 1, 32 * len(blocks), 1) and (values == 1).all()


def test_components_of_any_length_count_as_the_angles_they_turn(figure):
    """Orthogonal rows of lengths 0.1 to 2, as a model may have them."""
    rows = torch.linalg.qr(torch.randn(45, 6).double())[0].T * torch.linspace(0.1, 2, 6).double()[:, None]
    body = decoded(figure, [HandComponents(side, torch.zeros(45).double(), rows) for side in ("left", "right")])
    problem = make_problem(body, "hand_components", frames=1)
    codes = {f"{side}_hand_pca": torch.randn(PROBLEMS, 1, 6).double() for side in ("left", "right")}
    found = problem.terms["hand_components"].residuals(problem.scene(problem.base.replace(codes))).values
    angles = torch.cat([code @ rows for code in codes.values()], dim=-1)
    torch.testing.assert_close(found.square().sum(dim=(1, 2, 3)), angles.square().sum(dim=(1, 2)))


def test_shape_counts_once_for_every_frame_that_repeats_an_error(figure):
    for frames, expected in ((1, 1), (3, 3), (4, 4), (9, 4)):
        problem = make_problem(figure, "shape", frames=frames)
        problem = replace(problem, terms=Terms.model_validate({"shape": {"repeats": 4}}).named())
        parameters = problem.base.replace({"betas": torch.ones_like(problem.base["betas"])})
        cost = problem.costs(parameters)["shape"].sum(dim=1)
        torch.testing.assert_close(cost, torch.full_like(cost, 0.5 * 4 * expected))


# ------------------------------------------------------------------ a body whose pose is decoded


@pytest.fixture(scope="module")
def coded(figure, tmp_path_factory):
    """Its body by a decoder of VPoser's form, its hands by six components each."""
    vposer = moved_to(read_vposer(write_first(tmp_path_factory.mktemp("vposer") / "v1")), torch.zeros(0).double())
    torch.manual_seed(3)
    sides = [
        HandComponents(side, torch.zeros(45).double(), torch.linalg.qr(torch.randn(45, 6).double())[0].T.contiguous())
        for side in ("left", "right")
    ]
    return decoded(figure, (vposer, *sides))


@pytest.mark.parametrize("term", sorted(set(BODY_TERMS) - {"hands"}))
def test_gradient_and_curvature_by_the_code(coded, term):
    problem = make_problem(coded, term)
    terms = {term: replace_sigma(problem.terms[term])}
    problem = replace(problem, terms=terms, base=problem.retract(moved(problem, 3)))
    blocks = {block.name: block for block in coded.blocks}
    free = ("global_orient", "pose_embedding", "left_hand_pca", "right_hand_pca")
    problem = replace(problem, free=tuple(blocks[name] for name in free))

    def residuals(x):
        return terms[term].residuals(problem.scene(problem.retract(x))).values.flatten()

    x = torch.zeros(PROBLEMS, problem.size, dtype=torch.float64)
    J = torch.func.jacrev(residuals)(x)
    expected = torch.einsum("rpi,rpj->pij", J, J)
    arrow = LeastSquares(problem).curvature(x, torch.arange(PROBLEMS))
    own, n = arrow.blocks(slice(0, problem.frames)).own, arrow.width
    for frame in range(problem.frames):
        wanted = expected[:, frame * n : (frame + 1) * n, frame * n : (frame + 1) * n]
        torch.testing.assert_close(own[:, frame], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    values, gradient = problem.evaluate(x, torch.arange(PROBLEMS))
    direction, step = torch.randn_like(x), 1e-6
    numerical = (problem.objective(x + step * direction) - problem.objective(x - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(dim=1), numerical, rtol=2e-5, atol=1e-5)


def replace_sigma(term):
    return term.model_copy(update={"sigma": 1.0})


def test_a_recipe_frees_the_pose_whatever_moves_it(figure, coded):
    stage = StageConfig(name="all", free=("rotation", "pose", "hands"))
    assert moving_blocks(stage, figure) == ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
    assert moving_blocks(stage, coded) == ("global_orient", "pose_embedding", "left_hand_pca", "right_hand_pca")


# ------------------------------------------------------------------ keypoints as SMPLify-X counts them


@pytest.mark.parametrize("kernel", ["squared", "geman_mcclure"])
def test_a_kernel_by_axis(random_body, kernel):
    """sum over coordinates of w^2 s / (s + w^2); its gradient, and the matrix against the terms' own rows."""
    problem = make_problem(random_body, "keypoints", kernel)
    term = problem.terms["keypoints"].model_copy(update={"by_axis": True, "kernel_width": 3.0})
    problem = replace(problem, terms={"keypoints": term})
    x = moved(problem, 1)
    rows = problem.terms["keypoints"].residuals(problem.scene(problem.retract(x)))
    squared = (rows.values[..., 0] / term.sigma * rows.confidence).square()
    each = squared if kernel == "squared" else 9 * squared / (squared + 9)
    torch.testing.assert_close(problem.objective(x), 0.5 * each.sum(dim=(1, 2)))
    _, gradient = problem.evaluate(x, torch.arange(PROBLEMS))
    direction, step = torch.randn_like(x), 1e-6
    numerical = (problem.objective(x + step * direction) - problem.objective(x - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(dim=1), numerical, rtol=2e-5, atol=1e-5)
    if kernel == "squared":  # then it is the same as by distance, and so is its matrix
        plain = replace(problem, terms={"keypoints": term.model_copy(update={"by_axis": False})})
        rows = torch.arange(PROBLEMS)
        for name in ("own", "border", "corner"):
            a, b = (
                getattr(LeastSquares(p).curvature(x, rows).blocks(slice(0, problem.frames)), name)
                for p in (problem, plain)
            )
            torch.testing.assert_close(a, b)


def test_keypoints_in_units_of_the_picture_and_single_points(random_body):
    problem = make_problem(random_body, "keypoints")
    height = torch.full_like(problem.evidence.subject_px, 800.0)
    problem = replace(problem, evidence=replace(problem.evidence, picture_px=height))
    term = problem.terms["keypoints"]
    scene = problem.scene(problem.retract(moved(problem, 1)))
    plain = term.residuals(scene)
    of_picture = term.model_copy(update={"unit": "picture"}).residuals(scene)
    torch.testing.assert_close(of_picture.values * 800, plain.values * problem.evidence.subject_px[..., None, None])
    name = problem.evidence.layout.point_names[int(problem.evidence.points[7])]
    without = term.model_copy(update={"points": {name: 0.0}}).residuals(scene)
    assert (without.confidence[..., 7] == 0).all() and without.confidence.sum() < plain.confidence.sum()


@pytest.mark.parametrize("fps", [25.0, 4.0])
def test_a_posture_is_believed_once_for_as_long_as_it_lasts(figure, fps):
    """Four frames in a sixth of a second know of a posture what a photo knows; in a second, what two photos know."""
    sd = {}
    for frames in (1, 4):
        problem = make_problem(figure, "pose_rest", free=("body_pose",), frames=frames)
        evidence = replace(problem.evidence, confidence=torch.zeros_like(problem.evidence.confidence), fps=fps)
        problem = replace(problem, evidence=evidence)
        sd[frames] = error_bars(problem, problem.base, problem.free).blocks["body_pose"]
    np.testing.assert_allclose(sd[1], problem.terms["pose_rest"].sigma, rtol=1e-4)
    np.testing.assert_allclose(sd[4][:PROBLEMS], sd[1] * min(4, POSTURE * fps) ** 0.5, rtol=1e-4)
