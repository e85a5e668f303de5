"""Metrics of skeletons: by hand, and against a numerical search for the best similarity."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from benchmarks.body_metrics import align, measure


def skeletons(frames=5, joints=9, seed=0):
    return np.random.default_rng(seed).normal(0, 0.4, (frames, joints, 3))


def test_a_moved_skeleton_is_perfect_and_a_turned_one_is_after_alignment():
    truth = skeletons()
    assert measure(truth + [3.0, 1.0, 0.2], truth).mpjpe == pytest.approx(0, abs=1e-9)
    R = Rotation.random(5, random_state=1).as_matrix()
    turned = 1.7 * truth @ R.transpose(0, 2, 1) + 2.0
    found = measure(turned, truth)
    assert found.pa_mpjpe == pytest.approx(0, abs=1e-9) and found.mpjpe > 100


def test_alignment_is_the_best_similarity_and_never_mirrors():
    truth = skeletons(2)
    fitted = skeletons(2, seed=3) * [1, 1, -1]
    aligned = align(fitted, truth)
    for k in range(2):

        def distance(x, k=k):
            return (
                (np.exp(x[6]) * fitted[k] @ Rotation.from_rotvec(x[:3]).as_matrix().T + x[3:6] - truth[k]) ** 2
            ).sum()

        starts = np.random.default_rng(0).normal(0, 1.5, (12, 7))
        best = min(minimize(distance, start, tol=1e-12).fun for start in starts)
        assert ((aligned[k] - truth[k]) ** 2).sum() == pytest.approx(best, rel=1e-6)
    mirrored = truth * [-1, 1, 1]
    assert measure(mirrored, truth).pa_mpjpe > 50


def test_numbers_by_hand():
    truth = np.zeros((2, 4, 3))
    fitted = truth.copy()
    fitted[0, 1, 0] = 0.010
    fitted[1, 0, 2] = 0.020  # the root: all others move against it
    found = measure(fitted, truth)
    assert found.mpjpe == pytest.approx((10 + 3 * 20) / 8)
    assert found.mpjpe_p90 == pytest.approx(20)
