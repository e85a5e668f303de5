"""VPoser's decoder, versions 1 and 2, from its checkpoint folder: 32 numbers to the rotations of 21 joints.

Only weights are read. Version 1's folder holds Python files that its own loader imports and runs; nothing here does.
Source of the form: G. Pavlakos et al., Expressive Body Capture, CVPR 2019, supplement 2; R6D of Zhou et al., CVPR 2019.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.types import Block, ModelError
from fitting.unpickle import MODEL, load_torch

JOINTS = 21
SLOPES = {1: 0.2, 2: 0.01}  # of the leaky rectifiers
KINDS = (
    "version 1 is a folder with snapshots/*.pt (vposer_v1_0), version 2 one with snapshots/*.ckpt (V02_05); give "
    "either folder or the file itself"
)
_LAYERS = {
    1: ("bodyprior_dec_fc1", "bodyprior_dec_fc2", "bodyprior_dec_out"),
    2: ("decoder_net.0", "decoder_net.3", "decoder_net.5"),
}


@dataclass(frozen=True)
class Layer:
    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"]

    def __call__(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return x @ self.weight.mT + self.bias


@dataclass(frozen=True)
class VPoser:
    """A pose decoder (see decoded.py): latent (*batch, 32) to rotation matrices of 21 joints, and its derivative."""

    version: int
    first: Layer
    second: Layer
    out: Layer
    still: int = 0  # joints after VPoser's own that stay at rest: SMPL's hands
    sha256: str = ""

    @property
    def block(self) -> Block:
        return Block("pose_embedding", "vector", self.first.weight.shape[1], shared=False, unit=0.3)

    @property
    def target(self) -> str:
        return "body_pose"

    def decode(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch joints 3 3"]:
        moving = roma.special_gramschmidt(self._columns(self._hidden(vector)[-1]))
        if not self.still:
            return moving
        return torch.cat([moving, torch.eye(3).to(moving).expand(*moving.shape[:-3], self.still, 3, 3)], dim=-3)

    def steps(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch steps size"]:
        """d (step from the left of each joint's rotation, R <- exp(d) R) / d vector."""
        first, second, out = self._hidden(vector)
        slope = SLOPES[self.version]
        moved = self.first.weight * torch.where(first > 0, 1.0, slope).to(first)[..., None]
        moved = (self.second.weight @ moved) * torch.where(second > 0, 1.0, slope).to(second)[..., None]
        moved = self.out.weight @ moved
        turn = gramschmidt_steps(self._columns(out))
        # The six numbers of a joint stand as a 3x2 matrix, row by row.
        steps = (turn @ moved.unflatten(-2, (JOINTS, 6))).flatten(-3, -2)
        return torch.nn.functional.pad(steps, (0, 0, 0, 3 * self.still))

    def _hidden(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both hidden layers before their rectifier, and the output."""
        slope = SLOPES[self.version]
        first = self.first(vector)
        second = self.second(torch.nn.functional.leaky_relu(first, slope))
        return first, second, self.out(torch.nn.functional.leaky_relu(second, slope))

    def _columns(self, out: Float[Tensor, "*batch 126"]) -> Float[Tensor, "*batch 21 3 2"]:
        return out.unflatten(-1, (JOINTS, 3, 2))


def gramschmidt_steps(columns: Float[Tensor, "*batch 3 2"]) -> Float[Tensor, "*batch 3 6"]:
    """d (left step of the rotation) / d (the 3x2 matrix, row by row) of Gram-Schmidt on two columns a and b.

    With R = (x, y, z): dR = [w]x R has w.z = y.dx, w.y = -z.dx, w.x = z.dy, and dx = da / |a| and dy = (db - (x.b) dx)
    / |u| but for parts along x and y, where u is b without its part along x.
    """
    a, b = columns.unbind(-1)
    x, y, z = roma.special_gramschmidt(columns).unbind(-1)
    long_a = a.norm(dim=-1)[..., None, None]
    along = (x * b).sum(dim=-1)
    long_u = (b - along[..., None] * x).norm(dim=-1)[..., None, None]
    by_a = _outer(z, y) - _outer(y, z) - along[..., None, None] * _outer(x, z) / long_u
    by_b = _outer(x, z) / long_u
    return torch.stack([by_a / long_a, by_b], dim=-1).flatten(-2)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[..., :, None] * b[..., None, :]


def read_vposer(path: Path, joints: int = JOINTS) -> VPoser:
    """The decoder of a checkpoint folder, or of the checkpoint itself, for a body of so many joints after the root:
    21 of SMPL-X, 23 of SMPL. Raises ModelError."""
    from hashlib import sha256

    file = find_snapshot(Path(path))
    weights = load_torch(file, MODEL)
    if isinstance(weights, dict) and "state_dict" in weights:
        weights = weights["state_dict"]
    if not isinstance(weights, dict):
        raise ModelError(f"{file}: found {type(weights).__name__}, not VPoser's weights by name: {KINDS}")
    by_name = {str(name).removeprefix("vp_model."): value for name, value in weights.items()}
    for version, names in _LAYERS.items():
        if all(f"{name}.weight" in by_name for name in names):
            first, second, out = (read_layer(by_name, name) for name in names)
            check_sizes(file, [first, second, out])
            return VPoser(
                version, first, second, out, still=joints - JOINTS, sha256=sha256(file.read_bytes()).hexdigest()
            )
    some = ", ".join(list(by_name)[:3]) or "nothing"
    raise ModelError(f"{file}: no decoder of VPoser in it (found {some}, ...): {KINDS}")


def find_snapshot(path: Path) -> Path:
    """The checkpoint of a folder, the last by number where there are several. Raises ModelError."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError(f"VPoser {path} does not exist: {KINDS}")
    patterns = [f"{place}*.{kind}" for kind in ("pt", "ckpt") for place in ("snapshots/", "")]
    found = [file for pattern in patterns for file in path.glob(pattern)]
    if not found:
        inside = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise ModelError(f"VPoser {path}: no snapshot in it (found {inside}): {KINDS}")
    return max(found, key=lambda file: ([int(number) for number in re.findall(r"\d+", file.name)], file.name))


def read_layer(weights: dict[str, np.ndarray], name: str) -> Layer:
    weight, bias = (np.asarray(weights[f"{name}.{part}"], dtype=np.float32) for part in ("weight", "bias"))
    return Layer(torch.as_tensor(weight), torch.as_tensor(bias))


def check_sizes(file: Path, layers: list[Layer]) -> None:
    shapes = [tuple(layer.weight.shape) for layer in layers]
    chained = all(a[0] == b[1] for a, b in zip(shapes, shapes[1:], strict=False)) and shapes[-1][0] == 6 * JOINTS
    if not chained or any(layer.bias.shape != layer.weight.shape[:1] for layer in layers):
        raise ModelError(f"{file}: layers of shapes {shapes}, expected (512, 32), (512, 512), (126, 512)")
