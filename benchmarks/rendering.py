"""How fast pictures are made: overlays, maps, turntable and texture of `sample:talking_head` at 512 x 512.

    python -m benchmarks.rendering [--frames 48] [--model open_head]

`a second` is what a clock on the wall says and depends on what else runs; `CPU s each` does not. A machine with as many
free cores as the table's head says can at best make cores / CPU s of them a second.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# Small matrices: more BLAS threads make them slower, and this must be said before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.table import format_table
from fitting import bodies, samples
from fitting.types import Body, Pictures, Solution, Stop
from fitting.writers import PICTURE_WRITERS, PictureOptions
from fitting.writers.turntable import STEPS

HEADER = ("what", "a second", "CPU s each", "cores used")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--model", default="open_head")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    body = bodies.load(options.model)
    solution = true_solution(body, options.frames)
    print(f"{body.name}, {len(body.faces)} triangles, {options.frames} frames, {os.cpu_count()} cores")
    print(format_table(HEADER, list(rows(solution))))


def rows(solution: Solution) -> Iterator[tuple[object, ...]]:
    no_files, files = PictureOptions(overlay_pictures="none"), PictureOptions(overlay_pictures="all")
    frames = len(solution)
    yield timed("overlay.mp4", frames, "overlay", solution, no_files)
    yield timed("overlay.mp4 and overlay.png", frames, "overlay", solution, files)
    for name in ("depth", "normals", "mask", "wireframe", "visibility"):
        yield timed(name, frames, name, solution, files)
    yield timed("turntable.mp4", STEPS, "turntable", solution, files)
    for size in (1024, 2048):
        texture = PictureOptions(texture=size, texture_frames=min(24, frames))
        yield timed(f"frame into a texture of {size}", min(24, frames), "texture", solution, texture)


def timed(what: str, count: int, name: str, solution: Solution, options: PictureOptions) -> tuple[object, ...]:
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        PICTURE_WRITERS[name]([solution], Path(folder), options)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return what, count / wall, processor / count, processor / wall


@dataclass(frozen=True)
class Kept:
    """Pictures that were made beforehand: their making is not measured."""

    made: Pictures
    frames: tuple[UInt8[np.ndarray, "rows columns 3"], ...]

    def read(self) -> Iterator[np.ndarray]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getattr__(self, name: str) -> object:
        return getattr(self.made, name)


def true_solution(body: Body, frames: int) -> Solution:
    """The sample's truth, as if it had been fitted."""
    seen = samples.talking_head(body, samples.TalkingHead(frames=frames))
    made = seen.pictures
    assert isinstance(made, samples.RenderedPictures)
    seen = replace(seen, pictures=Kept(made, tuple(made.read())))
    zeros, count = np.zeros(frames), np.zeros(frames, dtype=np.int64)
    return Solution(
        body=body, observations=seen, parameters=made.parameters, start=made.parameters, K=made.K, valid=seen.valid,
        source=("fitted",) * frames, error_px=zeros, error_percent=zeros, start_error_px=zeros,
        cost_start={}, cost_end={}, iterations=count, stop=(Stop.CONVERGED,) * frames, projected=seen.keypoints,
        seconds=0.0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
