"""SMPLify-X's configuration read as it is: its keys to a recipe of this project, and what has no counterpart by name.

SMPLify-X minimises a sum of w^2 |x|^2 (G. Pavlakos et al., Expressive Body Capture, CVPR 2019, eq. 1; conventions of
its code), this project half a sum of |x|^2 / sigma^2. Halves aside the correspondence is

    w^2 |x|^2                  sigma = 1 / w             shape, expression, hands, latent, pose at rest, jaw by axis
    w^2 (1/2 |.|^2 + c)        sigma = sqrt(2) / w       mixture of Gaussians
    3.17 w exp(2 angle)        sigma = (3.17 w)^-1/2     elbows and knees; w is the body pose's
    (1000 / H)^2 g^2 c^2 r^2   sigma = H / 1000 px       keypoints: 0.001 in units of the picture's height, factor g
    rho = 100 px               kernel_width = 100        Geman-McClure, in sigmas: the same in a picture 1000 px high

so that hands and face, whose g is not 1, have terms of their own: sigma = H / 1000 / g, kernel_width = 100 g.

Three things differ by intent: a detector's confidence counts inside the kernel, the translation stays free in every
stage, and the last stage is gone through once more with fingers and jaw at rest. Weights and which blocks move are
theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fitting.layouts import OPENPOSE137
from fitting.smplifyx_keys import MARKS, family, flag, notes, number, pose_prior, schedules

BEND = 3.17  # times the body pose's weight
RIVAL = 2.0  # times the best start's cost: others up to there are fitted beside it; the end says which is lowest
RIVALS = 2  # of them at most
BEGUN, LAST = 12, 28  # iterations of the last stage, before and after rivals are told apart
MORE = 60  # of the one more
CONTACT = 0.005  # metres of depth that SMPLify-X's weight of 1 is taken for


class Translation(NamedTuple):
    """A tree for FitConfig, and one line for every key that could not be taken over."""

    tree: dict[str, Any]
    notes: tuple[str, ...]


# Words of its command line that every recipe takes.
OPTIONS = {
    "data_folder": "input", "output_folder": "output", "model_folder": "body.folder", "gender": "body.gender",
    "vposer_ckpt": "body.vposer", "max_persons": "detector.max_persons",
}  # fmt: skip


def is_smplifyx(tree: Mapping[str, Any]) -> bool:
    return "stages" not in tree and any(mark in tree for mark in MARKS)


def translate(theirs: Mapping[str, Any]) -> Translation:
    """Raises ConfigError for lists of different lengths and for values that are no numbers."""
    lists = schedules(theirs)
    hands, face = family(theirs) != "smpl" and flag(theirs, "use_hands", True), flag(theirs, "use_face", True)
    face = face and family(theirs) == "smplx"
    stages = [stage(theirs, lists, k, hands, face) for k in range(len(lists["pose"]))]
    *before, last = stages[1:] or stages  # the search has been through the first
    to_come = [*before, begun(last), last, *once_more(last)]
    enough = {**stages[0], "iterations": 10}  # to tell starts apart
    through = {"carry": RIVAL, "rivals": RIVALS, "carry_through": to_come[-2]["name"]}
    tree = {
        **folders(theirs),
        "body": body(theirs, hands),
        "read": {"sequence": "photos"},  # SMPLify-X fits every picture by itself
        "camera": {"focal": number(theirs, "focal_length", 5000.0), "use_exif": False},
        "terms": terms(theirs),
        "search": {"stages": [camera_stage(), enough], **through},
        "stages": to_come,
    }
    if "max_persons" in theirs:
        tree["detector"] = {"max_persons": int(number(theirs, "max_persons", 3.0))}
    return Translation(tree, tuple(notes(theirs)))


# ------------------------------------------------------------------ parts of the tree


def folders(theirs: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if theirs.get("data_folder"):
        found["input"] = str(theirs["data_folder"])
    if theirs.get("output_folder"):
        found["output"] = found["export_dir"] = str(theirs["output_folder"])  # results/<image>/<person>.pkl in it
    wanted = {"params": True, "smplifyx": True, "obj": flag(theirs, "save_meshes", True)}
    wanted["overlay"] = flag(theirs, "visualize", False)
    found["outputs"] = [name for name, is_wanted in wanted.items() if is_wanted]
    if "use_cuda" in theirs:
        found["device"] = "auto" if flag(theirs, "use_cuda", True) else "cpu"
    if "float_dtype" in theirs:
        found["precision"] = str(theirs["float_dtype"])
    return found


def body(theirs: Mapping[str, Any], hands: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": family(theirs),
        "gender": theirs.get("gender", "neutral"),
        "betas": int(number(theirs, "num_betas", 10.0)),
        "expressions": 10,
    }
    if theirs.get("model_folder"):
        found["folder"] = str(theirs["model_folder"])
    kind = pose_prior(theirs)
    if kind == "pose_latent":
        found["vposer"] = str(theirs["vposer_ckpt"])
    if kind == "pose_gmm":
        gaussians = int(number(theirs, "num_gaussians", 8.0))
        found["gmm"] = str(Path(str(theirs.get("prior_folder", "prior"))) / f"gmm_{gaussians:02d}.pkl")
    if hands:
        if flag(theirs, "use_pca", True):
            found["hand_pca"] = int(number(theirs, "num_pca_comps", 6.0))
        found["flat_hand_mean"] = flag(theirs, "flat_hand_mean", False)
    return found


def terms(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same in all stages."""
    ignored = theirs.get("joints_to_ign", []) or []
    names = OPENPOSE137.point_names
    keypoints: dict[str, Any] = {
        "sigma": 0.001,
        "unit": "picture",
        "by_axis": True,
        "kernel": "geman_mcclure",
        "kernel_width": number(theirs, "rho", 100.0),
        "groups": dict.fromkeys(("left_hand", "right_hand", "face", "contour"), 0.0),
    }
    known = [int(k) for k in ignored if 0 <= int(k) < len(names)]  # -1: none
    if known:
        keypoints["points"] = {names[k]: 0.0 for k in known}
    return {"keypoints": keypoints, "eyes": {"sigma": 0.02}}


def camera_stage() -> dict[str, Any]:
    """Orientation and place from shoulders and hips, by squared distance; the start has the rest."""
    groups = {**dict.fromkeys(("body", "left_hand", "right_hand", "face", "contour"), 0.0), "torso": 1.0}
    keypoints = {"kernel": "squared", "groups": groups, "points": {}}
    free = ["global_orient", "transl"]
    found = {"name": "camera", "free": free, "iterations": 12, "tolerance": 1e-2, "bends": True}
    return {**found, "terms": {"keypoints": keypoints}}


def stage(
    theirs: Mapping[str, Any], lists: Mapping[str, Sequence[Any]], k: int, hands: bool, face: bool
) -> dict[str, Any]:
    last = k == len(lists["pose"]) - 1
    with_hands = hands and lists["hand_joints_weights"][k] > 0
    with_face = face and lists["face_joints_weights"][k] > 0
    free = ["global_orient", "transl", "body_pose", "betas"]
    free += ["left_hand_pose", "right_hand_pose"] if with_hands else []
    free += ["jaw_pose", "expression"] if with_face else []
    found = {**pose_terms(theirs, lists, k), **part_terms(lists, k, hands, face)}
    if with_hands:
        found["keypoints_hands"] = part_points(theirs, lists["hand_joints_weights"][k], ("face", "contour"))
    contact = contact_term(theirs, k)
    if contact is not None:
        found["interpenetration"] = contact
    if with_face:
        unused = () if flag(theirs, "use_face_contour", False) else ("contour",)
        unused = ("left_hand", "right_hand", *unused)
        found["keypoints_face"] = part_points(theirs, lists["face_joints_weights"][k], unused)
    return {
        "name": f"stage {k + 1}",
        "free": free,
        "iterations": LAST if last else 8 if with_hands else 30,  # hands settle with the face, in the last
        "tolerance": 3e-5 if last else 1e-3,
        "bends": True,  # grossly wrong points, and those of fingers, are further off than their levers are long
        "terms": found,
    }


def begun(last: Mapping[str, Any]) -> dict[str, Any]:
    """The last stage's first steps: who is behind after these does not go through the others."""
    return {**last, "name": f"{last['name']} begun", "iterations": BEGUN}


def once_more(last: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Theirs ends with the last stage. Once more with fingers and jaw that begin at rest: on the way some wind
    themselves round wrong points, where no descent finds back from. It counts where it ends lower."""
    wound = [name for name in ("left_hand_pose", "right_hand_pose", "jaw_pose") if name in last["free"]]
    return [{**last, "name": "once more", "iterations": MORE, "anew": wound, "tolerance": 1e-5}] if wound else []


def contact_term(theirs: Mapping[str, Any], k: int) -> dict[str, Any] | None:
    """Of a stage in which `coll_loss_weights` is above 0. Its weights count squares of cones' areas, not depths: a
    weight w is taken as a sigma of 5 mm / sqrt(w)."""
    weights = theirs.get("coll_loss_weights") or ()
    if not flag(theirs, "interpenetration", False) or k >= len(weights) or float(weights[k]) <= 0:
        return None
    found: dict[str, Any] = {"sigma": CONTACT * float(weights[k]) ** -0.5}
    if theirs.get("ign_part_pairs"):
        found["ignore"] = [str(pair) for pair in theirs["ign_part_pairs"]]
    return found


def part_points(theirs: Mapping[str, Any], factor: float, unused: tuple[str, ...]) -> dict[str, Any]:
    """Keypoints of hands or face, which count `factor` squared in and beyond the kernel."""
    points = terms(theirs)["keypoints"]
    return {
        **points,
        "sigma": points["sigma"] / factor,
        "kernel_width": points["kernel_width"] * factor,
        "groups": dict.fromkeys(("body", *unused), 0.0),
        "points": {},
    }


def pose_terms(theirs: Mapping[str, Any], lists: Mapping[str, Sequence[Any]], k: int) -> dict[str, Any]:
    weight = lists["pose"][k]
    found = {"shape": {"sigma": 1 / lists["shape_weights"][k]}, "bend": {"sigma": (BEND * weight) ** -0.5}}
    kind = pose_prior(theirs)
    if kind is not None:
        found[kind] = {"sigma": (2**0.5 if kind == "pose_gmm" else 1) / weight}
    return found


def part_terms(lists: Mapping[str, Sequence[Any]], k: int, hands: bool, face: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if hands:
        found |= dict.fromkeys(("hands", "hand_components"), {"sigma": 1 / lists["hand_pose_prior_weights"][k]})
    if face:
        pitch, yaw, roll = lists["jaw_pose_prior_weights"][k]
        found["jaw"] = {"sigma": 1 / pitch, "factors": [1.0, pitch / yaw, pitch / roll]}
        found["expression"] = {"sigma": 1 / lists["expr_weights"][k]}
    return found
