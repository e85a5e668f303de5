"""Bodies small enough to test mathematics in float64, and the real open head."""

from __future__ import annotations

import os
from pathlib import Path

# As the command line does, and before torch loads: small matrices, and the same bytes as in a child process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from fitting import bodies
from fitting.bodies.body import SkinnedBody
from fitting.bodies.flame import flame_body
from fitting.bodies.flame_files import FlameArrays
from fitting.layouts import IBUG68, MEDIAPIPE478
from fitting.types import Contour, Embedding

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"real photos and clips are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def open_head() -> SkinnedBody:
    return bodies.load("open_head", betas=100)


def random_arrays(seed: int = 0, vertices: int = 60, identity: int = 4, expression: int = 5) -> FlameArrays:
    """A FLAME-shaped model of random numbers, pose correctives included."""
    rng = np.random.default_rng(seed)
    regressor = rng.dirichlet(np.ones(vertices), 5)
    return FlameArrays(
        v_template=rng.normal(0, 0.1, (vertices, 3)),
        faces=np.stack([rng.permutation(vertices)[:3] for _ in range(80)]).astype(np.int64),
        identity_dirs=rng.normal(0, 0.01, (vertices, 3, identity)),
        expression_dirs=rng.normal(0, 0.01, (vertices, 3, expression)),
        posedirs=rng.normal(0, 0.005, (vertices, 3, 36)),
        J_regressor=regressor,
        weights=np.where(rng.random((vertices, 5)) < 0.5, rng.dirichlet(np.ones(5), vertices), 0.0)
        + [1e-3, 0, 0, 0, 0],
        parents=np.array([-1, 0, 1, 1, 1]),
        name="random",
        gender="neutral",
        sha256="0" * 64,
        extras={"size_sd": np.array(0.05), "expression_bounds": np.tile([0.0, 1.0], (expression, 1))},
    )


@pytest.fixture(scope="session")
def open_body() -> SkinnedBody:
    return bodies.load("open_body", betas=10, expressions=10)


@pytest.fixture(scope="session")
def random_body() -> SkinnedBody:
    """With mediapipe478 on 20 of its points and ibug68 with a contour of seven rows."""
    rng = np.random.default_rng(1)
    arrays = random_arrays()
    chosen = torch.as_tensor(
        sorted({33, 263, 13, 14, 159, 145, 386, 374, *rng.choice(478, 14, replace=False).tolist()})
    )
    return flame_body(arrays, {
        "mediapipe478": Embedding(MEDIAPIPE478, chosen, *random_places(arrays.faces, (len(chosen),), rng)),
        "ibug68": Embedding(
            IBUG68, torch.arange(17, 68), *random_places(arrays.faces, (51,), rng),
            Contour(torch.arange(17), torch.linspace(-39, 39, 7), *random_places(arrays.faces, (7, 17), rng)),
        ),
    }).to(torch.zeros(0, dtype=torch.float64))  # fmt: skip


def random_places(
    faces: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(faces[rng.integers(len(faces), size=shape)]), torch.as_tensor(
        rng.dirichlet(np.ones(3), shape)
    )
