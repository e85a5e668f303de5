"""MediaPipe's face mesh: 468 points of the canonical face and two irises of five; and its subset of 105.

Left and right are the subject's. The mirrored pairs were computed once from MediaPipe's canonical face
(face_model_with_iris.obj, Apache-2.0), whose sides agree to 1.5e-6 cm: the mesh counts the midline and the right side
first, 0-247, then the left side's twins in the same order, 248-467. So a table of the midline tells all pairs.
"""

from __future__ import annotations

from fitting.types import Layout

# fmt: off
_MIDLINE = (0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
            94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
_IRIS_PAIRS = ((473, 468), (476, 469), (475, 470), (474, 471), (477, 472))  # centre, nasal, top, temporal, bottom

# Lower edge, then upper edge, from the temple to the nose.
_RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
_LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
# From the outer corner along the upper lid, back along the lower.
_RIGHT_LIDS = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
_LEFT_LIDS = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
_OUTER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
_NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2,  # down the bridge to the base, then the wings
         45, 275, 220, 440, 115, 344, 48, 278, 64, 294, 97, 326, 98, 327, 129, 358)
_FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
              152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
_IRISES = tuple(range(468, 478))  # 468-472 right, 473-477 left; the first of each is the centre

_EYE_OPENINGS = ((398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249),
                 (246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155))
_LIP_OPENINGS = ((191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324))
_OUTER_LIPS = ((185, 146), (40, 91), (39, 181), (37, 84), (0, 17), (267, 314), (269, 405), (270, 321), (409, 375))

MEDIAPIPE105_IN_478 = (  # the order of FLAME's mediapipe_landmark_embedding.npz, `landmark_indices`
    276, 282, 283, 285, 293, 295, 296, 300, 334, 336,
    46, 52, 53, 55, 63, 65, 66, 70, 105, 107,
    249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466,
    7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246,
    168, 6, 197, 195, 5, 4, 129, 98, 97, 2, 326, 327, 358,
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181,
    185, 191, 267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
)
# fmt: on

_RIGHT_SIDE = tuple(k for k in range(248) if k not in _MIDLINE)
_PAIRS = tuple(zip(range(248, 468), _RIGHT_SIDE, strict=True)) + _IRIS_PAIRS  # (left, right)

_FEATURES = {
    "brows": _LEFT_BROW + _RIGHT_BROW,
    "lids": _LEFT_LIDS + _RIGHT_LIDS,
    "irises": _IRISES,
    "lips": _OUTER_LIP + _INNER_LIP,
    "nose": _NOSE,
    "contour": _FACE_OVAL,
}
_SKIN = tuple(sorted(set(range(478)).difference(*_FEATURES.values())))
_GROUPS = {**_FEATURES, "skin": _SKIN}


def _names() -> tuple[str, ...]:
    """side_group_index: 'right_lids_33', 'skin_9'."""
    group = {k: name for name, points in _GROUPS.items() for k in points}
    side = {k: s for pair in _PAIRS for k, s in zip(pair, ("left_", "right_"), strict=True)}
    return tuple(f"{side.get(k, '')}{group[k]}_{k}" for k in range(478))


def subset(layout: Layout, name: str, indices: tuple[int, ...]) -> Layout:
    """The layout of `layout`'s points `indices`, in that order; pairs and distances that lose an end are left out."""
    place = {k: n for n, k in enumerate(indices)}

    def kept(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((place[a], place[b]) for a, b in pairs if a in place and b in place)

    left, right = (tuple(place[k] for k in ends if k in place) for ends in layout.size_pair)
    return Layout(
        name=name,
        point_names=tuple(layout.point_names[k] for k in indices),
        pairs=kept(layout.pairs),
        groups={g: tuple(place[k] for k in points if k in place) for g, points in layout.groups.items()},
        size_pair=(left, right),
        distances={d: kept(pairs) for d, pairs in layout.distances.items()},
    )


MEDIAPIPE478 = Layout(
    name="mediapipe478",
    point_names=_names(),
    pairs=_PAIRS,
    groups=_GROUPS,
    size_pair=((33,), (263,)),
    distances={
        "eyes": _EYE_OPENINGS,
        "lips": _LIP_OPENINGS,
        "outer_lips": _OUTER_LIPS,
        "mouth_corners": ((291, 61), (308, 78)),
    },
)
MEDIAPIPE105 = subset(MEDIAPIPE478, "mediapipe105", MEDIAPIPE105_IN_478)
