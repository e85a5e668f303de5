"""Any regressor's codes to any trainer's files, without fitting: read, decode where that is needed, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import AliasChoices, Field

from fitting import bodies, codes, exports
from fitting.coded_pose import CODED, GIVE
from fitting.codes import track_params
from fitting.config import Record
from fitting.crop_camera import assumed_cameras, face_front, placed_in_crops
from fitting.track import Track, filled, gaps
from fitting.transfer import check_convertible, transfer
from fitting.types import Body, ConfigError, InputError, ModelError
from fitting.worlds import placed, rotmat_to_rotvec, settled, with_fingers


class ConvertConfig(Record):
    """What is converted to what."""

    input: Path = Field(description="file or folder of codes: docs/formats.md")
    output: Path | None = Field(default=None, description="folder; default: beside the input")
    to: str = Field(description="format: docs/formats.md")
    person: str | None = Field(default=None, description="'000', '001', ...: one of several; default: all")
    flame_out_dir: Path | None = Field(default=None, description="where flame_params.npy goes, whatever else holds")
    body: str | None = Field(default=None, description="model that decodes the codes: its name or file")
    body_folder: Path | None = Field(default=None, description="the shelf of model files; default: models/")
    gender: Literal["neutral", "male", "female"] = Field(default="neutral", description="which of the model's files")
    vposer: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("vposer", "vposer_ckpt"),
        description="VPoser's checkpoint, for codes of its 32 numbers",
    )
    convert_model: str | None = Field(default=None, description="convert the codes to this model: its name or file")
    codes_model: str | None = Field(default=None, description="which model the codes belong to, where files do not say")
    order: Literal["expression,global,jaw", "expression,jaw,global"] | None = Field(
        default=None, description="of the columns of a flame_params.npy without a sidecar"
    )
    image_size: tuple[int, int] | None = Field(default=None, description="width, height of the full image")
    focal: float | None = Field(default=None, gt=0, description="pixels, for codes without a focal length")
    fps: float | None = Field(default=None, gt=0, description="frames per second")
    au: Path | None = Field(default=None, description="OpenFace csv of the same frames, for au.csv")
    quiet: bool = Field(default=False, description="no list of files")


@runtime_checkable
class Listener(Protocol):
    """Told of files and of what a user should know."""

    def wrote(self, path: Path) -> None: ...

    def note(self, text: str) -> None: ...


def convert(config: ConvertConfig, watcher: Listener) -> list[Path]:
    """Writes everybody's files; returns their paths. Raises FitError: what cannot be read, decoded, held or written."""
    if config.to not in exports.EXPORTS:
        raise ConfigError(f"--to {config.to}: choose from {', '.join(exports.EXPORTS)}")
    export = exports.EXPORTS[config.to]
    options = codes.CodesOptions(config.order, config.codes_model, config.image_size, config.focal, config.fps)
    written = []
    for track in persons(codes.read(config.input, options), config):
        for note in track.notes:
            watcher.note(f"{track.format}: {note}")
        lost = gaps(track)
        if lost is not None:
            watcher.note(f"{lost}: interpolated between their neighbours, held at the ends, and marked")
        track, body, notes = prepared(with_options(track, config), export, config)
        for note in notes:
            watcher.note(note)
        export.check(config.to, track)
        target = exports.Target(folder_of(config, track), body, action_units=config.au, note=watcher.note)
        for path in export.write(track, target):
            watcher.wrote(path)
            written.append(path)
    return written


def persons(tracks: list[Track], config: ConvertConfig) -> list[Track]:
    if config.person is None:
        return tracks
    chosen = [track for track in tracks if track.person == config.person]
    if not chosen:
        there = ", ".join(track.person for track in tracks)
        raise InputError(f"{config.input}: no person {config.person}, only {there}")
    return chosen


def with_options(track: Track, config: ConvertConfig) -> Track:
    """Picture size and rate as the user says, where the source does not."""
    if track.image_sizes is None and config.image_size is not None:
        track = replace(track, image_sizes=np.tile(np.array(config.image_size, dtype=np.int64), (len(track), 1)))
    return track if config.fps is None else replace(track, fps=config.fps)


def prepared(track: Track, export: exports.Export, config: ConvertConfig) -> tuple[Track, Body | None, list[str]]:
    """Gaps filled, camera and world settled, converted if asked for; the body that decodes the result; notes."""
    if config.convert_model is not None:
        check_convertible(track.codes.model, config.convert_model)
    track = filled(track)
    body = decoder(track, export, config)
    if body is not None and track.crops is not None and track.image_sizes is not None and is_unplaced(track):
        track = placed_in_crops(track, body, assumed_cameras(track, config.focal))
    if track.weak is not None and (track.image_sizes is not None or export.needs_camera):
        front = None if body is None else face_front(track, body)
        track = placed(track, assumed_cameras(track, config.focal), front)
    track = with_fingers(settled(with_pose(track, body), body), body)
    body = getattr(body, "inner", body)  # from here on joints are rotations
    if track.codes.K is None and "transl" in track.values and track.image_sizes is not None and track.has_camera:
        track = replace(track, codes=replace(track.codes, K=assumed_cameras(track, config.focal)))
    if config.convert_model is None or config.convert_model == track.codes.model:
        return track, body, []
    if body is None:
        raise ModelError(
            f"--convert_model: the codes are of {track.codes.model}, whose file is needed: give it as --body"
        )
    target = load(config.convert_model, config)
    found = transfer(track, body, target)
    return found.track, target, [found.track.notes[-1]]


def is_unplaced(track: Track) -> bool:
    return track.weak is None and "transl" not in track.values and track.world_from_codes is None


def decoder(track: Track, export: exports.Export, config: ConvertConfig) -> Body | None:
    """The body whose codes these are, where one is asked for or needed.

    Raises ModelError for a body of another model than the codes'.
    """
    turns = track.world_from_codes is not None and not np.allclose(track.world_from_codes[:, :3, :3], np.eye(3))
    needed = export.needs_body or config.convert_model is not None or (turns and "transl" in export.needs)
    if config.body is None and not needed:
        return None
    if config.body is None and track.codes.model == track_params.MODEL:
        raise ModelError(
            f"{track.format} holds how a head moves and a focal length, no face that keyfit has a model of: start a "
            "fit with it (fit.py --start), which can be written in any format"
        )
    body = load(config.body or track.codes.model, config)
    mine, its = track.codes.model, body.name
    unknown_version = "flame" in (mine, its) and mine.startswith("flame") and its.startswith("flame")
    if mine != its and not unknown_version and {"betas", "expression"} & set(track.values):
        raise ModelError(
            f"--body {its}: these codes belong to {mine}, and decoded with {its} they are somebody else: give the file "
            f"of {mine}, and --convert_model {its} if you want codes of {its}"
        )
    return body


def with_pose(track: Track, body: Body | None) -> Track:
    """`body_pose` from a pose prior's code, where the body has the decoder. Raises ModelError where it has not."""
    code = track.values.get("pose_embedding")
    if code is None or "body_pose" in track.values:
        return track
    if body is None or "pose_embedding" not in {block.name for block in body.blocks}:
        raise ModelError(f"{track.format}: {CODED}: {GIVE}")
    vector = torch.as_tensor(code)[:, None].to(body.neutral(1, 1)["transl"])
    full = body.full(body.neutral(len(track), 1).replace({"pose_embedding": vector}))
    rows = rotmat_to_rotvec(full["body_pose"][:, 0].double().numpy()).reshape(len(track), -1)
    return track.with_values({"body_pose": rows, "pose_embedding": None})


def load(model: str, config: ConvertConfig) -> Body:
    return bodies.load(model, folder=config.body_folder, gender=config.gender, vposer=config.vposer)


def folder_of(config: ConvertConfig, track: Track) -> Path:
    """Where a person's files go; flame_params by EMOCA's rule, the others' persons beyond the first apart."""
    if config.to == "flame_params":
        return exports.destination(config.output or parent_of(config.input), config.flame_out_dir)
    folder = config.output or parent_of(config.input) / config.to
    return exports.EXPORTS[config.to].folder(folder, track.person)


def parent_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent
