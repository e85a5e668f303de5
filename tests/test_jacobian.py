"""Closed-form derivatives of keypoints against automatic differentiation in float64: every block, every layout."""

import pytest
import roma
import torch
from test_skinning import random_parameters

PROBLEMS, FRAMES = 2, 3


def stepped(parameters, block, step):
    value = parameters[block.name]
    if block.kind == "rotation":
        return parameters.replace({block.name: roma.rotvec_to_rotmat(step.unflatten(-1, (-1, 3))) @ value})
    return parameters.replace({block.name: value + step})


@pytest.mark.parametrize("layout", ["mediapipe478", "ibug68"])
@pytest.mark.parametrize(
    "name",
    ["betas", "expression", "global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose", "transl", "scale"],
)
def test_closed_form_equals_automatic_differentiation(random_body, layout, name):
    body = random_body.restrict(random_body.embeddings[layout])
    block = next(b for b in body.blocks if b.name == name)
    parameters = random_parameters(body, PROBLEMS, FRAMES)
    posed = body.pose(parameters)
    functional = torch.randn(*posed.points.shape[:3], 2, 3, dtype=torch.float64)
    closed = body.differentiate(parameters, posed, functional, {name})[name]

    def functional_of(step):
        points = body.pose(stepped(parameters, block, step)).points
        return (functional * points[..., None, :]).sum(dim=-1)

    rows = 1 if block.shared else FRAMES
    zero = torch.zeros(PROBLEMS, rows, block.tangent_size, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(functional_of, zero)  # P F N 2, P rows tangent
    for p in range(PROBLEMS):
        for f in range(FRAMES):
            expected = full[p, f, :, :, p, 0 if block.shared else f]
            torch.testing.assert_close(closed[p, f], expected, atol=1e-9, rtol=1e-7)
