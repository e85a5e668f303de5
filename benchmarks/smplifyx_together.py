"""Many frames through SMPLify-X's procedure side by side: each has an optimiser of its own, and the losses that all of
them wait for are evaluated in one go. Evaluations are nearly all it takes, and a hundred cost as much as three.

Every frame has a thread, for an optimiser calls its loss from within; only one of them is awake at a time, so that the
results do not depend on chance. They are those of frames by themselves up to rounding, and so are the counts.

A frame keeps its row in a batch of one size from beginning to end: elsewhere, or among fewer, the same point has a loss
that is rounded otherwise, and a line search that comes back to where it was should find what it found.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.smplifyx_objective import Fit, Mesh, Seen
from benchmarks.smplifyx_reference import Loss, Result, fit_frame, of_kind

AT_ONCE = 100


class Asked(NamedTuple):
    """A loss that a frame waits for."""

    fit: Fit
    loss: Loss


class Answer(NamedTuple):
    value: Tensor
    slopes: dict[str, Tensor]  # by block, (1, size)


class Known(torch.autograd.Function):
    """A loss whose value and slopes are known before it is differentiated."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slopes: Sequence[Tensor], *_blocks: Tensor) -> Tensor:
        ctx.slopes = slopes
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.slopes


class Frame:
    """A fit that pauses at every loss."""

    def __init__(self, mesh: Mesh, seen: Seen) -> None:
        self.asked: SimpleQueue[Asked | Result | BaseException] = SimpleQueue()
        self.answers: SimpleQueue[Answer] = SimpleQueue()
        self.thread = threading.Thread(target=self.run, args=(mesh, seen), daemon=True)

    def run(self, mesh: Mesh, seen: Seen) -> None:
        try:
            self.asked.put(fit_frame(mesh, seen, self.evaluate))
        except BaseException as error:  # whatever it is: the one who waits for it has to hear of it
            self.asked.put(error)

    def evaluate(self, fit: Fit, loss: Loss) -> Tensor:
        self.asked.put(Asked({name: value.detach() for name, value in fit.items()}, loss))
        answer = self.answers.get()
        slopes = [answer.slopes[name] if value.requires_grad else None for name, value in fit.items()]
        return Known.apply(answer.value, slopes, *fit.values())

    def begin(self) -> Asked | Result:
        self.thread.start()
        return self.wait()

    def resume(self, answer: Answer) -> Asked | Result:
        self.answers.put(answer)
        return self.wait()

    def wait(self) -> Asked | Result:
        found = self.asked.get()
        if isinstance(found, BaseException):
            raise found
        return found


class Row(NamedTuple):
    """Of the batch: whose it is, and what that one waits for."""

    number: int
    frame: Frame
    asked: Asked


def fit_together(mesh: Mesh, every: Sequence[Seen], at_once: int = AT_ONCE) -> Iterator[tuple[int, Result]]:
    """The number of a frame and its result, in the order in which they end."""
    coming = iter(enumerate(every))
    rows: list[Row | None] = [None] * min(at_once, len(every))
    while True:
        for place, row in enumerate(rows):
            while row is None and (following := next(coming, None)) is not None:
                frame = Frame(mesh, following[1])
                found = frame.begin()
                if isinstance(found, Result):
                    yield following[0], found
                else:
                    row = rows[place] = Row(following[0], frame, found)
        if not any(rows):
            return
        for place, answer in enumerate(evaluate(mesh, [row and row.asked for row in rows])):
            row = rows[place]
            if row is not None and answer is not None:
                found = row.frame.resume(answer)
                if isinstance(found, Result):
                    rows[place] = None
                    yield row.number, found
                else:
                    rows[place] = row._replace(asked=found)


def evaluate(mesh: Mesh, rows: Sequence[Asked | None]) -> list[Answer | None]:
    """All losses and their slopes; those of a kind as one batch, whose other rows are filled up with anything."""
    answers: list[Answer | None] = [None] * len(rows)
    for kind in dict.fromkeys(type(asked.loss) for asked in rows if asked is not None):
        some = {k: asked for k, asked in enumerate(rows) if asked is not None and type(asked.loss) is kind}
        filler = next(iter(some.values()))
        batch = [some.get(k, filler) for k in range(len(rows))]
        fits = {name: torch.cat([asked.fit[name] for asked in batch]).requires_grad_() for name in filler.fit}
        with torch.enable_grad():
            values = of_kind(mesh, fits, [asked.loss for asked in batch])
            slopes = torch.autograd.grad(values.sum(), list(fits.values()), allow_unused=True)
        named = {name: slope for name, slope in zip(fits, slopes, strict=True) if slope is not None}
        values = values.detach()
        for k in some:
            answers[k] = Answer(values[k], {name: slope[k : k + 1] for name, slope in named.items()})
    return answers
