"""Several clips of one person: one shape, no motion from one to the next, every row with its clip's name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from made_clips import case_of, placed, seen

from fitting.cli import main
from fitting.config import FitConfig
from fitting.evidence import as_evidence
from fitting.solve import solve
from fitting.together import JoinedPictures, join
from fitting.types import InputError, Observations, Parameters

FRAMES = 8
CONFIG = FitConfig.model_validate(
    {
        "precision": "float64",
        "terms": {
            "keypoints": {"sigma": 0.02},
            "shape": {},
            "expression": {"sigma": 0.5},
            "acceleration": {"strength": 1.0, "blocks": {"global_orient": 0.02, "transl": 0.005, "expression": 0.2}},
        },
        "stages": [{"name": "all", "free": ["rotation", "translation", "expression", "shape"], "tolerance": 1e-9}],
    }
)


def true_clip(body, yaw: float, betas: torch.Tensor) -> Parameters:
    """A head that nods, seen from one side."""
    time = np.linspace(0, 1, FRAMES)
    turned = placed(body, np.stack([6 * np.sin(5 * time), yaw + 4 * time, 0 * time], axis=1))
    return turned.replace({"betas": betas})


def noisy(body, truth: Parameters, seed: int, pixels: float = 2.0) -> Observations:
    observations = seen(body, truth, is_clip=True)
    rng = np.random.default_rng(seed)
    return replace(observations, keypoints=observations.keypoints + rng.normal(0, pixels, observations.keypoints.shape))


@pytest.fixture(scope="module")
def clips(random_body) -> tuple[list[Parameters], list[Observations]]:
    sizes = {block.name: block.size for block in random_body.blocks}
    betas = torch.tensor([1.0, -0.8, 0.6, -1.2], dtype=torch.float64)[None, None, : sizes["betas"]]
    truths = [true_clip(random_body, yaw, betas) for yaw in (-20.0, 25.0)]
    return truths, [noisy(random_body, truth, seed) for seed, truth in enumerate(truths)]


def start_of(body, truths: list[Parameters]) -> Parameters:
    """The true place and the mean face."""
    neutral = body.neutral(1, FRAMES * len(truths))
    moving = {name: torch.cat([truth[name] for truth in truths], dim=1) for name in ("global_orient", "transl")}
    return neutral.replace(moving)


def test_rows_carry_their_clips_name(clips):
    joined = join(clips[1], ["one", "two"])
    assert len(joined) == 2 * FRAMES and joined.clip_starts == (FRAMES,)
    assert joined.names[0] == "one_000" and joined.names[FRAMES] == "two_000"
    assert len(set(join(clips[1], ["same", "same"]).names)) == 2 * FRAMES
    np.testing.assert_array_equal(joined.keypoints[FRAMES:], clips[1][1].keypoints)


def test_one_clip_is_left_as_it_is(clips):
    assert join(clips[1][:1], ["one"]) is clips[1][0]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"fps": 50.0}, "frames per second"), ({"is_clip": False}, "not a clip")],
)
def test_clips_that_do_not_go_together(clips, change, says):
    first, second = clips[1]
    with pytest.raises(InputError, match=f"two.*{says}"):
        join([first, replace(second, **change)], ["one", "two"])


def test_other_keypoints_do_not_go_together(random_body, clips):
    truth = clips[0][1]
    other = seen(random_body, truth, is_clip=True, layout="ibug68")
    with pytest.raises(InputError, match="two has ibug68 keypoints and one has mediapipe478"):
        join([clips[1][0], other], ["one", "two"])


def test_pictures_follow_each_other(clips):
    class Grey:
        source, names, fps, is_clip, timestamps = "grey", ("0", "1"), 25.0, True, None
        image_sizes, focal_hints = np.array([[4, 2]] * 2), np.full(2, np.nan)

        def __init__(self, value):
            self.value = value

        def __len__(self):
            return 2

        def read(self):
            yield from np.full((2, 2, 4, 3), self.value, dtype=np.uint8)

    joined = JoinedPictures((Grey(1), Grey(2)), ("a", "b", "c", "d"))
    assert [int(picture[0, 0, 0]) for picture in joined.read()] == [1, 1, 2, 2]
    assert len(joined) == len(joined.image_sizes) == len(joined.focal_hints) == 4 and joined.timestamps is None


def test_motion_does_not_cross_from_clip_to_clip(random_body, clips):
    """With the shape given, clips fitted as one are the clips fitted apart."""
    truths, observations = clips
    stage = CONFIG.stages[0].model_copy(update={"free": ("rotation", "translation", "expression"), "tolerance": 1e-13})
    config = CONFIG.model_copy(update={"stages": (stage,)})
    start = start_of(random_body, truths).replace({"betas": truths[0]["betas"]})
    case = case_of(random_body, join(observations, ["one", "two"]))
    assert not as_evidence(case, start).linked[0, FRAMES - 1] and as_evidence(case, start).linked.sum() == 14
    whole = solve(case, start, config).parameters
    for k, clip in enumerate(observations):
        part = slice(k * FRAMES, (k + 1) * FRAMES)
        alone = solve(case_of(random_body, clip), start.at(part), config).parameters
        for name in ("transl", "expression", "global_orient"):
            torch.testing.assert_close(whole[name][:, part], alone[name], atol=1e-4, rtol=0)


def test_a_gap_at_the_join_is_not_bridged(random_body, clips):
    truths, observations = clips
    joined = join(observations, ["one", "two"])
    joined.confidence[[FRAMES - 1, FRAMES]] = 0.0
    solution = solve(case_of(random_body, joined), start_of(random_body, truths), CONFIG)
    assert solution.source[FRAMES - 1] == solution.source[FRAMES] == "held"


def test_the_shape_is_nearer_the_truth_than_from_either_clip(random_body):
    """Over several draws of noise: one alone may be lucky."""
    sizes = {block.name: block.size for block in random_body.blocks}
    rng = np.random.default_rng(3)
    alone, together = [], []
    for draw in range(4):
        betas = torch.as_tensor(rng.normal(0, 1, (1, 1, sizes["betas"])))
        truths = [true_clip(random_body, yaw, betas) for yaw in (-20.0, 25.0)]
        clips = [noisy(random_body, truth, 10 * draw + k, pixels=6.0) for k, truth in enumerate(truths)]
        for clip, truth in zip(clips, truths, strict=True):
            found = solve(case_of(random_body, clip), start_of(random_body, [truth]), CONFIG)
            alone.append(float((found.parameters["betas"] - betas).square().mean()))
        found = solve(case_of(random_body, join(clips, ["one", "two"])), start_of(random_body, truths), CONFIG)
        assert found.parameters["betas"].shape[1] == 1
        together.append(float((found.parameters["betas"] - betas).square().mean()))
    assert np.mean(together) < 0.8 * np.mean(alone), (together, alone)


def test_from_the_command_line_to_one_file(open_head, tmp_path):
    head = open_head.to(torch.zeros(0, dtype=torch.float64))
    for name, yaw in (("one", -10.0), ("two", 15.0)):
        pixels = seen(head, placed(head, [(0, yaw + k, 0) for k in range(4)])).keypoints
        size = np.array((640, 480))
        np.savez(tmp_path / f"{name}.npz", landmarks=(pixels + 0.5) / size, image_size=size, fps=np.array(25.0))
    recipe = {
        "terms": {"keypoints": {}, "shape": {}},
        "camera": {"focal": 700},
        "stages": [{"name": "all", "free": ["rotation", "translation", "shape"], "iterations": 10}],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--config", tmp_path / "recipe.yaml", "--input", tmp_path / "one.npz", "--clips", tmp_path / "two.npz"]
    assert main([*map(str, words), "--output", str(tmp_path / "out"), "--outputs", "params,npy", "--quiet"]) == 0
    with np.load(tmp_path / "out" / "params.npz", allow_pickle=False) as file:
        assert file["clip_starts"].tolist() == [4]
        assert file["names"].tolist() == [f"{clip}_{k:06d}" for clip in ("one", "two") for k in range(4)]
        assert (file["betas"] == file["betas"][0]).all()
        np.testing.assert_allclose(np.rad2deg(file["global_orient"][[0, 4], 1]), [-10, 15], atol=1)
