"""Frames that nobody saw: filled from their neighbours, held before the first and after the last."""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor


def fill_rows(values: Float[Tensor, "frames _"], seen: Tensor) -> Tensor:
    """Linear between seen frames, held beyond the first and the last."""
    known = torch.nonzero(seen)[:, 0].cpu().numpy()
    every = np.arange(len(values))
    columns = [np.interp(every, known, column) for column in values[seen].cpu().numpy().T]
    return torch.as_tensor(np.stack(columns, axis=1), dtype=values.dtype, device=values.device)


def fill_rotations(rotations: Float[Tensor, "frames *joints 3 3"], seen: Tensor) -> Tensor:
    """Along the geodesic between seen frames, held beyond the first and the last."""
    known = torch.nonzero(seen)[:, 0]
    every = torch.arange(len(rotations), device=rotations.device)
    after = torch.searchsorted(known, every).clamp(max=len(known) - 1)
    before = torch.where(known[after] > every, (after - 1).clamp(min=0), after)
    gap = (known[after] - known[before]).clamp(min=1)
    share = ((every - known[before]) / gap).clamp(0, 1).to(rotations)
    first, last = rotations[known[before]], rotations[known[after]]
    turn = roma.rotmat_to_rotvec(last @ first.mT) * share.view(-1, *[1] * (rotations.ndim - 2))
    return roma.rotvec_to_rotmat(turn) @ first
