"""The reference of the benchmark: its loss term by term, its forward against this project's, its procedure on an easy
frame. It skins with the `smplx` package, which is there for such comparisons only."""

import numpy as np
import pytest
import torch

pytest.importorskip("smplx")

from benchmarks import smplifyx_reference
from benchmarks.body_truth import draw_people
from benchmarks.smplifyx_objective import (
    CONTOUR,
    LAYOUT,
    SIZES,
    STAGES,
    TORSO,
    Mesh,
    Weights,
    bend,
    joint_factors,
    project,
    total_loss,
)
from benchmarks.smplifyx_reference import (
    Counter,
    StageLoss,
    TorsoLoss,
    by_itself,
    fit_frame,
    minimise,
    place_camera,
)
from benchmarks.smplifyx_table import frame_of, joints_of, seen_in, to_reference
from benchmarks.smplifyx_together import Asked, evaluate, fit_together
from fitting import bodies
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.evidence import embedded_points

PEOPLE = 3


@pytest.fixture(scope="module")
def body():
    return bodies.load("open_body", betas=10, expressions=10).to(torch.zeros(0).double())


@pytest.fixture(scope="module")
def people(body):
    return draw_people(body, PEOPLE, np.random.default_rng(0))


@pytest.fixture(scope="module")
def mesh(body):
    return Mesh(body, torch.float64, whole=False)


@pytest.fixture(scope="module")
def fits(people, mesh):
    """The truth as the reference counts it, its fingers as near as twelve components come."""
    rows = dict(people.truth.rows())
    for k, side in enumerate(("left", "right")):
        away = torch.as_tensor(rows[f"{side}_hand_pose"]) - mesh.means[k]
        rows[f"{side}_hand_pca"] = (away @ mesh.components[k].T).numpy()
    return to_reference(mesh, rows)


def test_the_few_vertices_are_the_mesh_s(body, mesh, fits):
    whole = Mesh(body, torch.float64)
    for k in range(PEOPLE):
        for few, all_of_them in zip(mesh.keypoints(frame_of(fits, k)), whole.keypoints(frame_of(fits, k)), strict=True):
            torch.testing.assert_close(few, all_of_them, rtol=0, atol=1e-5)


def test_both_projects_project_alike(body, people, mesh, fits):
    """Fingers aside, whose pose the components only approach; the wrists' patches reach onto the hands."""
    embedding = body.embeddings[LAYOUT]
    posed = body.restrict(embedding).pose(people.truth)
    K = torch.as_tensor(intrinsics(5000.0, (1000, 1000)))
    expected = camera_to_pixels(world_to_camera(posed.points[0]), K.expand(PEOPLE, 3, 3))
    order = list(embedded_points(embedding))
    names = [k for k in range(25) if k in order] + [k for k in range(84, 135)]
    for k in range(PEOPLE):
        seen = seen_in(people, k, torch.float64)
        points, _ = mesh.keypoints(frame_of(fits, k))
        found = project(points, torch.as_tensor(fits["transl"][k]), seen)
        at = [order.index(name) for name in names]
        torch.testing.assert_close(found[names], expected[k, at], rtol=0, atol=0.3)
    np.testing.assert_allclose(
        joints_of(mesh, fits) - joints_of(mesh, fits)[:, :1], people.joints[:, :22] - people.joints[:, :1], atol=1e-6
    )


def test_the_loss_is_the_sum_of_its_published_terms(people, mesh, fits):
    fit = {name: value + 0.01 for name, value in frame_of(fits, 1).items()}
    seen = seen_in(people, 1, torch.float64)
    weights = Weights(4.0, 3.0, 2.0, 5.0, (6.0, 7.0, 8.0), 0.5, 2.0)
    points, _ = mesh.keypoints(fit)
    pixels = project(points, fit["transl"], seen).numpy()
    gamma = np.r_[np.ones(25), 0.5 * np.ones(42), np.zeros(17), 2 * np.ones(53)]
    gamma[[1, 9, 12]] = 0
    r2 = (seen.points.numpy() - pixels) ** 2
    data = ((gamma * seen.confidence.numpy())[:, None] ** 2 * 1e4 * r2 / (r2 + 1e4)).sum()
    pose = fit["body_pose"].numpy()[0]
    angles = np.exp([2 * pose[52], -2 * pose[55], -2 * pose[9], -2 * pose[12]]).sum()
    hands = sum(
        np.square(fit[name].numpy() @ mesh.components[k].numpy()).sum()
        for k, name in enumerate(("left_hand", "right_hand"))
    )
    square = {name: float(value.square().sum()) for name, value in fit.items()}
    jaw = sum((w * a) ** 2 for w, a in zip(weights.jaw, fit["jaw_pose"].numpy()[0], strict=True))
    expected = data + 16 * square["body_pose"] + 3.17 * 4 * angles + 9 * square["betas"] + 4 * square["expression"]
    assert float(total_loss(mesh, fit, seen, weights)) == pytest.approx(expected + 25 * hands + jaw, rel=1e-9)
    assert float(bend(fit["body_pose"])) == pytest.approx(angles)
    assert joint_factors(STAGES[0])[CONTOUR].sum() == 0 and joint_factors(STAGES[0])[25:].sum() == 0


def test_the_camera_stage_lays_the_torso_on_its_points(people, mesh):
    count = Counter()
    seen = seen_in(people, 0, torch.float64)
    clean = Mesh.keypoints(mesh, {name: torch.zeros(1, size).double() for name, size in SIZES.items()})[0]
    upright = torch.tensor([np.pi, 0.0, 0.0]).double()[None]
    fit = {**{name: torch.zeros(1, size).double() for name, size in SIZES.items()}, "global_orient": upright}
    points = mesh.keypoints(fit)[0]
    from dataclasses import replace

    seen = replace(seen, points=project(points, torch.tensor([0.1, -0.1, 12.0]).double(), seen))
    found = place_camera(mesh, seen, count)
    away = (project(mesh.keypoints(found)[0], found["transl"], seen) - seen.points)[list(TORSO)]
    assert away.norm(dim=1).max() < 1.0 and count.evaluations > 5
    assert float(found["transl"][0, 2]) == pytest.approx(12.0, rel=0.02)
    assert clean.shape == points.shape


def test_the_minimiser_finds_a_minimum_and_counts():
    count = Counter()
    target = torch.tensor([[1.0, -2.0]]).double()
    start = {"a": torch.zeros(1, 2).double(), "b": torch.ones(1, 1).double()}
    fit, loss = minimise(lambda f: ((f["a"] - target) ** 4).sum() + f["b"].sum() ** 2, start, ("a",), count)
    torch.testing.assert_close(fit["a"], target, atol=0.03, rtol=0)
    assert torch.equal(fit["b"], start["b"]) and loss == pytest.approx(1.0, abs=1e-4) and count.evaluations > 3


def test_people_are_seen_with_the_stated_noise(body):
    """2 px where nothing was done to a point, a tenth dropped or far off, dropped ones as OpenPose writes them."""
    many = draw_people(body, 40, np.random.default_rng(1))
    embedding = body.embeddings[LAYOUT]
    posed = body.restrict(embedding).pose(many.truth)
    K = torch.as_tensor(many.observations.truth.K)
    clean = camera_to_pixels(world_to_camera(posed.points[0]), K).numpy()
    order = embedded_points(embedding)
    used = many.observations.confidence[:, order] > 0
    away = np.where(used[..., None], many.observations.keypoints[:, order] - clean, np.nan)
    usual = np.abs(away).max(axis=-1) < 8
    assert away[usual].std() == pytest.approx(2.0, rel=0.05)
    pupils = 2
    missing = 1 - used.sum() / (len(used) * (len(order) - pupils))
    assert missing == pytest.approx(0.05, abs=0.01)
    assert (~usual & used).sum() / used.sum() == pytest.approx(0.05, abs=0.015)
    assert (many.observations.keypoints[many.observations.confidence == 0] == 0).all()
    height = np.ptp(clean[..., 1], axis=1)
    assert (height > 250).all() and (height < 1000).all()


def test_losses_of_many_are_each_one_s(people, mesh, fits):
    """Values and slopes, of two kinds and different stages, in a batch with rows that nobody waits for."""
    seen = [seen_in(people, k, torch.float64) for k in range(PEOPLE)]
    near = [{name: value + 0.01 for name, value in frame_of(fits, k).items()} for k in range(PEOPLE)]
    losses = [
        StageLoss(seen[0], STAGES[4]),
        TorsoLoss(seen[1], near[1]["transl"][0, 2] + 0.3),
        StageLoss(seen[2], STAGES[0]),
    ]
    rows = [None, *(Asked(fit, loss) for fit, loss in zip(near, losses, strict=True))]
    answers = evaluate(mesh, rows)
    assert answers[0] is None
    for k in range(PEOPLE):
        fit = {name: value.clone().requires_grad_() for name, value in near[k].items()}
        value = by_itself(mesh)(fit, losses[k])
        value.backward()
        assert float(answers[k + 1].value) == pytest.approx(float(value), rel=1e-12)
        for name, part in fit.items():
            if part.grad is not None:
                torch.testing.assert_close(answers[k + 1].slopes[name], part.grad, rtol=1e-9, atol=1e-6)


def test_frames_side_by_side_end_where_they_end_alone(monkeypatch, people, mesh):
    """Two at once, so that the third comes when one has ended; few steps, for even rounding grows on the way."""
    monkeypatch.setattr(smplifyx_reference, "STEPS", 1)
    monkeypatch.setattr(smplifyx_reference, "INNER", 4)
    seen = [seen_in(people, k, torch.float64) for k in range(PEOPLE)]
    found = dict(fit_together(mesh, seen, at_once=2))
    assert sorted(found) == [0, 1, 2]
    for k, result in found.items():
        alone = fit_frame(mesh, seen[k])
        assert result.evaluations == alone.evaluations and result.loss == pytest.approx(alone.loss, rel=1e-6)
        for name, value in alone.fit.items():
            torch.testing.assert_close(result.fit[name], value, rtol=1e-5, atol=1e-6)


def test_what_goes_wrong_in_one_frame_is_heard_of(monkeypatch, people, mesh):
    monkeypatch.setattr(smplifyx_reference, "STAGES", ("no weights",))
    with pytest.raises(AttributeError, match="hand_points"):
        list(fit_together(mesh, [seen_in(people, 0, torch.float64)]))
