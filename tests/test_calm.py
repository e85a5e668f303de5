"""A start made calm: averages against slow ones, cuts that stay cuts, clips shorter than the window."""

import math

import pytest
import roma
import torch

from fitting.calm import calm
from fitting.types import Parameters

FPS = 30.0


def moving(frames: int) -> Parameters:
    torch.manual_seed(frames)
    return Parameters(
        {
            "transl": torch.randn(1, frames, 3).double(),
            "body_pose": roma.rotvec_to_rotmat(torch.randn(1, frames, 2, 3).double()),
            "betas": torch.randn(1, 1, 4).double(),
        }
    )


@pytest.mark.parametrize("frames", [2, 3, 20])
def test_every_frame_is_the_mean_of_its_neighbours(frames):
    start = moving(frames)
    found = calm(start, torch.ones(frames - 1, dtype=torch.bool), FPS)
    for k in range(frames):
        near = [j for j in range(frames) if abs(j - k) <= math.ceil(3 * 1.5)]
        weights = torch.tensor([math.exp(-0.5 * ((j - k) / 1.5) ** 2) for j in near]).double()
        weights /= weights.sum()
        expected = (weights[:, None] * start["transl"][0, near]).sum(dim=0)
        assert torch.allclose(found["transl"][0, k], expected)
        chordal = roma.special_procrustes((weights[:, None, None, None] * start["body_pose"][0, near]).sum(dim=0))
        assert torch.allclose(found["body_pose"][0, k], chordal)
    assert torch.equal(found["betas"], start["betas"])


def test_nothing_is_averaged_across_a_cut():
    start, linked = moving(8), torch.ones(7, dtype=torch.bool)
    linked[3] = False
    apart = [calm(start.at(part), torch.ones(3, dtype=torch.bool), FPS) for part in (slice(0, 4), slice(4, 8))]
    together = calm(start, linked, FPS)
    assert torch.allclose(together["transl"], torch.cat([part["transl"] for part in apart], dim=1))
