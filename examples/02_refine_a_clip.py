"""The trip step by step, on landmarks that are arrays already: python examples/02_refine_a_clip.py [frames]

The clip is made up, so that the truth is known: landmarks with 1 px of noise, and a start as a regressor would give it.
For data of your own, fill in an `Observations` and leave `start` and `truth` out.
"""

import sys
from pathlib import Path

import torch

from fitting import bodies, samples, start
from fitting.config import FitConfig
from fitting.evidence import bind
from fitting.solve import solve
from fitting.truth import compare

ROOT = Path(__file__).resolve().parents[1]


def main(frames: int = 60) -> None:
    config = FitConfig.load(ROOT / "cfg_files" / "refine_flame.yaml")
    body = bodies.load(**config.body.model_dump())
    observations = samples.talking_head(body, samples.TalkingHead(frames=frames))
    K = start.camera_matrices(observations, config.camera)
    case = bind(body, observations, K, like=torch.zeros(0))  # float32 on the CPU
    solution = solve(case, start.guess(case), config)
    truth = compare(solution)
    assert truth is not None
    for who in ("start", "fit"):
        print(f"{who}: {truth[who]['face_error_mm']:.2f} mm from the truth, jitter {truth[who]['jitter_mm']:.2f} mm")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
