"""Skinning against a slow, obvious version; restricted bodies against the whole one."""

import numpy as np
import pytest
import roma
import torch
from conftest import random_arrays

from fitting.bodies import SkinnedBody, skinning
from fitting.types import Parameters


def random_parameters(body: SkinnedBody, problems: int, frames: int, seed: int = 0, size: float = 0.3) -> Parameters:
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for name, value in body.neutral(problems, frames).items():
        if value.ndim == 5:
            steps = torch.randn(*value.shape[:-1], generator=generator, dtype=torch.float64) * size
            changes[name] = roma.rotvec_to_rotmat(steps).to(value)
        else:
            changes[name] = (torch.randn(value.shape, generator=generator, dtype=torch.float64) * size).to(value)
    return Parameters(changes)


def slow_vertices(arrays, betas, expression, rotations, transl, scale):
    """SMPL's equations 2-4 word by word, vertex by vertex, with 4 x 4 matrices."""
    shaped = arrays.v_template + arrays.identity_dirs @ betas + arrays.expression_dirs @ expression
    joints = arrays.J_regressor @ shaped
    feature = np.concatenate([(R - np.eye(3)).ravel() for R in rotations[1:]])
    corrected = shaped + arrays.posedirs @ feature
    world = []
    for j, parent in enumerate(arrays.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    vertices = []
    for v, weights in zip(corrected, arrays.weights, strict=True):
        blended = sum(
            w * (G[:3, :3] @ (v - joints[j]) + G[:3, 3]) for j, (w, G) in enumerate(zip(weights, world, strict=True))
        )
        vertices.append(blended)
    return np.array(vertices) * np.exp(scale) + transl


def test_whole_body_equals_the_slow_obvious_version(random_body):
    parameters = random_parameters(random_body, 2, 3)
    points = random_body.pose(parameters).points
    arrays = random_arrays()
    for p in range(2):
        for f in range(3):
            row = {n: v[p, 0 if v.shape[1] == 1 else f].numpy() for n, v in parameters.items()}
            rotations = [row[name][0] for name in random_body.rotation_blocks]
            slow = slow_vertices(arrays, row["betas"], row["expression"], rotations, row["transl"], row["scale"])
            # The fixture's arrays passed through float32 on their way.
            np.testing.assert_allclose(points[p, f].numpy(), slow, atol=2e-7)


@pytest.mark.parametrize("layout", ["mediapipe478", "ibug68"])
def test_restricted_body_equals_the_whole_one_at_its_points(random_body, layout):
    embedding = random_body.embeddings[layout]
    parameters = random_parameters(random_body, 2, 4)
    whole, restricted = random_body.pose(parameters), random_body.restrict(embedding).pose(parameters)
    corners = whole.points[:, :, embedding.vertices]
    expected = (corners * embedding.weights.to(corners)[..., None]).sum(dim=3)
    np.testing.assert_allclose(restricted.points[:, :, : len(embedding.points)], expected, atol=1e-9)
    np.testing.assert_allclose(restricted.joints, whole.joints, atol=1e-12)


@pytest.mark.parametrize("degrees", [-60.0, -39.0, -20.0, -1.0, 0.0, 4.0, 26.0, 39.0, 80.0])
def test_contour_slides_with_the_signed_yaw(random_body, degrees):
    embedding = random_body.embeddings["ibug68"]
    contour = embedding.contour
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=torch.float64))
    parameters = random_body.neutral(1, 1)
    parameters = parameters.replace({"global_orient": turn.expand(1, 1, 1, 3, 3)})
    whole = random_body.pose(parameters).points[0, 0]
    table = (whole[contour.vertices] * contour.weights[..., None].to(whole)).sum(dim=2).numpy()
    yaw = contour.yaw.numpy()
    at = np.clip(degrees, yaw[0], yaw[-1])
    expected = [[np.interp(at, yaw, table[:, n, d]) for d in range(3)] for n in range(17)]
    found = random_body.restrict(embedding).pose(parameters).points[0, 0, -17:]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_shared_identity_is_broadcast_over_frames(random_body):
    parameters = random_parameters(random_body, 1, 3)
    repeated = parameters.replace(
        {"betas": parameters["betas"].expand(1, 3, -1), "scale": parameters["scale"].expand(1, 3, -1)}
    )
    torch.testing.assert_close(random_body.pose(parameters).points, random_body.pose(repeated).points)


@pytest.mark.parametrize("problems, frames", [(1, 1), (3, 4)])
def test_entries_turned_together_are_those_turned_joint_by_joint(random_body, monkeypatch, problems, frames):
    """Places at rest are one for all problems, as a fixed shape's are, or one for each."""
    skin, joints = random_body.skin, len(random_body.skeleton.parents)
    torch.manual_seed(0)
    rotations = roma.random_rotmat((problems, frames, joints)).to(skin.template)
    places = torch.randn(problems, frames, joints, 3).to(skin.template)
    for one in (1, problems):
        rest = skin.template + torch.randn(one, 1, len(skin.template), 3).to(skin.template)
        at_rest = torch.randn(one, 1, joints, 3).to(skin.template)
        found = skinning.turn_entries(skin, rest, at_rest, rotations, places)
        torch.testing.assert_close(skinning.turn_by_joint(skin, rest, at_rest, rotations, places), found)
        monkeypatch.setattr(skinning, "FEW_IN_ALL", 0)
        monkeypatch.setattr(skinning, "FEW_ENTRIES", 0)
        torch.testing.assert_close(found, skinning.skin_entries(skin, rest, at_rest, rotations, places))
