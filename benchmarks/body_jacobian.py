"""What posing a body and differentiating it costs: microseconds of processor time per frame, all blocks.

    python -m benchmarks.body_jacobian

A window of 128 frames, which is what a solver asks for at a time, and 512. Heads turn by little, as in a clip, or by
much, so that the whole table of the jaw line is in use. Best of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import roma
import torch

from fitting import bodies
from fitting.layouts import LAYOUTS
from fitting.types import Body, Parameters

CASES = (("open_body", "openpose137"), ("open_body", "body25"), ("open_head", "mediapipe478"), ("open_head", "ibug68"))
FRAMES = (1, 128, 512)
TURNS = {"little": 0.05, "much": 0.3}  # radians, standard deviation of every joint


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'body':12}{'layout':14}{'frames':>7} {'turned':8}{'pose':>8}{'+ gradient':>12}{'Jacobian':>10}")
    for name, layout in CASES:
        whole = bodies.load(name)
        embedding = whole.embedding_of(next(one for one in LAYOUTS if one.name == layout))
        assert embedding is not None
        body = whole.restrict(embedding)
        for frames in FRAMES:
            for word, size in TURNS.items():
                costs = [1e6 * cost / frames for cost in measure(body, frames, size)]
                print(f"{name:12}{layout:14}{frames:7} {word:8}{costs[0]:8.0f}{costs[1]:12.0f}{costs[2]:10.0f}")


def measure(body: Body, frames: int, size: float) -> tuple[float, float, float]:
    """Seconds to pose, to pose and take the gradient of all parameters, and to differentiate every keypoint."""
    parameters = random_parameters(body, frames, size)
    names = [block.name for block in body.blocks]

    def gradient() -> None:
        leaves = parameters.replace({n: v.clone().requires_grad_(True) for n, v in parameters.items()})
        body.pose(leaves).points.sum().backward()

    with torch.no_grad():
        posed = body.pose(parameters)
        functional = torch.randn(*posed.points.shape[:3], 2, 3)
        pose = seconds(lambda: body.pose(parameters))
        jacobian = seconds(lambda: body.differentiate(parameters, posed, functional, names))
    return pose, seconds(gradient), jacobian


def random_parameters(body: Body, frames: int, size: float) -> Parameters:
    generator = torch.Generator().manual_seed(0)
    found = dict(body.neutral(1, frames))
    for block in body.blocks:
        if block.kind == "rotation":
            turns = size * torch.randn(1, frames, block.size, 3, generator=generator)
            found[block.name] = roma.rotvec_to_rotmat(turns)
        else:
            found[block.name] = 0.3 * torch.randn(found[block.name].shape, generator=generator)
    return Parameters(found)


def seconds(work: Callable[[], object], times: int = 5) -> float:
    work()
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
