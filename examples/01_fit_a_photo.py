"""A photo in, a head out: python examples/01_fit_a_photo.py [photo.jpg]"""

import sys
from pathlib import Path

from fitting import pipeline
from fitting.config import FitConfig

ROOT = Path(__file__).resolve().parents[1]


def main(photo: str = "sample:grace_hopper", output: str = "out/example_01") -> None:
    recipe = ROOT / "cfg_files" / "fit_flame.yaml"
    config = FitConfig.load(recipe, [("input", photo), ("output", output), ("outputs", "params,obj")])
    for person in pipeline.fit(config):
        vertices = person.vertices(0)  # of frame 0: metres, world frame
        print(f"person {person.observations.person}: {person.error_percent[0]:.2f} % of the outer eye distance")
        print(f"  {len(vertices)} vertices, {-vertices[:, 2].mean():.2f} m from the camera")


if __name__ == "__main__":
    main(*sys.argv[1:])
