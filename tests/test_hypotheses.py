"""Pieces of the search over starts."""

import roma
import torch

from fitting.camera import camera_to_pixels
from fitting.hypotheses import first_there, scale_focal
from fitting.types import Parameters


def test_another_focal_length_zooms_about_the_principal_point():
    """Frame by frame; points move away from the principal point by the factor, and from nowhere else."""
    K = torch.tensor([[[900.0, 0, 320], [0, 950, 240], [0, 0, 1]], [[700.0, 0, 100], [0, 700, 50], [0, 0, 1]]])
    factor = torch.tensor([2.0, 0.5])
    points = torch.tensor([[[0.1, -0.2, 2.0], [0.0, 0.0, 3.0], [-0.4, 0.3, 1.5]]]).expand(2, 3, 3)
    middle = K[:, None, :2, 2]
    before, after = camera_to_pixels(points, K), camera_to_pixels(points, scale_focal(K, factor))
    torch.testing.assert_close(after - middle, (before - middle) * factor[:, None, None])
    torch.testing.assert_close(scale_focal(K, factor)[:, 2], K[:, 2])
    torch.testing.assert_close(scale_focal(scale_focal(K, factor), 1 / factor), K)


def test_starts_that_have_met_go_on_as_the_cheapest_of_them():
    """Two frames, four starts; the last has another lens and is never the same as the others."""
    degrees = torch.tensor([[0.0, 10.0], [5.0, 90.0], [180.0, 12.0], [0.0, 90.0]])  # starts, frames
    costs = torch.tensor([[2.0, 1.0], [1.0, 3.0], [7.0, 0.5], [9.0, 9.0]])
    vectors = torch.deg2rad(degrees)[..., None] * torch.tensor([0.0, 1.0, 0.0])
    turned = Parameters({"global_orient": roma.rotvec_to_rotmat(vectors).flatten(0, 1)[:, None, None]})
    found = first_there([1.0, 1.0, 1.0, 2.0], turned, costs.flatten()).unflatten(0, (4, 2))
    assert found.tolist() == [[False, False], [True, True], [True, True], [True, True]]
    assert first_there(["a", "b", "c", "d"], turned, costs.flatten()).all()
