"""SMPLify-X's keys: which are understood, which have no counterpart, and values as they stand in its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fitting.types import ConfigError

# Any of these says whose configuration it is.
MARKS = ("body_pose_prior_weights", "joints_to_ign", "use_vposer", "hand_pose_prior_weights", "side_view_thsh")
SCHEDULE = (
    *("shape_weights", "expr_weights", "hand_pose_prior_weights", "jaw_pose_prior_weights"),
    *("hand_joints_weights", "face_joints_weights"),
)

SELF_CONTACT = "the self-intersection term measures depth, and has no cones"
OWN_SOLVER = "solver and stop rules are Keyfit's own"
WITHOUT_COUNTERPART = {
    **dict.fromkeys(("df_cone_height", "penalize_outside", "max_collisions", "point2plane"), SELF_CONTACT),
    "part_segm_fn": "parts come from the skinning weights: terms.interpenetration.segmentation reads the file",
    **dict.fromkeys(("optim_type", "lr", "maxiters", "ftol", "gtol"), OWN_SOLVER),
    "side_view_thsh": "every frame is tried from several sides: search.facing",
    "depth_loss_weight": "the translation is free, and the start has the depth from all keypoints",
    "init_joints_idxs": "the start uses all keypoints",
    "body_tri_idxs": "the start uses all keypoints",
    "data_weights": "SMPLify-X itself replaces it with 1000 / picture height",
    "batch_size": "frames are fitted side by side: chunk",
    "degrees": "--outputs turntable goes all the way round",
    "summary_folder": "nothing is written for TensorBoard",
    "loss_type": "there is one objective",
    "camera_type": "the camera is a pinhole",
    **dict.fromkeys(("optim_jaw", "optim_hands", "optim_expression", "optim_shape"), "stages say what moves"),
    **dict.fromkeys(("left_hand_prior_type", "right_hand_prior_type", "jaw_prior_type"), "it is always l2"),
    "gender_lbl_type": "gender is that of `gender`",
}
FIXED = {  # keys whose other values have no counterpart
    "dataset": ("openpose",), "img_folder": ("images",), "keyp_folder": ("keypoints",), "result_folder": ("results",),
    "mesh_folder": ("meshes",), "use_joints_conf": (True,), "interactive": (False,), "num_gaussians": (8,),
}  # fmt: skip
TAKEN = (
    *("data_folder", "output_folder", "model_folder", "model_type", "gender", "vposer_ckpt", "use_vposer"),
    *("prior_folder", "body_prior_type", "num_betas", "num_pca_comps", "use_pca", "flat_hand_mean", "focal_length"),
    *("rho", "joints_to_ign", "use_hands", "use_face", "use_face_contour", "max_persons", "use_cuda", "float_dtype"),
    *("interpenetration", "coll_loss_weights", "ign_part_pairs"),
    *("visualize", "save_meshes", "body_pose_prior_weights", "config", *SCHEDULE, *FIXED),
)


def notes(theirs: Mapping[str, Any]) -> list[str]:
    found = []
    if pose_prior(theirs) == "pose":
        found.append("use_vposer: no vposer_ckpt is given: the pose prior is that of models/pose_prior.npz")
    for key, value in theirs.items():
        if key in WITHOUT_COUNTERPART:
            found.append(f"{key}: {WITHOUT_COUNTERPART[key]}")
        elif key not in TAKEN:
            found.append(f"{key}: unknown here")
        elif key in FIXED and value not in FIXED[key]:
            found.append(f"{key} {value!r}: only {FIXED[key][0]!r} has a counterpart")
    return found


# ------------------------------------------------------------------ values as they stand in the file


def schedules(theirs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """One value per stage of every list. Raises ConfigError where their lengths differ."""
    name = "body_pose_prior_weights"
    pose = [positive(name, value) for value in theirs.get(name, FALLBACK["pose"])]
    found: dict[str, list[Any]] = {"pose": pose}
    for key in SCHEDULE:
        values = theirs.get(key, fallback(key, len(pose)))
        if len(values) != len(pose):
            raise ConfigError(
                f"{key} has {len(values)} values, body_pose_prior_weights has {len(pose)}: give one for each stage"
            )
        if key == "jaw_pose_prior_weights":
            found[key] = [three(key, value) for value in values]
        elif key.endswith("joints_weights"):
            found[key] = [as_number(key, value) for value in values]
        else:
            found[key] = [positive(key, value) for value in values]
    return found


def fallback(key: str, stages: int) -> list[Any]:
    """Of fit_smplx.yaml's five stages: as many from its beginning, and its last."""
    known = FALLBACK[key]
    return [*known[: min(stages, len(known)) - 1], *[known[-1]] * max(stages - len(known) + 1, 1)]


# Of fit_smplx.yaml, for lists that a file leaves out.
FALLBACK: dict[str, list[Any]] = {
    "pose": [404.0, 404.0, 57.4, 4.78, 4.78],
    "shape_weights": [100.0, 50.0, 10.0, 5.0, 5.0],
    "expr_weights": [100.0, 50.0, 10.0, 5.0, 5.0],
    "hand_pose_prior_weights": [404.0, 404.0, 57.4, 4.78, 4.78],
    "jaw_pose_prior_weights": ["4040,40400,40400", "4040,40400,40400", "574,5740,5740", "47.8,478,478", "47.8,478,478"],
    "hand_joints_weights": [0.0, 0.0, 0.0, 0.1, 2.0],
    "face_joints_weights": [0.0, 0.0, 0.0, 0.0, 2.0],
}


def understands(key: str) -> bool:
    """Whether this is one of SMPLify-X's own keys."""
    return key in TAKEN or key in WITHOUT_COUNTERPART


def family(theirs: Mapping[str, Any]) -> str:
    return str(theirs.get("model_type", "smplx"))


def pose_prior(theirs: Mapping[str, Any]) -> str | None:
    """The term that stands for their pose prior. VPoser without a checkpoint is this project's own Gaussian, which
    whitens joint angles as VPoser's code does. Raises ConfigError for a kind that SMPLify-X does not have either."""
    if flag(theirs, "use_vposer", True):
        return "pose_latent" if theirs.get("vposer_ckpt") else "pose"
    kinds = {"gmm": "pose_gmm", "l2": "pose_rest", "none": None}
    kind = str(theirs.get("body_prior_type", "l2")).lower()
    if kind not in kinds:
        raise ConfigError(f"body_prior_type: {kind!r}: choose from {', '.join(kinds)}")
    return kinds[kind]


def flag(theirs: Mapping[str, Any], key: str, default: bool) -> bool:
    """YAML's booleans, and the words of a command line. Raises ConfigError for anything else."""
    value = theirs.get(key, default)
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in words:
        raise ConfigError(f"{key}: {value!r} is neither true nor false")
    return words[str(value).lower()]


def number(theirs: Mapping[str, Any], key: str, default: float) -> float:
    return as_number(key, theirs.get(key, default))


def as_number(key: str, value: Any) -> float:
    """YAML reads 1e-9 and 4.04e2 as words."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {value!r} is not a number") from error


def positive(key: str, value: Any) -> float:
    """A weight of 0 would be a belief of infinite sigma: as good as that."""
    return max(as_number(key, value), 1e-6)


def three(key: str, value: Any) -> tuple[float, float, float]:
    """'4.04e+03,4.04e+04,4.04e+04', or a list of three."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != 3:
        raise ConfigError(f"{key}: {value!r}: three numbers are expected, about x, y and z")
    x, y, z = (positive(key, part) for part in parts)
    return x, y, z
