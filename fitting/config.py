"""The configuration: strict YAML into frozen records. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fitting.contact import with_contact
from fitting.smplifyx_keys import understands
from fitting.smplifyx_yaml import OPTIONS, is_smplifyx, translate
from fitting.terms import Interpenetration, Terms
from fitting.types import ConfigError

# Words people use for blocks of parameters, and the names they have here.
ALIASES = {
    "rotation": ("global_orient",),
    "translation": ("transl",),
    "shape": ("betas",),
    "jaw": ("jaw_pose",),
    "neck": ("neck_pose",),
    "eyes": ("leye_pose", "reye_pose"),
    "pose": ("body_pose",),
    "hands": ("left_hand_pose", "right_hand_pose"),
    "size": ("scale",),
    "offsets": ("keypoint_offsets",),
}


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BodyConfig(Record):
    """Which body is fitted."""

    model: str = Field(
        default="open_head",
        description="open_head, flame, open_body, smpl, smplh, smplx, smplx_or_open, or a model file",
    )
    folder: Path | None = Field(default=None, description="the shelf of model files; default: models/ of the project")
    gender: Literal["neutral", "male", "female"] = Field(
        default="neutral", description="which of a licensed model's files"
    )
    betas: int | None = Field(default=100, ge=1, description="identity coefficients; null: all of the model")
    expressions: int | None = Field(default=None, ge=1, description="expression coefficients; null: all")
    embedding: Path | None = Field(
        default=None, description="landmark embedding file or folder; default: beside the model"
    )
    hand_pca: int | None = Field(default=None, ge=1, description="components that move each hand; null: joint by joint")
    flat_hand_mean: bool = Field(default=False, description="hands at zero are flat instead of half open")
    vposer: Path | None = Field(
        default=None, description="VPoser's checkpoint folder, version 1 or 2: its code moves the body's joints"
    )
    gmm: Path | None = Field(default=None, description="SMPLify's mixture of poses, gmm_08.pkl")
    uv: Path | None = Field(
        default=None, description="an obj of the model's mesh with texture coordinates, where the model has none"
    )


class CameraConfig(Record):
    """What is known of the camera. The first of focal, fov, EXIF and focal_factor that is there is used."""

    focal: float | None = Field(default=None, gt=0, description="pixels")
    fov: float | None = Field(default=None, gt=0, lt=180, description="degrees over the longer side")
    use_exif: bool = Field(default=True, description="believe the focal length that a photo states")
    focal_factor: float = Field(default=1.2, gt=0, description="focal length in units of the longer side")
    principal: tuple[float, float] | None = Field(default=None, description="pixels; default: the middle")


class ReadConfig(Record):
    """How the input is to be understood."""

    sequence: Literal["auto", "clip", "photos"] = Field(
        default="auto", description="whether frames follow each other in time and show the same people"
    )
    image_size: tuple[int, int] | None = Field(default=None, description="width, height, where landmarks come without")
    fps: float | None = Field(default=None, gt=0, description="frames per second, where the input does not say it")
    pictures: Path | None = Field(default=None, description="the pictures that belong to a landmark file")
    cuts: Literal["auto"] | tuple[int, ...] = Field(
        default="auto", description="frames that do not continue the one before: found, or a list of them"
    )


class CodesConfig(Record):
    """How the codes of `start` are to be understood, where their files do not say it."""

    model: str | None = Field(default=None, description="the model they belong to: flame2020, flame2023, ...")
    pose_only: bool = Field(
        default=False, description="without shape and expression: for a body of another model; poses mean the same"
    )
    convert_from: str | None = Field(
        default=None, description="name or file of their model: they are converted to the body, and the error is told"
    )
    order: Literal["expression,global,jaw", "expression,jaw,global"] | None = Field(
        default=None, description="of the columns of a flame_params.npy without a sidecar"
    )


class DetectorConfig(Record):
    """How people are found."""

    max_persons: int = Field(default=5, ge=1, description="a photo's largest faces, a clip's longest-lived")
    parts: Literal["auto", "face", "body"] = Field(
        default="auto", description="what is looked for; auto: whole people if the body has arms, else faces"
    )
    task_file: Path | None = Field(
        default=None,
        description="a MediaPipe .task bundle, for whole people with those of hand and face beside it; "
        "default: the models in its wheel",
    )
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="what MediaPipe must be sure of")
    points: Literal["all", "mediapipe105"] = Field(
        default="all", description="mediapipe105: only those that FLAME's MediaPipe embedding has"
    )


class RenderConfig(Record):
    """How pictures are drawn."""

    overlay_pictures: Literal["auto", "all", "none"] = Field(
        default="auto", description="overlay.png of every frame; auto: of photos and of clips up to 48 frames"
    )
    panel: int = Field(default=512, ge=64, description="longer side of an overlay's panel, pixels")
    texture: int = Field(default=2048, ge=16, le=8192, description="side of a texture, texels")
    texture_frames: int = Field(default=24, ge=1, description="frames of a clip that give a texture its colours")
    renderer: Literal["rays", "pytorch3d"] = Field(
        default="rays", description="rays: on the CPU; pytorch3d: on a GPU, where it is installed"
    )


class StageConfig(Record):
    """One stage: which blocks move, with which solver, and what it believes differently from the rest."""

    name: str = Field(description="for messages")
    free: tuple[str, ...] = Field(min_length=1, description="blocks that move; the words below the table serve as well")
    solver: Literal["adam", "lbfgs", "lm"] = Field(default="lm", description="docs/solvers.md")
    iterations: int = Field(default=100, ge=1, description="at most so many")
    tolerance: float = Field(default=1e-5, gt=0, description="relative decrease that no longer counts as progress")
    step: float = Field(default=0.1, gt=0, description="Adam's first step, in natural steps")
    bends: bool = Field(
        default=False, description="of photos, `lm` counts on the bend of points' paths as joints turn: docs/solvers.md"
    )
    anew: tuple[str, ...] = Field(
        default=(), description="blocks that begin this stage at rest; where it ends higher than it began, it is undone"
    )
    keyframes: int | None = Field(
        default=None,
        ge=1,
        description="of a longer clip, only so many frames take part, and only what is shared is kept",
    )
    centre: bool = Field(
        default=False,
        description="of a clip, what is shared ends in the middle of what is believed, not at its peak",
    )
    terms: dict[str, dict[str, Any] | None] = Field(default={}, description="changes to terms in this stage")

    def blocks(self) -> tuple[str, ...]:
        """Names of the free blocks, aliases resolved."""
        return tuple(name for word in self.free for name in ALIASES.get(word, (word,)))


class SearchConfig(Record):
    """Several starts, fitted frame by frame side by side; each frame goes on from its best."""

    facing: tuple[float, ...] = Field(
        default=(0.0, 90.0, 180.0, -90.0), min_length=1, description="degrees the person may be turned to the left by"
    )
    arms: tuple[Literal["hanging", "forward", "crossed"], ...] = Field(
        default=("hanging",), min_length=1, description="how they are held at first: an arm behind the back fits too"
    )
    focal_factors: tuple[float, ...] = Field(
        default=(1.0,), min_length=1, description="of the assumed focal length; one for a whole clip"
    )
    swap: bool = Field(default=False, description="a detector may have taken left for right, in runs of frames")
    stages: tuple[StageConfig, ...] = Field(min_length=1, description="what every start goes through; no smoothness")
    carry: float = Field(
        default=1.0, ge=1, description="times the best one's cost: a photo's other starts up to there go on too"
    )
    rivals: int = Field(default=1, ge=1, description="so many others at most")
    carry_through: str | None = Field(
        default=None, description="the recipe's stage after which the lowest counts; there must be one more"
    )


class FitConfig(Record):
    """Everything a run depends on."""

    input: str = Field(
        default="sample:grace_hopper", description="image, folder, video, landmark file or sample: docs/formats.md"
    )
    clips: tuple[str, ...] = Field(
        default=(), description="more clips of the same person; what all share with the input is sought in all of them"
    )
    output: Path | None = Field(default=None, description="folder; default: out/<name of the input>")
    outputs: tuple[str, ...] = Field(
        default=("params", "obj", "pkl", "npy", "overlay"), description="what is written: docs/formats.md"
    )
    flame_out_dir: Path | None = Field(
        default=None, description="where flame_params.npy goes, instead of the output folder"
    )
    export_dir: Path | None = Field(
        default=None, description="where the files of a trainer's format go, instead of a folder of its name in output"
    )
    au: Path | None = Field(default=None, description="OpenFace csv of the same frames, for au.csv of talking_gaussian")
    start: str | None = Field(
        default=None, description="null: from nothing; input: what came with it; codes of a regressor: docs/formats.md"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1")
    precision: Literal["float32", "float64"] = Field(default="float32", description="of the parameters")
    chunk: int = Field(default=256, ge=1, description="independent frames solved side by side; bounds memory")
    error_bars: bool = Field(default=True, description="standard deviations of everything fitted")
    quiet: bool = Field(default=False, description="no progress bar, no summary")
    body: BodyConfig = BodyConfig()
    camera: CameraConfig = CameraConfig()
    read: ReadConfig = ReadConfig()
    codes: CodesConfig = CodesConfig()
    detector: DetectorConfig = DetectorConfig()
    render: RenderConfig = RenderConfig()
    contact: bool = Field(
        default=False,
        strict=True,
        description="no part of the body inside another: short for the last stage twice more, with "
        "`terms.interpenetration`; conf.yaml has these stages in its place",
    )
    terms: Terms = Terms()
    search: SearchConfig | None = Field(default=None, description="several starts, where one may be wrong")
    stages: tuple[StageConfig, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _stages_of_contact(cls, tree: Any) -> Any:
        wanted = isinstance(tree, dict) and tree.get("contact") is True
        return with_contact(tree, Interpenetration().sigma) if wanted else tree

    @model_validator(mode="after")
    def _no_contact_left(self) -> FitConfig:
        if self.contact:
            raise ValueError("contact is for recipes as they stand in YAML; give stages that are objects the term")
        return self

    @staticmethod
    def load(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> FitConfig:
        """Reads a recipe, or SMPLify-X's configuration, and applies `(key, value)` pairs; keys may be dotted, values
        are YAML.

        Raises ConfigError for a file that is not there or not YAML, an unknown key or a value of the wrong kind.
        """
        return FitConfig.load_with_notes(path, overrides)[0]

    @staticmethod
    def load_with_notes(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> tuple[FitConfig, tuple[str, ...]]:
        """`load`, and a line for every key of another program's configuration that has no counterpart here."""
        tree, notes = read_tree(path, overrides)
        config: FitConfig = parse(FitConfig, tree, str(path))
        for stage in (*config.stages, *(config.search.stages if config.search else ())):
            config.stage_terms(stage)  # a misspelt term is refused now, not after detection and earlier stages
        if config.search is not None and config.search.carry > 1:
            config.carried()
        return config, notes

    def carried(self) -> tuple[StageConfig, ...]:
        """The stages that a photo's other starts go through beside the best.

        Raises ConfigError where the recipe has none of that name, or none after it.
        """
        assert self.search is not None
        names = [stage.name for stage in self.stages]
        if self.search.carry_through not in names[:-1]:
            raise ConfigError(
                f"search.carry_through: {self.search.carry_through!r} is none of the stages that have one after them: "
                f"{', '.join(names[:-1]) or 'there are none'}"
            )
        return self.stages[: names.index(self.search.carry_through) + 1]

    def stage_terms(self, stage: StageConfig) -> Terms:
        """The terms of a stage: the recipe's with the stage's changes; a term set to null is off."""
        tree = self.terms.model_dump()
        for name, change in stage.terms.items():
            tree[name] = None if change is None else {**(tree.get(name) or {}), **change}
        return parse(Terms, tree, f"terms of stage {stage.name!r}")

    def output_folder(self) -> Path:
        return self.output if self.output is not None else Path("out") / Path(self.input.split(":")[-1]).stem

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)


def read_tree(path: Path, overrides: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a file and the pairs say together, and notes on what was left out."""
    tree = read_yaml(path)
    notes: tuple[str, ...] = ()
    if is_smplifyx(tree):
        theirs = {key: parse_value(key, text) for key, text in overrides if understands(key)}
        tree, notes = translate({**tree, **theirs})
        overrides = [pair for pair in overrides if not understands(pair[0])]
    for key, text in overrides:
        put(tree, OPTIONS.get(key, key), parse_value(OPTIONS.get(key, key), text))
    return tree, notes


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"configuration {path}: {error.strerror}: give the path of a recipe, e.g. cfg_files/fit_flame.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration {path}: a mapping of keys is expected, found {type(tree).__name__}")
    return tree


def parse_value(key: str, text: str) -> Any:
    """A command-line value: YAML, and `a,b,c` for the keys that are lists of words."""
    if key in ("outputs", "clips"):
        return [word for word in text.split(",") if word]
    if key in ("input", "start", "output"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key} {text}: not a value in YAML: {' '.join(str(error).split())}") from error


def put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{dotted}: {name!r} has no parts of its own")
    tree[last] = value


def parse(record: type[Any], tree: Mapping[str, Any], where: str) -> Any:
    """A record from a tree; pydantic's findings as one line each."""
    try:
        return record.model_validate(tree)
    except ValidationError as error:
        lines = [describe(record, finding) for finding in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines)) from error


def describe(record: type[BaseModel], finding: Mapping[str, Any]) -> str:
    location = [str(part) for part in finding["loc"]]
    if finding["type"] != "extra_forbidden":
        return f"{'.'.join(location)}: {finding['msg']}, found {finding.get('input')!r}"
    known = known_keys(record, finding["loc"][:-1])
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
    return (
        f"unknown key {'.'.join(location)!r}: did you mean {nearest[0]!r}?"
        if nearest
        else f"unknown key {location[-1]!r}"
    )


def known_keys(record: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The keys that exist at a place in the tree."""
    for part in path:
        if isinstance(part, int):
            continue
        inner = _record_in(record.model_fields[part].annotation)
        if inner is None:
            return []
        record = inner
    return list(record.model_fields)


def _record_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((r for part in getattr(annotation, "__args__", ()) if (r := _record_in(part)) is not None), None)
