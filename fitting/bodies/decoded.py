"""A body whose pose is decoded from vectors: hand components, a pose prior's code. It is a body like any other.

A decoder stands before a rotation block. Solvers move its vector; the body below sees rotations. Derivatives go
through the chain rule, with the left steps of the rotations in between: R <- exp(d) R.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from fitting.bodies.body import PosedBody, SkinnedBody, moved
from fitting.bodies.columns import Columns
from fitting.bodies.derivatives import bend
from fitting.bodies.hands import HandComponents
from fitting.bodies.products import Products, make_products
from fitting.types import Block, Embedding, Parameters


@runtime_checkable
class Decoder(Protocol):
    """From a vector block to the rotation block that it replaces."""

    @property
    def block(self) -> Block: ...

    @property
    def target(self) -> str: ...

    def decode(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch joints 3 3"]: ...

    def steps(self, vector: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch steps size"]:
        """How the rotations step from the left, three numbers a joint, when the vector grows."""
        ...


@dataclass(frozen=True)
class DecodedBody:
    """`inner` with some rotation blocks replaced by the vectors of `decoders`. Everything else is the inner body's."""

    inner: SkinnedBody
    decoders: tuple[Decoder, ...]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":  # while unpickling or copying there is no inner yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def blocks(self) -> tuple[Block, ...]:
        instead = {decoder.target: decoder.block for decoder in self.decoders}
        return tuple(instead.get(block.name, block) for block in self.inner.blocks)

    def neutral(self, problems: int, frames: int) -> Parameters:
        """As the inner body's, the vectors at 0."""
        found = dict(self.inner.neutral(problems, frames))
        for decoder in self.decoders:
            like = found.pop(decoder.target)
            found[decoder.block.name] = decoder.block.neutral(problems, frames).to(like)
        return Parameters(found)

    def moving(self, name: str) -> str:
        """The block that moves where this one is meant: the code of a decoded one."""
        return next((decoder.block.name for decoder in self.decoders if decoder.target == name), name)

    def behind(self, names: Collection[str]) -> list[str]:
        """The inner body's blocks that these move: of a code what is decoded from it."""
        targets = {decoder.block.name: decoder.target for decoder in self.decoders}
        return [targets.get(name, name) for name in names]

    def lengths(self, name: str) -> Tensor | float:
        """Radians that one of each number of a vector is long where it counts components; else 1."""
        return next((d.lengths for d in self.decoders if d.block.name == name and isinstance(d, HandComponents)), 1.0)

    def full(self, parameters: Parameters) -> Parameters:
        """The parameters with the rotations that stand behind the vectors, which stay; those that have them already as
        they are."""
        there = (d for d in self.decoders if d.block.name in parameters and d.target not in parameters)
        return parameters.replace({d.target: d.decode(parameters[d.block.name]) for d in there})

    def pose(self, parameters: Parameters) -> PosedBody:
        return self.inner.pose(self.full(parameters))

    def chain(self, parameters: Parameters, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Derivatives by steps of rotations (problems, frames, ..., steps) as those by the vectors behind them."""
        found = dict(rows)
        for decoder in self.decoders:
            if decoder.target in found:
                steps = decoder.steps(parameters[decoder.block.name])  # problems, frames, steps, size
                by_step = found.pop(decoder.target)
                flat = by_step.flatten(2, -2) @ steps
                found[decoder.block.name] = flat.unflatten(2, by_step.shape[2:-1])
        return found

    def differentiate(
        self,
        parameters: Parameters,
        posed: PosedBody,
        functional: Float[Tensor, "problems frames points rows 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames points rows _"]]:
        """As the inner body's; what is decoded, by its vector."""
        rows = self.inner.differentiate(self.full(parameters), posed, functional, self.behind(names))
        return dict(self.chain(parameters, rows))

    def columns(
        self,
        parameters: Parameters,
        posed: PosedBody,
        functional: Float[Tensor, "problems frames points rows 3"],
        places: Mapping[str, slice],
        width: int,
    ) -> Columns:
        """As the inner body's; what is decoded, by its vector."""
        if all(self.behind([name]) == [name] for name in places):
            return self.inner.columns(self.full(parameters), posed, functional, places, width)
        found = self.differentiate(parameters, posed, functional, places.keys())
        return Columns(width, tuple((places[name], value.flatten(0, 1)) for name, value in found.items()))

    def pull(
        self,
        parameters: Parameters,
        posed: PosedBody,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames _"]]:
        """As the inner body's; what is decoded, by its vector."""
        found = self.inner.pull(self.full(parameters), posed, forces, self.behind(names))
        rows = self.chain(parameters, {name: value[:, :, None] for name, value in found.items()})
        return {name: value[:, :, 0] for name, value in rows.items()}

    def turns(self, name: str) -> bool:
        return self.inner.turns(name) or any(decoder.block.name == name for decoder in self.decoders)

    def bend(
        self,
        parameters: Parameters,
        posed: PosedBody,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> Float[Tensor, "problems frames steps steps"]:
        """As the inner body's; of what is decoded, by its vector, whose own curve is left out."""
        steps = {d.target: d.steps(parameters[d.block.name]) for d in self.decoders if d.block.name in names}
        blocks = {target: steps.get(target) for target in self.behind(names)}
        return bend(self.inner, self.full(parameters), posed, forces, blocks)

    def products(self, places: Mapping[str, slice], more: Sequence[int]) -> Products | None:
        return make_products(self.inner, self.decoders, places, more)

    def moves(self, name: str) -> Bool[Tensor, " points"]:
        return self.inner.moves(self.behind([name])[0])

    @property
    def bones(self) -> DecodedBody:
        return replace(self, inner=self.inner.bones)

    @property
    def mesh(self) -> DecodedBody:
        return replace(self, inner=self.inner.mesh)

    def restrict(self, embedding: Embedding) -> DecodedBody:
        return replace(self, inner=self.inner.restrict(embedding))

    def only(self, kept: Bool[Tensor, " points"]) -> DecodedBody:
        return replace(self, inner=self.inner.only(kept))

    def to(self, like: Tensor) -> DecodedBody:
        return DecodedBody(self.inner.to(like), tuple(moved(decoder, like) for decoder in self.decoders))


def decoded(body: SkinnedBody | DecodedBody, decoders: Iterable[Decoder]) -> SkinnedBody | DecodedBody:
    """The body with decoders before some of its blocks; as it is where there are none."""
    decoders = tuple(decoders)
    if not decoders:
        return body
    if isinstance(body, DecodedBody):
        return DecodedBody(body.inner, (*body.decoders, *decoders))
    return DecodedBody(body, decoders)
