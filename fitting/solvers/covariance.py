"""The inverse of a clip's matrix where it is wanted: the shared unknowns' block, every frame's own, and between them.

Given the shared unknowns, frames are a chain; they follow what is shared by  G_t = d x_t / d shared, so that

    cov(x_t) = cov(x_t | shared) + G_t cov(shared) G_t'        cov(x_t, shared) = G_t cov(shared)

The first term comes from the chain on its way back (Rauch, Tung & Striebel, 1965), with the G of the two frames behind:
with P_t, T_t, B_t of the elimination (`chain.py`) and K_t = -P_t [T_t' d2_t],

    cov(x_t | shared) = P_t + K_t cov(x_t+1, x_t+2 | shared) K_t'        G_t = K_t [G_t+1; G_t+2] - P_t B_t

The shared unknowns' covariance may come from elsewhere: where only some frames were asked for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.solvers.arrow import Arrow, Blocks
from fitting.solvers.chain import Carry, Eliminated, eliminate, inverse

WEAKEST = 1e-6  # curvature of a standard deviation of a thousand natural steps


class FrameCovariances(NamedTuple):
    """Some frames in a row, natural steps."""

    frames: slice
    own: Float[Tensor, "problems frames n n"]
    gain: Float[Tensor, "problems frames n m"]  # d own / d shared
    cross: Float[Tensor, "problems frames n m"]


def held(arrow: Arrow) -> Arrow:
    """The same matrix, symmetric to the last digit, with the weakest belief about every unknown: it shows only where
    there is no other, and without it nothing could be said of a problem in which one thing is not determined."""

    def blocks(window: slice) -> Blocks:
        own, border, corner = (part.double() for part in arrow.blocks(window))
        own, corner = 0.5 * (own + own.mT), 0.5 * (corner + corner.mT)
        own.diagonal(dim1=-2, dim2=-1).add_(WEAKEST)
        return Blocks(own, border, corner)

    corner = arrow.corner.clone()
    corner.diagonal(dim1=-2, dim2=-1).add_(WEAKEST)
    return replace(arrow, blocks=blocks, corner=corner)


class Covariance:
    """H^-1 of an arrow (see `held`); one way down its chain is taken when made, one way back by `frames`. Without
    `is_shared` nothing is asked of the shared unknowns but what others say of them: it costs half."""

    def __init__(self, arrow: Arrow, is_shared: bool = True) -> None:
        self.arrow = arrow
        n, m = arrow.width, arrow.shared
        carry = Carry.nothing(len(arrow.corner), n, m, arrow.corner)
        corner = arrow.corner
        self.carried: list[Carry] = []
        for window in arrow.windows():
            self.carried.append(carry)
            blocks = arrow.blocks(window)
            passed = eliminate(blocks.own, blocks.border, arrow.links(window), carry, with_schur=is_shared)
            self.last, carry = passed.done, passed.carry
            corner = corner + blocks.corner - passed.schur if is_shared else corner
        self.corner = 0.5 * (corner + corner.mT)

    def shared(self) -> Float[Tensor, "problems m m"]:
        return inverse(self.corner)

    def frames(self, shared: Float[Tensor, "problems m m"]) -> Iterator[FrameCovariances]:
        """From the last window to the first, under this covariance of the shared unknowns."""
        problems, n, m = len(self.corner), self.arrow.width, self.arrow.shared
        zeros = self.corner.new_zeros
        joint, follow = zeros(problems, 2 * n, 2 * n), zeros(problems, 2 * n, m)  # of the two frames behind
        for window, came in reversed(list(zip(self.arrow.windows(), self.carried, strict=True))):
            done = self.last if window.stop == self.arrow.frames else self._eliminated(window, came)
            own, gain, joint, follow = way_back(done, joint, follow)
            cross = (gain.flatten(1, 2) @ shared).unflatten(1, gain.shape[1:3])
            moved = cross @ gain.mT
            yield FrameCovariances(window, own + 0.5 * (moved + moved.mT), gain, cross)

    def _eliminated(self, window: slice, came: Carry) -> Eliminated:
        blocks = self.arrow.blocks(window)
        return eliminate(blocks.own, blocks.border, self.arrow.links(window), came, with_schur=False).done


def way_back(done: Eliminated, joint: Tensor, follow: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A window's covariances given the shared unknowns, and its G; `joint` and `follow` are those of the two frames
    behind it, and come back as those of its first two."""
    n = done.inverse.shape[-1]
    owns, gains = [], []
    far_ties = done.links.far_ties()
    for k in reversed(range(done.inverse.shape[1])):
        P, D = done.inverse[:, k], far_ties[k]
        far = P * done.links.far[:, k, None, :] if D is None else P @ D
        lever = torch.cat([P @ done.tie[:, k], far], dim=2)
        across = -lever @ joint  # of this frame with the two behind
        own = P - across @ lever.mT
        # Rounding's skew part would grow on the way back: only congruences are stable here.
        own = 0.5 * (own + own.mT)
        gain = -lever @ follow - P @ done.border[:, k]
        tie = across[:, :, :n]
        joint = torch.cat([torch.cat([own, tie], dim=2), torch.cat([tie.mT, joint[:, :n, :n]], dim=2)], dim=1)
        follow = torch.cat([gain, follow[:, :n]], dim=1)
        owns.append(own)
        gains.append(gain)
    return torch.stack(owns[::-1], dim=1), torch.stack(gains[::-1], dim=1), joint, follow
