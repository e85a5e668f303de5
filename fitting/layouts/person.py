"""The layout of a person from the names of its points alone: body, hands and face, as far as they are there."""

from __future__ import annotations

from dataclasses import replace

from fitting.layouts.ibug68 import IBUG68
from fitting.layouts.naming import hand_names, mirrored, without_side
from fitting.types import Layout

FACE70 = replace(  # OpenPose's face: iBUG's 68, then the pupils, the right one first
    IBUG68,
    name="face70",
    point_names=(*IBUG68.point_names, "right_pupil", "left_pupil"),
    pairs=(*IBUG68.pairs, (69, 68)),
    groups={**IBUG68.groups, "irises": (68, 69)},
)
MIDPOINTS = ("neck", "mid_hip")

# Parts of a body by the name without its side.
_BODY_GROUPS = {
    "torso": ("shoulder", "hip"),
    "limbs": ("elbow", "wrist", "knee", "ankle"),
    "feet": ("big_toe", "small_toe", "heel"),
    "head": ("nose", "eye", "ear"),
    "midline": (*MIDPOINTS, "upper_neck", "head_top"),
}


def person_layout(name: str, names: tuple[str, ...]) -> Layout:
    """Groups, pairs and distances of the points called `names`.

    All such layouts have the same groups and distances, empty where they have no such points: a recipe that names
    `left_hand` serves inputs without hands as well. `body`, `left_hand`, `right_hand`, `face` and `contour` share no
    point; torso, limbs, feet, head and midline are parts of the body, brows, lids, irises, lips and nose of the face;
    legs are what of the body is below the hips.

    The yard-stick runs from the middle of the shoulders to the middle of the hips: of all lengths of a person in a
    picture it is the one least foreshortened in upright people, and it does not bend. A picture that ends above the
    hips has none; the size is then what the fit's depth says.
    """
    place = {point: k for k, point in enumerate(names)}

    def at(points: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(place[point] for point in points if point in place)

    def parts(words: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(k for k, n in enumerate(names) if without_side(n) in words)

    groups = {group: parts(words) for group, words in _BODY_GROUPS.items()}
    groups["body"] = _joined(groups)
    groups["legs"] = parts(("knee", "ankle", *_BODY_GROUPS["feet"]))
    features = {g: at(tuple(FACE70.point_names[k] for k in points)) for g, points in FACE70.groups.items()}
    groups |= {f"{side}_hand": at(hand_names(side)) for side in ("left", "right")} | features
    groups["face"] = _joined({g: points for g, points in features.items() if g != "contour"})
    return Layout(
        name=name,
        point_names=names,
        pairs=mirrored(names),
        groups=groups,
        size_pair=(at(("left_shoulder", "right_shoulder")), at(("left_hip", "right_hip"))),
        distances={part: _kept(pairs, place) for part, pairs in FACE70.distances.items()},
    )


def with_midpoints(layout: Layout) -> Layout:
    """A person's layout with `neck` and `mid_hip` at its end where it lacks them, called `coco17_mid`; else itself."""
    missing = tuple(name for name in MIDPOINTS if name not in layout.point_names)
    return person_layout(f"{layout.name}_mid", layout.point_names + missing) if missing else layout


def _kept(pairs: tuple[tuple[int, int], ...], place: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Those pairs of FACE70's points that are both in `place`, as its numbers."""
    named = ((FACE70.point_names[a], FACE70.point_names[b]) for a, b in pairs)
    return tuple((place[a], place[b]) for a, b in named if a in place and b in place)


def _joined(groups: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(k for points in groups.values() for k in points))
