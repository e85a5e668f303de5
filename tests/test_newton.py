"""The bend of points' paths as joints turn against automatic differentiation, and bodies with some of their points."""

from dataclasses import replace

import pytest
import torch
from test_body_jacobian import DOUBLE, LAYOUT, figure, figure_of_components  # noqa: F401
from test_skinning import random_parameters

from fitting.turns import cross_matrix


def turned(parameters, names, steps):
    """Rotations stepped from the left to second order: automatic differentiation of the exponential is NaN at 0."""
    small = cross_matrix(steps.unflatten(-1, (-1, 3)))
    turns = torch.eye(3).to(steps) + small + 0.5 * small @ small
    parts = turns.split([parameters[name].shape[2] for name in names])
    return parameters.replace({name: part @ parameters[name] for name, part in zip(names, parts, strict=True)})


@pytest.mark.parametrize(
    "names",
    [["global_orient", "body_pose", "jaw_pose", "left_hand_pose"], ["body_pose"], ["left_hand_pose", "body_pose"]],
)
@pytest.mark.parametrize("many", [64, 1])
def test_bends_equal_automatic_differentiation(figure, names, many, monkeypatch):  # noqa: F811
    monkeypatch.setattr("fitting.compiled.MANY", many)
    # Pose correctives are no rigid turns, and the contour slides with the head: both are left out of the bend.
    body = replace(figure, skin=replace(figure.skin, pose_directions=None))
    body = body.restrict(body.embedding_of(LAYOUT))
    parameters = random_parameters(body, 2, 2)
    forces = torch.randn(2, 2, len(LAYOUT.point_names), 3, dtype=torch.float64)
    forces[:, :, body.sliding] = 0
    found = body.bend(parameters, body.pose(parameters), forces, names)
    steps = sum(3 * parameters[name].shape[2] for name in names)
    for p in range(2):
        for f in range(2):

            def work(x, p=p, f=f):
                one = type(parameters)({name: value[p : p + 1] for name, value in parameters.items()}).at(
                    slice(f, f + 1)
                )
                return (body.pose(turned(one, names, x)).points[0, 0] * forces[p, f]).sum()

            expected = torch.autograd.functional.hessian(work, torch.zeros(steps, dtype=torch.float64))
            torch.testing.assert_close(found[p, f].tril(), expected.tril(), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("many", [64, 1])
def test_bends_of_a_decoded_hand_are_those_of_its_joints(figure_of_components, many, monkeypatch):  # noqa: F811
    """Cross terms with the body are exact; a hand's own are C' H C, what is left out is the decoder's own curve."""
    monkeypatch.setattr("fitting.compiled.MANY", many)
    body = figure_of_components.restrict(figure_of_components.embedding_of(LAYOUT))
    parameters = random_parameters(body, 1, 1)
    posed = body.pose(parameters)
    forces = torch.randn(*posed.points.shape, dtype=torch.float64)
    found = body.bend(parameters, posed, forces, ["body_pose", "left_hand_pca"])[0, 0]
    whole = body.inner.bend(body.full(parameters), posed, forces, ["body_pose", "left_hand_pose"])[0, 0]
    decoder = next(d for d in body.decoders if d.target == "left_hand_pose")
    steps = torch.block_diag(torch.eye(63).to(forces), decoder.steps(parameters["left_hand_pca"])[0, 0])
    whole = whole.tril() + whole.tril(-1).T
    torch.testing.assert_close(found.tril(), (steps.T @ whole @ steps).tril(), atol=1e-10, rtol=1e-8)


def test_some_points_are_where_they_were(figure_of_components):  # noqa: F811
    body = figure_of_components.restrict(figure_of_components.embedding_of(LAYOUT))
    parameters = random_parameters(body, 2, 3)
    whole = body.pose(parameters).points
    kept = torch.arange(whole.shape[2]) % 3 > 0
    for with_contour in (True, False):
        kept[body.sliding] = with_contour
        some = body.only(kept)
        torch.testing.assert_close(some.pose(parameters).points, whole[:, :, kept], atol=1e-12, rtol=0)
        functional = torch.randn(2, 3, int(kept.sum()), 2, 3, dtype=torch.float64)
        padded = functional.new_zeros(2, 3, len(kept), 2, 3)
        padded[:, :, kept] = functional
        names = ["body_pose", "betas", "left_hand_pca"]
        short = some.differentiate(parameters, some.pose(parameters), functional, names)
        long = body.differentiate(parameters, body.pose(parameters), padded, names)
        for name in names:
            torch.testing.assert_close(short[name], long[name][:, :, kept], atol=1e-10, rtol=1e-8)
