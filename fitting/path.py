"""The cheapest path through the frames of a clip, where every frame has several candidates (Viterbi, 1967)."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TURN_SIGMA = 0.35  # radians from frame to frame: what a quick turn does at 25 frames per second
DEAREST_TURN = 8.0  # what any turn costs at most: a cut that nobody marked must not forbid the truth


def links(linked: Bool[Tensor, " links"], seen: Int[Tensor, " some"]) -> Float[np.ndarray, " links"]:
    """Between each seen frame and the next seen one: 1 / frames apart, 0 across a cut or between photos."""
    whole = torch.cat([torch.zeros(1, dtype=torch.long), torch.cumsum(linked.cpu().long(), 0)])
    first, after = seen[:-1].cpu(), seen[1:].cpu()
    unbroken = whole[after] - whole[first] == after - first
    return torch.where(unbroken, 1.0 / (after - first), 0.0).numpy()


def cheapest_path(
    costs: Float[np.ndarray, "frames candidates"],
    turns: Float[Tensor, "frames candidates 3 3"],
    change: Float[np.ndarray, "candidates candidates"],
    link: Float[np.ndarray, " links"],
) -> tuple[Int[np.ndarray, " frames"], float]:
    """Viterbi: a step between frames costs its turn, and `change` for another candidate."""
    angle = roma.rotmat_geodesic_distance(turns[:-1, :, None], turns[1:, None]).double().cpu().numpy()
    steps = (0.5 * (angle / TURN_SIGMA) ** 2).clip(max=DEAREST_TURN) + change
    best, came = costs[0], []
    for k in range(len(costs) - 1):
        total = best[:, None] + link[k] * steps[k]
        came.append(total.argmin(axis=0))
        best = total.min(axis=0) + costs[k + 1]
    path = [int(best.argmin())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1]), float(best.min())
