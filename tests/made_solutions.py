"""A solution of a made-up body, small enough for tests of what is written."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import trimesh

from fitting.types import Block, Body, Layout, Observations, Parameters, Solution, Stop

FRAMES, POINTS, SIZE = 4, 5, (120, 90)
BLOCKS = (
    Block("betas", "vector", 3, True, 1.0),
    Block("expression", "vector", 4, False, 1.0),
    Block("global_orient", "rotation", 1, False, 0.1),
    Block("neck_pose", "rotation", 1, False, 0.1),
    Block("jaw_pose", "rotation", 1, False, 0.1),
    Block("leye_pose", "rotation", 1, False, 0.1),
    Block("reye_pose", "rotation", 1, False, 0.1),
    Block("transl", "vector", 3, False, 0.1),
    Block("scale", "vector", 1, True, 1.0),
)
BALL = trimesh.creation.icosphere(2, 0.1)


class FakeBody(Body):
    """A ball that fulfils the protocol of a body: it is moved by `transl` and turned by `global_orient`."""

    name = "open_head"
    sha256 = "ab" * 32
    blocks = BLOCKS
    joint_names = ("root",)
    faces = np.array(BALL.faces)
    head_joint = 0
    embeddings: dict = {}
    pose_priors: dict = {}
    yard_sticks: dict = {}
    expression_names = ("smile", "frown", "blink", "pout")
    expression_sd = torch.ones(4)
    expression_bounds = torch.tensor([[0.0, 1.0]] * 4)
    face_region = None
    colours = None
    uv = None
    uv_faces = None
    sliding = slice(0, 0)
    surface = mesh = bones = sizes = None

    def __init__(self, name: str = "open_head", textured: bool = False, ball: trimesh.Trimesh = BALL) -> None:
        self.name = name
        self.rest = np.array(ball.vertices)
        self.faces = np.array(ball.faces)
        if textured:
            self.uv = np.random.default_rng(1).random((len(ball.vertices) + 2, 2))
            self.uv_faces = self.faces + 2

    def neutral(self, problems: int, frames: int) -> Parameters:
        return Parameters({block.name: block.neutral(problems, frames) for block in self.blocks})

    def full(self, parameters: Parameters) -> Parameters:
        return parameters

    def pose(self, parameters: Parameters) -> SimpleNamespace:
        rest = torch.as_tensor(self.rest, dtype=torch.float32)
        turned = rest @ parameters["global_orient"][..., 0, :, :].mT
        return SimpleNamespace(points=turned + parameters["transl"][..., None, :], joints=None, rotations=None)

    def restrict(self, embedding: object) -> FakeBody:
        return self


class FakePictures:
    source, names, image_sizes = "fake", (), np.zeros((0, 2), dtype=int)
    fps, timestamps, focal_hints, is_clip = None, None, np.zeros(0), True

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self):
        for k in range(self.count):
            yield np.full((SIZE[1], SIZE[0], 3), 40 * k, dtype=np.uint8)


def rotation(angle: float) -> torch.Tensor:
    turn = trimesh.transformations.rotation_matrix(angle, [1, 0, 0])[:3, :3]
    return torch.as_tensor(turn, dtype=torch.float32)


def some_parameters() -> Parameters:
    generator = torch.Generator().manual_seed(0)
    blocks = {}
    for block in BLOCKS:
        frames = 1 if block.shared else FRAMES
        if block.kind == "vector":
            blocks[block.name] = torch.randn(1, frames, block.size, generator=generator) * 0.3
        else:
            turns = torch.stack([rotation(0.1 * k + 0.05) for k in range(frames)])
            blocks[block.name] = turns[None, :, None].contiguous()
    blocks["transl"] = torch.tensor([[[0.01 * k, 0.0, -1.0] for k in range(FRAMES)]])
    return Parameters(blocks)


def some_observations(person: str, is_clip: bool, pictures: bool) -> Observations:
    points = np.random.default_rng(3).uniform(30, 60, (FRAMES, POINTS, 2)).astype(np.float32)
    confidence = np.ones((FRAMES, POINTS), dtype=np.float32)
    confidence[2] = 0
    layout = Layout("five", tuple("abcde"), ((0, 1),), {"all": (0, 1, 2, 3, 4)}, ((0,), (1,)))
    return Observations(
        person=person,
        layout=layout,
        keypoints=points,
        confidence=confidence,
        names=tuple(f"{k:06d}" for k in range(FRAMES)),
        image_sizes=np.tile(SIZE, (FRAMES, 1)),
        is_clip=is_clip,
        fps=30000 / 1001 if is_clip else None,
        timestamps=np.arange(FRAMES) * 1001 / 30000 if is_clip else None,
        pictures=FakePictures(FRAMES) if pictures else None,
    )


def some_solution(person="000", is_clip=True, pictures=True, body: FakeBody | None = None) -> Solution:
    observations = some_observations(person, is_clip, pictures)
    error = np.array([1.0, 2.0, np.nan, 3.0])
    return Solution(
        body=body or FakeBody(),
        observations=observations,
        parameters=some_parameters(),
        start=some_parameters(),
        K=np.tile([[150.0, 0, 59.5], [0, 150.0, 44.5], [0, 0, 1]], (FRAMES, 1, 1)),
        valid=observations.valid,
        source=("fitted", "interpolated", "missing", "fitted"),
        error_px=error,
        error_percent=error / 2,
        start_error_px=error * 2,
        cost_start={"keypoints": error, "shape": np.arange(4.0)},
        cost_end={"keypoints": error / 3, "shape": np.arange(4.0)},
        iterations=np.arange(4),
        stop=(Stop.CONVERGED, Stop.NOT_FITTED, Stop.NOT_FITTED, Stop.KEPT_START),
        projected=observations.keypoints + np.float32(0.5),
        seconds=1.5,
    )
