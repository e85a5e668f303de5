"""Motion files and what is learned from them: formats as described, SMPL-X's conventions, limits that people keep."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.body_draws import beliefs_alone
from benchmarks.make_pose_prior import anatomy, blend, mirror, samples
from benchmarks.motion_files import read_acclaim, read_bvh
from benchmarks.motion_retarget import CMU, JOINTS, MIXAMO_LIMBS, PARENTS, REST, read_all, retarget, shortest_turn
from fitting import bodies, places
from fitting.bodies.pose_priors import LEGS, read_learned
from fitting.bodies.smpl_joints import SMPLX_JOINTS, SMPLX_PARENTS
from fitting.layouts import BODY25
from fitting.terms import Terms
from fitting.terms.body_limits import joint_limits
from fitting.terms.body_pose import PoseLearned, nearest

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT x:LeftUpLeg
  {
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT LeftLeg
    {
      OFFSET 0 -4 0
      CHANNELS 3 Yrotation Xrotation Zrotation
      End Site
      {
        OFFSET 0 -3 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
0 0 0 10 20 30 1 2 3 40 50 60
5 6 7 0 0 0 0 0 90 0 0 0
"""
ASF = """:version 1.10
:bonedata
  begin
     id 1
     name lfemur
     direction 0 -1 0
     length 7
     axis 0 0 20  XYZ
    dof rx rz
    limits (-160 20) (-60 70)
  end
  begin
     id 2
     name ltibia
     direction 0 -1 0
     length 7
     axis 90 0 20  XYZ
    dof rx
    limits (-10 170)
  end
:hierarchy
  begin
    root lfemur
    lfemur ltibia
  end
"""


def about(axis, degrees):
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def test_bvh_rotations_are_the_product_of_the_channels_as_they_stand(tmp_path):
    (tmp_path / "a.bvh").write_text(BVH)
    motion = read_bvh(tmp_path / "a.bvh")
    assert motion.names == ("Hips", "LeftUpLeg", "LeftLeg") and motion.parents == (-1, 0, 1) and motion.fps == 25
    np.testing.assert_array_equal(motion.rest, [[1, 0, 0], [0, -4, 0], [0, -3, 0]])
    hips = about("z", 10) @ about("y", 20) @ about("x", 30)
    upper = hips @ about("z", 1) @ about("y", 2) @ about("x", 3)
    lower = upper @ about("y", 40) @ about("x", 50) @ about("z", 60)
    for k, expected in enumerate((hips, upper, lower)):
        np.testing.assert_allclose(motion.rotations[0, k], expected, atol=1e-12)


def test_acclaim_turns_in_a_bones_own_axes(tmp_path):
    (tmp_path / "a.asf").write_text(ASF)
    (tmp_path / "a.amc").write_text("#!OML\n:DEGREES\n1\nroot 0 0 0 10 20 30\nlfemur 15 25\nltibia 50\n")
    motion = read_acclaim(tmp_path / "a.asf", tmp_path / "a.amc")
    root = about("z", 30) @ about("y", 20) @ about("x", 10)
    own = about("z", 20)
    femur = root @ own @ (about("z", 25) @ about("x", 15)) @ own.T
    lower = about("z", 20) @ about("x", 90)
    tibia = femur @ lower @ about("x", 50) @ lower.T
    np.testing.assert_allclose(motion.rotations[0], [root, femur, tibia], atol=1e-12)


def test_a_retargeted_leg_points_where_the_files_does(tmp_path):
    """Whatever the file's rest pose: SMPL-X's own bone, turned by what was found, is parallel to the file's."""
    (tmp_path / "a.bvh").write_text(BVH.replace("OFFSET 0 -4 0", "OFFSET 1 -4 1"))
    motion = read_bvh(tmp_path / "a.bvh")
    bones = {"pelvis": "Hips", "left_hip": "LeftUpLeg", "left_knee": "LeftLeg"}
    poses = retarget("a", motion, bones)
    world = Rotation.from_rotvec(poses.global_orient).as_matrix()
    for joint, bone in (("left_hip", 1), ("left_knee", 2)):
        place = 3 * (JOINTS.index(joint) - 1)
        world = world @ Rotation.from_rotvec(poses.body_pose[:, place : place + 3]).as_matrix()
        found = world @ np.array(REST[joint])
        expected = motion.rotations[:, bone] @ motion.rest[bone] / np.linalg.norm(motion.rest[bone])
        np.testing.assert_allclose(found, expected, atol=1e-12)
    a, b = np.array([0.3, -1, 0.2]), np.array([1.0, 0.2, 0.1])
    turned = shortest_turn(a, b) @ a / np.linalg.norm(a)
    np.testing.assert_allclose(turned, b / np.linalg.norm(b), atol=1e-12)


def test_joints_are_smplx_s():
    assert JOINTS == SMPLX_JOINTS[:22] and PARENTS == tuple(SMPLX_PARENTS[:22])
    assert set(CMU) | set(MIXAMO_LIMBS) <= set(JOINTS)


def test_mirroring_twice_is_nothing_and_once_is_a_mirror():
    pose = np.random.default_rng(0).normal(size=(3, 63))
    np.testing.assert_array_equal(mirror(mirror(pose)), pose)
    once = mirror(pose).reshape(3, 21, 3)
    left, right = JOINTS.index("left_elbow") - 1, JOINTS.index("right_elbow") - 1
    np.testing.assert_array_equal(once[:, left], pose.reshape(3, 21, 3)[:, right] * [1, -1, -1])
    middle, spread = anatomy()
    np.testing.assert_allclose(mirror(middle[None])[0], middle)
    np.testing.assert_allclose(np.abs(mirror(spread[None])[0]), spread)


def test_the_shipped_prior_is_plausible_and_mirrored():
    prior = read_learned(places.models() / "pose_prior.npz", 63)
    mean = prior.means[0].numpy()
    np.testing.assert_allclose(mirror(mean[None])[0], mean, atol=1e-6)
    low, high = joint_limits(JOINTS[1:]).flatten(0, 1).numpy().T
    assert ((low < mean) & (mean < high)).all()
    named = dict(zip(JOINTS[1:], mean.reshape(21, 3), strict=True))
    assert named["left_shoulder"][2] < -0.9 and named["right_shoulder"][2] > 0.9  # arms hang
    assert named["left_knee"][0] > 0.1 and named["left_elbow"][1] < -0.2  # a little bent, the right way
    assert float(nearest(prior, prior.means[0]).abs().max()) < 1e-12
    bent = mean.copy()
    bent[9] += 1.0
    assert nearest(prior, torch.as_tensor(bent)).norm() < 1.6


def test_legs_that_nobody_sees_do_not_follow_the_trunk():
    """What is believed of them is the same however the trunk leans; all else is as it was captured."""
    path = places.models() / "pose_prior.npz"
    prior = read_learned(path, 63)
    tied, precision = (prior.whiten.mT @ prior.whiten).numpy()
    leg = np.repeat([any(part in name for part in LEGS) for name in JOINTS[1:]], 3)
    assert leg.sum() == 24
    np.testing.assert_allclose(precision[leg][:, ~leg], 0, atol=1e-9)
    assert abs(tied[leg][:, ~leg]).max() > 1
    with np.load(path) as arrays:
        np.testing.assert_allclose(np.linalg.inv(tied), arrays["covariance"], atol=1e-6)
        covariance = np.linalg.inv(precision)
        for part in (leg, ~leg):
            np.testing.assert_allclose(covariance[part][:, part], arrays["covariance"][part][:, part], atol=1e-6)


@pytest.mark.parametrize("confidence, component", [(0.0, 1), (0.29, 1), (0.3, 0), (1.0, 0)])
def test_the_evidence_says_whether_legs_are_seen(confidence, component):
    """Frame by frame; all else is seen in both."""
    body = bodies.load("open_body", betas=2, expressions=2)
    problem = beliefs_alone(body, Terms.model_validate({"pose": {}}), BODY25, body.neutral(1, 2))
    confidences = problem.evidence.confidence.clone()
    confidences[0, 1, torch.isin(problem.evidence.points, torch.tensor(BODY25.groups["legs"]))] = confidence
    problem = replace(problem, evidence=replace(problem.evidence, confidence=confidences))
    scene, prior = problem.scene(problem.base), body.pose_priors["learned"]
    assert PoseLearned().component(prior, scene).tolist() == [[0, component]]
    away = prior.whiten[component] @ -prior.means[0]
    torch.testing.assert_close(PoseLearned().residuals(scene).values[0, 1, 0, :63], away)
    torch.testing.assert_close(PoseLearned().jacobian(scene)["body_pose"][0, 1, :63], prior.whiten[component])


def test_natural_poses_are_within_the_limits_and_likely(shared):
    motions = read_all(shared / "motion")
    low, high = joint_limits(JOINTS[1:]).flatten(0, 1).numpy().T
    prior = read_learned(places.models() / "pose_prior.npz", 63)
    for motion in motions:
        poses = np.concatenate([motion.body_pose, mirror(motion.body_pose)])
        past = (np.clip(poses - high, 0, None) + np.clip(low - poses, 0, None)) / 0.1
        cost = 0.5 * (past**2).sum(axis=1)
        assert np.median(cost) == 0 and (cost > 0.5).mean() <= (0.25 if motion.name == "smplx" else 0.02), motion.name
        assert cost.max() < 4, motion.name
        distance = nearest(prior, torch.as_tensor(samples(motion)[0])).square().sum(dim=1) / 63
        assert 0.1 < distance.mean() < 2.0, motion.name


def test_the_shipped_prior_is_what_the_motions_give(shared):
    with np.load(places.models() / "pose_prior.npz") as arrays:
        mean, covariance = blend(read_all(shared / "motion"), float(arrays["share"]))
        np.testing.assert_allclose(arrays["mean"], mean, atol=1e-5)
        np.testing.assert_allclose(arrays["covariance"], covariance, atol=1e-5)
        assert "Apache-2.0" in " ".join(arrays["sources"]) and (arrays["joint_names"] == JOINTS[1:]).all()


@pytest.mark.parametrize("size", [63, 69])
def test_both_families_read_it(size):
    prior = read_learned(places.models() / "pose_prior.npz", size)
    assert prior.means.shape == (2, size) and prior.offsets.tolist() == [0, 0]
