"""The blocks of an inverse that error bars need, against the dense inverse."""

from dataclasses import replace

import pytest
import torch
from test_curvature import random_arrow, to_dense

from fitting.solvers import Blocks, Covariance, held


@pytest.mark.parametrize("window", [2, 5, 100])
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
@pytest.mark.parametrize("m", [0, 4])
def test_covariances_are_the_blocks_of_the_inverse(frames, m, window):
    arrow = random_arrow(2, frames, 5, m, window)
    expected = torch.linalg.inv(to_dense(arrow))
    chain = Covariance(arrow)
    shared, seen = chain.shared(), []
    torch.testing.assert_close(shared, expected[:, frames * 5 :, frames * 5 :])
    for found in chain.frames(shared):
        for k, t in enumerate(range(found.frames.start, found.frames.stop)):
            here = slice(t * 5, t * 5 + 5)
            seen.append(t)
            torch.testing.assert_close(found.own[:, k], expected[:, here, here])
            torch.testing.assert_close(found.cross[:, k], expected[:, here, frames * 5 :])
    assert sorted(seen) == list(range(frames))


def test_frames_follow_another_covariance_of_what_they_share():
    """Under the law of total covariance, from the dense matrix."""
    frames, m = 5, 4
    arrow = random_arrow(2, frames, 5, m, 2)
    dense = to_dense(arrow)
    own = torch.linalg.inv(dense[:, : frames * 5, : frames * 5])
    gain = -own @ dense[:, : frames * 5, frames * 5 :]
    shared = torch.diag_embed(torch.arange(1.0, 1.0 + m).double()).expand(2, m, m)
    expected = own + gain @ shared @ gain.mT
    for found in Covariance(arrow).frames(shared):
        for k, t in enumerate(range(found.frames.start, found.frames.stop)):
            here = slice(t * 5, t * 5 + 5)
            torch.testing.assert_close(found.own[:, k], expected[:, here, here])
            torch.testing.assert_close(found.cross[:, k], gain[:, here] @ shared)
            torch.testing.assert_close(found.gain[:, k], gain[:, here])


def test_what_nothing_holds_has_a_huge_variance_and_spoils_no_other():
    arrow = random_arrow(1, 3, 5, 2, 100)
    own, border, corner = arrow.blocks(slice(0, 3))
    own, border = own.clone(), border.clone()
    own[:, 1, 2], own[:, 1, :, 2], border[:, 1, 2] = 0.0, 0.0, 0.0  # the third unknown of the second frame
    near, far = arrow.next.clone(), arrow.second.clone()
    near[..., 2], far[..., 2] = 0.0, 0.0
    loose = replace(arrow, blocks=lambda _: Blocks(own.clone(), border.clone(), corner.clone()), next=near, second=far)
    chain = Covariance(held(loose))
    (found,) = chain.frames(chain.shared())
    sd = found.own[0].diagonal(dim1=-2, dim2=-1).sqrt()
    assert sd[1, 2] == pytest.approx(1000, rel=1e-3)
    kept = torch.ones(3, 5, dtype=torch.bool)
    kept[1, 2] = False
    assert sd[kept].max() < 1.0
