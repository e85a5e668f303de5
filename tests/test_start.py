"""The first guess: poses are recovered from whatever is visible, gaps are filled, cameras chosen in a stated order."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from made_clips import FLOAT64, SIZE, case_of, degrees_apart, placed, seen

from fitting.camera import exif_to_focal, fov_to_focal, intrinsics
from fitting.config import CameraConfig
from fitting.start import BLENDSHAPES, camera_matrices, fill_rotations, fill_rows, guess
from fitting.types import Codes, InputError

POSES = {
    "frontal": (0, 0, 0),
    "left": (0, 70, 0),
    "right": (0, -70, 0),
    "down": (30, 0, 0),
    "up": (-30, 0, 0),
    "tilted": (0, 0, 45),
    "lying": (0, 0, -90),
    "upside down": (0, 0, 180),
    "all at once": (20, -40, 25),
}


@pytest.fixture(scope="module")
def head(open_head):
    return open_head.to(FLOAT64)


@pytest.fixture(scope="module")
def poses(head):
    """All poses as photos of one batch, and their observations."""
    parameters = placed(head, list(POSES.values()))
    return parameters, seen(head, parameters)


def check(head, poses, observations, degrees, millimetres):
    found = guess(case_of(head, observations))
    turned = degrees_apart(found["global_orient"], poses["global_orient"])[0, :, 0]
    # Pixels fix the place of the face, not of the root joint that a small turn swings about: measure at the face.
    moved = (faces(head, found) - faces(head, poses)).norm(dim=-1)[0] * 1000
    for name, turn, move in zip(POSES, turned.tolist(), moved.tolist(), strict=True):
        assert turn < degrees and move < millimetres, f"{name}: {turn:.3f} degrees, {move:.3f} mm"


def faces(head, parameters):
    return head.restrict(head.embeddings["mediapipe478"]).pose(parameters).points.mean(dim=2)


def test_known_poses_are_recovered(head, poses):
    parameters, observations = poses
    check(head, parameters, observations, degrees=0.01, millimetres=0.05)


def test_half_of_the_points_are_enough(head, poses):
    parameters, observations = poses
    hidden = np.random.default_rng(0).random(observations.confidence.shape) < 0.5
    keypoints = np.where(hidden[..., None], np.nan, observations.keypoints)
    damaged = replace(observations, keypoints=keypoints, confidence=np.where(hidden, 0, observations.confidence))
    check(head, parameters, damaged, degrees=0.01, millimetres=0.05)


def test_one_side_of_the_face_is_enough(head, poses):
    """No particular point is relied on, not even the eyes' corners that the size is measured by."""
    parameters, observations = poses
    left = [left for left, _ in observations.layout.pairs]
    confidence = observations.confidence.copy()
    confidence[:, left] = 0
    check(head, parameters, replace(observations, confidence=confidence), degrees=0.01, millimetres=0.05)


def test_points_of_little_confidence_say_little(head, poses):
    parameters, observations = poses
    wrong = np.random.default_rng(1).random(observations.confidence.shape) < 0.3
    keypoints = observations.keypoints + np.where(wrong[..., None], [25.0, -15.0], 0.0)
    confidence = np.where(wrong, 1e-4 * observations.confidence, observations.confidence)
    check(head, parameters, replace(observations, keypoints=keypoints, confidence=confidence), 0.05, 0.2)


def test_a_fifth_of_wild_points_does_not_turn_the_head(head, poses):
    parameters, observations = poses
    rng = np.random.default_rng(2)
    wild = rng.random(observations.confidence.shape) < 0.2
    low, high = observations.keypoints.min(axis=1, keepdims=True), observations.keypoints.max(axis=1, keepdims=True)
    anywhere = low + (high - low) * rng.random(observations.keypoints.shape)
    damaged = replace(observations, keypoints=np.where(wild[..., None], anywhere, observations.keypoints))
    check(head, parameters, damaged, degrees=4, millimetres=25)


def test_the_result_of_a_frame_does_not_depend_on_the_others(head, poses):
    _, observations = poses
    together = guess(case_of(head, observations))
    alone = guess(case_of(head, one_frame(observations, 4)))
    torch.testing.assert_close(alone["global_orient"][0, 0], together["global_orient"][0, 4], atol=1e-6, rtol=0)
    torch.testing.assert_close(alone["transl"][0, 0], together["transl"][0, 4], atol=1e-6, rtol=0)


def one_frame(observations, k):
    rows = {n: getattr(observations, n)[k : k + 1] for n in ("keypoints", "confidence", "names", "image_sizes")}
    return replace(observations, **rows)


def test_mediapipes_head_matrix_is_a_start_and_a_wrong_one_does_no_harm(head, poses):
    parameters, observations = poses
    matrix = np.tile(np.eye(4), (len(observations), 1, 1))
    matrix[:, :3, :3] = 1.07 * parameters["global_orient"][0, :, 0].numpy()
    matrix[1] = np.nan
    matrix[2, :3, :3] = np.diag([1.0, -1.0, -1.0])
    check(head, parameters, replace(observations, head_matrix=matrix), degrees=0.01, millimetres=0.05)


def test_missing_frames_are_interpolated_and_the_ends_held(head):
    """A head that turns steadily: seen in frames 1, 2, 6 of 8."""
    parameters = placed(head, [(0, 5 * k, 0) for k in range(8)])
    observations = seen(head, parameters, is_clip=True)
    confidence = observations.confidence.copy()
    confidence[[0, 3, 4, 5, 7]] = 0
    found = guess(case_of(head, replace(observations, confidence=confidence)))
    expected = parameters["global_orient"][0, [1, 1, 2, 3, 4, 5, 6, 6], 0]
    assert degrees_apart(found["global_orient"][0, :, 0], expected).max() < 0.01
    assert torch.isfinite(found["transl"]).all()


def test_nothing_to_place(head, poses):
    _, observations = poses
    confidence = np.zeros_like(observations.confidence)
    confidence[:, :3] = 1
    with pytest.raises(InputError, match="4 or more"):
        guess(case_of(head, replace(observations, confidence=confidence)))


def test_rows_are_filled_linearly_and_held():
    rows = torch.tensor([[9.0], [0.0], [9.0], [9.0], [3.0], [9.0]]).double()
    known = torch.tensor([False, True, False, False, True, False])
    assert fill_rows(rows, known)[:, 0].tolist() == [0, 0, 1, 2, 3, 3]


def test_rotations_are_filled_along_the_geodesic():
    """Through half a turn of yaw, where interpolated axis-angle vectors would go astray."""
    angles = torch.tensor([170.0, 0, 0, 0, 190.0]).double()
    turned = roma.rotvec_to_rotmat(torch.deg2rad(angles)[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    known = torch.tensor([True, False, False, False, True])
    filled = fill_rotations(turned[:, None], known)[:, 0]
    expected = roma.rotvec_to_rotmat(
        torch.deg2rad(torch.tensor([170.0, 175, 180, 185, 190]).double())[:, None]
        * torch.tensor([0.0, 1.0, 0.0]).double()
    )
    assert degrees_apart(filled, expected).max() < 1e-4
    unbroken = fill_rotations(turned[:, None], torch.ones(5, dtype=torch.bool))[:, 0]
    torch.testing.assert_close(unbroken, turned)


def codes(head, frames, **values):
    sizes = {block.name: block.tangent_size for block in head.blocks}
    rows = {name: np.full((frames, sizes[name]), value) for name, value in values.items()}
    return Codes(rows, "open_head", np.ones(frames, dtype=bool))


def test_codes_go_before_the_alignment_block_by_block(head, poses):
    _, observations = poses
    frames = len(observations)
    given = codes(head, frames, expression=0.25, betas=1.0)
    given.values["betas"][::2] = 3.0
    given.valid[0] = False
    given.values["expression"][0] = np.nan  # a frame the regressor knew nothing of
    given.values["betas"][0] = np.nan
    found = guess(case_of(head, replace(observations, start=given)))
    assert (found["expression"] == 0.25).all()
    expected = given.values["betas"][1:, 0].mean()
    torch.testing.assert_close(found["betas"], torch.full_like(found["betas"], expected))  # one value for the clip
    placed_alone = guess(case_of(head, observations))
    torch.testing.assert_close(found["global_orient"], placed_alone["global_orient"])


@pytest.mark.parametrize("name", ["betas", "expression", "jaw_pose"])
def test_codes_of_another_size_are_refused(head, poses, name):
    _, observations = poses
    given = codes(head, len(observations), **{name: 0.1})
    short = Codes({name: given.values[name][:, :-1]}, "other", given.valid)
    with pytest.raises(InputError, match=name) as found:
        guess(case_of(head, replace(observations, start=short)))
    assert "other" in str(found.value)


def test_codes_of_another_number_of_frames_are_refused(head, poses):
    _, observations = poses
    with pytest.raises(InputError, match="frames"):
        guess(case_of(head, replace(observations, start=codes(head, len(observations) - 2, expression=0.1))))


def test_blendshapes_become_actions_and_an_open_jaw(head, poses):
    _, observations = poses
    scores = np.zeros((len(observations), 52))
    scores[:, BLENDSHAPES.index("mouthSmileLeft")] = 0.8
    scores[:, BLENDSHAPES.index("jawOpen")] = 1.0
    scores[2] = np.nan
    found = guess(case_of(head, replace(observations, blendshapes=scores)))
    smile = found["expression"][0, :, head.expression_names.index("mouthSmileLeft")]
    assert smile[0].item() == pytest.approx(0.8) and smile[2] == 0
    assert (found["expression"] != 0).sum() == len(observations) - 1
    assert roma.rotmat_to_rotvec(found["jaw_pose"])[0, 0, 0, 0] > 0.2


def test_blendshapes_are_mediapipes():
    """52, the first of which is the face at rest; MediaPipe has no tongue, ARKit no rest."""
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52 and BLENDSHAPES[0] == "_neutral"


def focal(observations, **camera):
    return camera_matrices(observations, CameraConfig(**camera))[0, 0, 0]


def test_the_camera_is_what_is_known_best(head, poses):
    """Focal, then field of view, then what came with the input, then EXIF, then the factor."""
    _, observations = poses
    frames = len(observations)
    with_exif = replace(observations, focal_hints=np.full(frames, 432.0))
    with_start = replace(
        with_exif, start=Codes({}, "x", np.ones(frames, dtype=bool), np.tile(np.eye(3), (frames, 1, 1)))
    )
    everything = {"focal": 900.0, "fov": 60.0, "focal_factor": 2.0}
    assert focal(with_start, **everything) == 900
    assert focal(with_start, fov=60.0) == pytest.approx(fov_to_focal(60.0, max(SIZE)))
    assert focal(with_start) == 1
    assert focal(with_exif) == 432
    assert focal(with_exif, use_exif=False) == pytest.approx(1.2 * max(SIZE))
    assert focal(observations, focal_factor=2.0) == pytest.approx(2 * max(SIZE))
    assert focal(replace(observations, focal_hints=np.full(frames, np.nan))) == pytest.approx(1.2 * max(SIZE))


def test_the_principal_point_is_the_middle_of_the_pixels_or_as_given(head, poses):
    _, observations = poses
    assert camera_matrices(observations, CameraConfig())[3, :2, 2].tolist() == [319.5, 239.5]
    assert camera_matrices(observations, CameraConfig(principal=(10, 20)))[3, :2, 2].tolist() == [10, 20]


def test_lens_formulas_with_answers_known_by_hand():
    assert fov_to_focal(90.0, 1000) == pytest.approx(500)
    assert exif_to_focal(50.0, (3600, 2400)) == pytest.approx(5000)  # 36 mm are 3600 pixels
    assert intrinsics(2.0, (3, 5)).tolist() == [[2, 0, 1], [0, 2, 2], [0, 0, 1]]
