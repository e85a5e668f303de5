"""What is in the files, with numpy alone: python examples/03_read_results.py [out/example_01]

Projects the mesh with the file's own K and looks whether it lies where the landmarks were measured.
"""

import sys
from pathlib import Path

import numpy as np


def main(folder: str = "out/example_01") -> None:
    results = np.load(Path(folder) / "params.npz", allow_pickle=False)
    print(f"{results['model']}: {len(results['names'])} frame(s), {int(results['valid'].sum())} fitted")
    for name, kind, size in zip(results["block_names"], results["block_kinds"], results["block_sizes"], strict=True):
        print(f"  {name}: {results[name].shape}, {size} {'coefficients' if kind == 'vector' else 'joint(s)'}")
    frame, person = str(results["names"][0]), str(results["person"])
    vertices = read_vertices(Path(folder) / "meshes" / frame / f"{person}.obj")
    pixels = project(vertices, results["K"][0], results["world_from_camera"])
    seen = results["keypoints"][0][results["confidence"][0] > 0]
    print("landmarks:", seen.min(axis=0).round(), "to", seen.max(axis=0).round(), "px")
    print("mesh:     ", pixels.min(axis=0).round(), "to", pixels.max(axis=0).round(), "px")


def read_vertices(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="utf-8").splitlines()
    return np.array([line.split()[1:] for line in lines if line.startswith("v ")], dtype=float)


def project(vertices: np.ndarray, K: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """World (metres, y up) to camera (OpenCV), then the pinhole."""
    camera = vertices @ np.linalg.inv(world_from_camera[:3, :3]).T
    image = camera @ K.T
    return image[:, :2] / image[:, 2:]


if __name__ == "__main__":
    main(*sys.argv[1:])
