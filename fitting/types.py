"""The records that travel between the rooms. Readers, terms, bodies, writers never import each other: they meet here.

Axes, the same everywhere: `problems` are solved independently of each other, `frames` inside one problem belong
together (a clip is one problem of many frames, twenty unrelated photos are twenty problems of one frame).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class FitError(Exception):
    """Something a user can mend: what was asked, what was found, what to do. `exit_code` is the command's."""

    exit_code = 1


class ConfigError(FitError):
    exit_code = 2


class InputError(FitError):
    exit_code = 3


class NoPersonError(FitError):
    exit_code = 4


class ModelError(FitError):
    exit_code = 5


class OutputError(FitError):
    exit_code = 6


class DependencyError(FitError):
    exit_code = 7


class Stop(enum.Enum):
    """Why a solver ended its work on a problem."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "iteration limit"
    NO_DESCENT = "no further descent"
    NOT_FINITE = "not finite"
    KEPT_START = "kept start: the result was worse"
    STAGNATED = "stagnated far from the landmarks"
    NOT_FITTED = "not fitted"


# ------------------------------------------------------------------ what was seen


@dataclass(frozen=True)
class Layout:
    """A named set of keypoints: what each index means. Left and right are the subject's."""

    name: str
    point_names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]  # (left, right) indices of mirrored points
    groups: Mapping[str, tuple[int, ...]]  # brows, lids, irises, lips, nose, contour, skin, ...
    size_pair: tuple[tuple[int, ...], tuple[int, ...]]  # the means of these two sets are the layout's yard-stick apart
    distances: Mapping[str, tuple[tuple[int, int], ...]] = field(
        default_factory=dict
    )  # eye / lip openings: (upper, lower)

    def __len__(self) -> int:
        return len(self.point_names)

    @property
    def shows_a_person(self) -> bool:
        """More than a face."""
        return "left_shoulder" in self.point_names


@runtime_checkable
class Pictures(Protocol):
    """The frames of an input, opened one at a time: memory does not grow with their number."""

    @property
    def source(self) -> str: ...  # what the user named

    @property
    def names(self) -> tuple[str, ...]: ...  # one per frame, unique, safe as a file name

    @property
    def image_sizes(self) -> Int[np.ndarray, "frames 2"]: ...  # width, height

    @property
    def fps(self) -> float | None: ...  # None for photos

    @property
    def timestamps(self) -> Float[np.ndarray, " frames"] | None: ...  # seconds

    @property
    def focal_hints(self) -> Float[np.ndarray, " frames"]: ...  # focal length in pixels from EXIF, NaN where unknown

    @property
    def is_clip(self) -> bool: ...  # frames follow each other in time and show the same people

    def __len__(self) -> int: ...

    def read(self) -> Iterator[np.ndarray]:
        """RGB frames (height, width, 3) uint8, in order, streamed."""
        ...


@dataclass(frozen=True)
class Codes:
    """Parameters that come from outside: a regressor, an earlier fit, the truth of a rendered clip.

    `values` maps a block's name to one row per frame: coefficients (frames, size), rotations as axis-angle
    (frames, 3 * joints). A block that is not there is unknown. `model` names the basis they belong to.
    """

    values: Mapping[str, Float[np.ndarray, "frames _"]]
    model: str
    valid: Bool[np.ndarray, " frames"]
    K: Float[np.ndarray, "frames 3 3"] | None = None


@dataclass(frozen=True)
class Observations:
    """2D evidence of one person, one row per input frame, always: frame k here is frame k of the input."""

    person: str  # '000', '001', ... from left to right
    layout: Layout
    keypoints: Float[np.ndarray, "frames points 2"]  # pixels; anything where confidence is 0
    confidence: Float[np.ndarray, "frames points"]  # 0 = not seen, 1 = as good as the keypoint term's sigma says
    names: tuple[str, ...]  # one per frame
    image_sizes: Int[np.ndarray, "frames 2"]  # width, height
    is_clip: bool
    size_known: bool = True  # False: `image_sizes` is a canvas round the keypoints, for want of anything better
    fps: float | None = None
    timestamps: Float[np.ndarray, " frames"] | None = None
    focal_hints: Float[np.ndarray, " frames"] | None = None
    pictures: Pictures | None = None  # None when only landmarks were given
    blendshapes: Float[np.ndarray, "frames 52"] | None = None  # MediaPipe's, `_neutral` first; NaN where unseen
    head_matrix: Float[np.ndarray, "frames 4 4"] | None = None  # MediaPipe's canonical face (cm, y up) to its camera
    start: Codes | None = None
    truth: Codes | None = None
    clip_starts: tuple[int, ...] = ()  # frames that begin another clip of the same person

    def __len__(self) -> int:
        return len(self.names)

    @property
    def valid(self) -> Bool[np.ndarray, " frames"]:
        return (self.confidence > 0).any(axis=1)


# ------------------------------------------------------------------ what is sought


@dataclass(frozen=True)
class Block:
    """One named group of parameters of a body."""

    name: str  # betas, expression, global_orient, jaw_pose, transl, ...
    kind: Literal["vector", "rotation"]
    size: int  # coefficients, or joints of a rotation block
    shared: bool  # one value for all frames of a problem
    unit: float  # a natural step: solvers work on value / unit

    @property
    def tangent_size(self) -> int:
        return self.size if self.kind == "vector" else 3 * self.size

    def from_rows(self, rows: np.ndarray) -> Tensor:
        """Rows as they stand in files (rows, size; rotations as axis-angle) to values, float64."""
        values = torch.as_tensor(np.asarray(rows, dtype=np.float64))
        if self.kind == "vector":
            return values
        return roma.rotvec_to_rotmat(values.unflatten(1, (self.size, 3)))

    def neutral(self, problems: int, frames: int) -> Tensor:
        rows = (problems, 1 if self.shared else frames, self.size)
        if self.kind == "vector":
            return torch.zeros(rows)
        return torch.eye(3).expand(*rows, 3, 3).clone()


@dataclass(frozen=True)
class Parameters(Mapping[str, Tensor]):
    """Blocks by name: vectors (problems, frames, size), rotations (problems, frames, joints, 3, 3).

    A shared block has 1 in place of `frames` and is broadcast.
    """

    blocks: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def replace(self, changes: Mapping[str, Tensor]) -> Parameters:
        return Parameters({**self.blocks, **changes})

    def to(self, like: Tensor) -> Parameters:
        return Parameters({name: value.to(like) for name, value in self.blocks.items()})

    def at(self, frames: Tensor | slice) -> Parameters:
        """Some frames of every problem."""
        return Parameters({n: v if v.shape[1] == 1 else v[:, frames] for n, v in self.blocks.items()})

    def apart(self, frames: int) -> Parameters:
        """All frames as problems of one frame each; `frames` is their number in all problems together."""
        problems = len(self["transl"])
        every = (problems, frames // problems)
        return Parameters(
            {n: v.expand(*every, *v.shape[2:]).reshape(frames, 1, *v.shape[2:]) for n, v in self.blocks.items()}
        )

    def rows(self) -> dict[str, Float[np.ndarray, "rows _"]]:
        """One row per frame of all problems, in order: shared blocks repeated, rotations as axis-angle."""
        problems, frames = self["transl"].shape[:2]
        flat = {}
        for name, value in self.blocks.items():
            if value.ndim == 5:
                value = roma.rotmat_to_rotvec(value.double()).flatten(2)
            flat[name] = value.expand(problems, frames, -1).reshape(problems * frames, -1).detach().cpu().numpy()
        return flat


@dataclass(frozen=True)
class Contour:
    """Points of a layout that slide over the surface as the head turns: a table over the signed yaw."""

    points: Int[Tensor, " points"]  # indices into the layout
    yaw: Float[Tensor, " rows"]  # degrees, rising; positive turns to the subject's left
    vertices: Int[Tensor, "rows points 3"]
    weights: Float[Tensor, "rows points 3"]


@dataclass(frozen=True)
class Embedding:
    """Where a layout's keypoints sit on a body: weighted sums of vertices, joints of its skeleton, and a contour.

    A point on a triangle has three corners, a patch of skin some dozens; shorter ones are filled up with weight 0.
    """

    layout: Layout
    points: Int[Tensor, " points"]  # indices into the layout
    vertices: Int[Tensor, "points corners"]
    weights: Float[Tensor, "points corners"]
    contour: Contour | None = None
    joints: Int[Tensor, " points"] | None = None  # the joint that a point is, whatever its vertices; -1: none

    def at(self, rows: Bool[Tensor, " points"], contour: Contour | None) -> Embedding:
        """Some of the points, and another contour or none."""
        joints = None if self.joints is None else self.joints[rows]
        return Embedding(self.layout, self.points[rows], self.vertices[rows], self.weights[rows], contour, joints)


@dataclass(frozen=True)
class PosePrior:
    """Gaussians over a block's coordinates, joints end to end as axis-angle; one, or a mixture of several."""

    means: Float[Tensor, "components size"]
    whiten: Float[Tensor, "components size size"]  # |whiten (x - mean)|^2 is the squared Mahalanobis distance
    offsets: Float[Tensor, " components"]  # -log weight + 1/2 log det covariance, less the least of all components


@dataclass(frozen=True, eq=False)
class Surface:
    """A body's skin as contact sees it: what belongs to which part, and where it is at rest. A part is a joint."""

    faces: Int[Tensor, "faces 3"]
    face_parts: Int[Tensor, " faces"]
    vertex_parts: Int[Tensor, " vertices"]
    touched: Bool[Tensor, "vertices parts"]  # the parts of a vertex's faces
    hanging: Float[Tensor, "vertices joints"]  # how much of a vertex turns with a joint and all below it
    parents: tuple[int, ...]
    turned_by: Mapping[str, slice]  # the joints of every rotation block
    part_names: tuple[str, ...]
    apart: Int[Tensor, "parts parts"]  # bones between two joints
    rest: Float[Tensor, "vertices 3"]  # metres, the mean body
    rest_joints: Float[Tensor, "joints 3"]
    areas: Float[Tensor, " vertices"]  # square metres that each stands for, at rest

    @cached_property
    def members(self) -> Int[Tensor, "members 2"]:
        """Every vertex with every part that it touches."""
        return torch.nonzero(self.touched)


@runtime_checkable
class Posed(Protocol):
    """A body in one pose per frame, in the world frame, metres."""

    @property
    def points(self) -> Float[Tensor, "problems frames points 3"]: ...

    @property
    def joints(self) -> Float[Tensor, "problems frames joints 3"]: ...

    @property
    def rotations(self) -> Float[Tensor, "problems frames joints 3 3"]: ...  # of every joint, in the world

    def select(self, rows: Int[Tensor, " some"]) -> Posed:
        """Some of the problems, by number."""
        ...


@runtime_checkable
class Columns(Protocol):
    """Derivatives of a body's points by all that moves, side by side; frames of all problems in a row."""

    @property
    def width(self) -> int: ...

    def few(
        self, frames: slice, weight: Float[Tensor, "some points #rows"] | None = None
    ) -> Float[Tensor, "some points rows columns"]: ...

    def are_coefficients(self, columns: slice) -> bool: ...  # made of constants, the same in every frame

    def gram(self, columns: slice, weight: Float[Tensor, "batch points #rows"]) -> Float[Tensor, "some some"]:
        """J' W J of coefficients, W the squares of `weight`, summed over all frames."""
        ...

    def beside(self, place: slice, values: Float[Tensor, "batch points rows _"]) -> Columns: ...


@runtime_checkable
class Sizes(Protocol):
    """How large a shaped body is by its mean."""

    def of(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch"]: ...

    def slope(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch betas"]:
        """d log size / d betas."""
        ...


@runtime_checkable
class Products(Protocol):
    """Gram matrices of a body's keypoints, problem by problem."""

    def add(
        self,
        parameters: Parameters,
        posed: Any,  # what `pose` gave, of the body's own class
        functional: Float[Tensor, "problems points 2 3"],
        pull: Float[Tensor, "problems points 2"],
        extra: Float[Tensor, "problems points 2 more"],
        matrix: Float[Tensor, "problems n n"],
        along: Float[Tensor, "problems n"],
    ) -> None:
        """Adds J'J to the lower triangle of `matrix` and J' pull to `along`, J the derivatives of functional . point by
        the unknowns, `extra` those by `more`."""
        ...


@runtime_checkable
class Body(Protocol):
    """What terms, solvers and writers may know of a body; `bodies/` has the classes."""

    @property
    def name(self) -> str: ...  # 'open_head', 'flame2020', ...

    @property
    def sha256(self) -> str: ...  # of the model file

    @property
    def blocks(self) -> tuple[Block, ...]: ...

    @property
    def joint_names(self) -> tuple[str, ...]: ...

    @property
    def faces(self) -> Int[np.ndarray, "triangles 3"]: ...

    @property
    def colours(self) -> Float[np.ndarray, "vertices 3"] | None: ...  # 0..1

    @property
    def face_region(self) -> Int[np.ndarray, " vertices"] | None: ...  # vertex numbers of the face, for accuracy

    @property
    def uv(self) -> Float[np.ndarray, "coordinates 2"] | None: ...

    @property
    def uv_faces(self) -> Int[np.ndarray, "triangles 3"] | None: ...

    @property
    def head_joint(self) -> int: ...  # whose world rotation the contour's yaw is read from

    @property
    def embeddings(self) -> Mapping[str, Embedding]: ...  # by layout name

    def embedding_of(self, layout: Layout) -> Embedding | None: ...  # None: it has none of the layout's points

    @property
    def yard_sticks(self) -> Mapping[str, float]: ...  # by layout name: metres between its size pair on the mean body

    def yard_stick_of(
        self, layout: Layout
    ) -> float: ...  # a person's height, or between the ends of a face's size pair

    @property
    def expression_names(self) -> tuple[str, ...]: ...

    @property
    def expression_sd(self) -> Float[Tensor, " expressions"]: ...

    @property
    def expression_bounds(self) -> Float[Tensor, "expressions 2"]: ...  # infinite where there is none

    @property
    def pose_priors(self) -> Mapping[str, PosePrior]: ...  # 'learned', 'gmm', and mean hands by their block's name

    def neutral(self, problems: int, frames: int) -> Parameters: ...

    def pose(self, parameters: Parameters) -> Posed: ...

    def differentiate(
        self,
        parameters: Parameters,
        posed: Any,  # what `pose` gave, of the body's own class
        functional: Float[Tensor, "problems frames points rows 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames points rows _"]]:
        """d (functional . point) / d step of the named blocks, in closed form."""
        ...

    def products(self, places: Mapping[str, slice], more: Sequence[int]) -> Products | None:
        """What makes Gram matrices of keypoints by compiled code, for unknowns at `places`, by block, and those of
        `more` columns; None where it does not know how."""
        ...

    def columns(
        self,
        parameters: Parameters,
        posed: Any,
        functional: Float[Tensor, "problems frames points rows 3"],
        places: Mapping[str, slice],
        width: int,
    ) -> Columns:
        """`differentiate` with the blocks at their places among `width` columns, made a few frames at a time."""
        ...

    def pull(
        self,
        parameters: Parameters,
        posed: Any,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> dict[str, Float[Tensor, "problems frames _"]]:
        """d (sum of force . point) / d step of the named blocks, in closed form."""
        ...

    def turns(self, name: str) -> bool: ...  # whether a block that moves turns joints

    def bend(
        self,
        parameters: Parameters,
        posed: Any,
        forces: Float[Tensor, "problems frames points 3"],
        names: Collection[str],
    ) -> Float[Tensor, "problems frames steps steps"]:
        """d2 (sum of force . point) / d step d step of the named blocks that turn joints, end to end."""
        ...

    def restrict(self, embedding: Embedding) -> Body: ...

    @property
    def sizes(self) -> Sizes: ...  # of its points, by the mean body's

    @property
    def sliding(self) -> slice: ...  # where the contour's points stand among a restricted body's

    def only(self, kept: Bool[Tensor, " points"]) -> Body: ...  # a restricted body with some of its points

    def part(self, posed: Any, kept: Bool[Tensor, " points"]) -> Any: ...  # `only(kept)` in the pose that `pose` gave

    def moves(self, name: str) -> Bool[Tensor, " points"]: ...  # which of a restricted body's points a block moves

    @property
    def bones(self) -> Body: ...  # the same body with its joints as points

    @property
    def mesh(self) -> Body: ...  # the body with all its vertices, however it was restricted

    @property
    def surface(self) -> Surface: ...  # of the whole body

    def moving(self, name: str) -> str:
        """The block that moves where this one is meant: the vector that a decoded one is decoded from."""
        ...

    def lengths(self, name: str) -> Tensor | float:
        """Radians that one of each number of a vector is long where it counts a hand's components; else 1."""
        ...

    def full(self, parameters: Parameters) -> Parameters:
        """With the rotation blocks that stand behind decoded vectors (hand components, a pose prior's code)."""
        ...

    def chain(self, parameters: Parameters, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Derivatives by steps of decoded rotation blocks (..., steps) as derivatives by the vectors behind them."""
        ...

    def to(self, like: Tensor) -> Body: ...


# ------------------------------------------------------------------ what was found


class PointCovariance(NamedTuple):
    """How well points on a body are known."""

    metres: Float[np.ndarray, "points 3 3"]  # in the world, about the result
    pixels: Float[np.ndarray, "points 2 2"]


@runtime_checkable
class PointBelief(Protocol):
    """What was kept so that the covariance of any point can be had: `fitting/posterior.py`."""

    def points(self, frame: int, body: Body, embedding: Embedding) -> PointCovariance: ...


@dataclass(frozen=True)
class Solution:
    """The answer for one person: every array has one row per input frame."""

    body: Body
    observations: Observations
    parameters: Parameters
    start: Parameters
    K: Float[np.ndarray, "frames 3 3"]
    valid: Bool[np.ndarray, " frames"]
    source: tuple[str, ...]  # fitted, interpolated, held, missing
    error_px: Float[np.ndarray, " frames"]  # mean distance over fitted points; NaN where not valid
    error_percent: Float[np.ndarray, " frames"]  # of the detected distance between the yard-stick's ends
    start_error_px: Float[np.ndarray, " frames"]
    cost_start: Mapping[str, Float[np.ndarray, " frames"]]
    cost_end: Mapping[str, Float[np.ndarray, " frames"]]
    iterations: Int[np.ndarray, " frames"]
    stop: tuple[Stop, ...]
    projected: Float[np.ndarray, "frames points 2"]  # fitted keypoints in pixels, NaN where the body has none
    seconds: float
    cuts: tuple[int, ...] = ()  # frames that do not continue the one before
    suspicious: tuple[int, ...] = ()  # frames whose landmarks are probably not this person's
    # Standard deviations: of every fitted block (rotations: radians about the world's axes), of projected keypoints.
    sd: Mapping[str, Float[np.ndarray, "frames _"]] = field(default_factory=dict)
    projected_sd: Float[np.ndarray, "frames points"] | None = None
    betas_covariance: Float[np.ndarray, "problems betas betas"] | None = None  # one for a clip, one for every photo
    ambiguities: tuple[str, ...] = ()  # what the evidence left open, in plain words
    belief: PointBelief | None = None

    def __len__(self) -> int:
        return len(self.observations)

    def frame(self, k: int) -> Parameters:
        """The parameters of input frame `k` alone: one problem of one frame."""
        p, f = divmod(k, self.parameters["transl"].shape[1])
        return Parameters({n: v[p : p + 1] for n, v in self.parameters.items()}).at(slice(f, f + 1))

    def vertices(self, k: int) -> Float[np.ndarray, "vertices 3"]:
        """The whole mesh at frame `k`, in the world frame, metres."""
        with torch.no_grad():
            return self.body.pose(self.frame(k)).points[0, 0].double().cpu().numpy()

    def vertex_covariance(self, k: int, vertices: Sequence[int]) -> PointCovariance:
        """Of some vertices of the mesh at frame `k`. Raises InputError without error bars, or of a frame not fitted."""
        index = torch.as_tensor(vertices, dtype=torch.long)
        weights = torch.tensor([1.0, 0.0, 0.0]).expand(len(index), 3)
        points = Embedding(self.observations.layout, torch.arange(len(index)), index[:, None].expand(-1, 3), weights)
        return self._covariance(k, points)

    def landmark_covariance(self, k: int) -> PointCovariance:
        """Of all keypoints of the layout that the body has, in the embedding's order: static ones, then the contour's.
        Raises InputError as `vertex_covariance`."""
        points = self.body.embedding_of(self.observations.layout)
        assert points is not None
        return self._covariance(k, points)

    def _covariance(self, k: int, points: Embedding) -> PointCovariance:
        if self.belief is None:
            raise InputError("a covariance was asked for, but no error bars were made: fit with error_bars: true")
        return self.belief.points(k, self.body, points)
