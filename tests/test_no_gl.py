"""Every picture is made on a machine without OpenGL and without a display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fitting.writers import PICTURE_WRITERS

ROOT = Path(__file__).resolve().parents[1]

# Imports and libraries that would need a graphics stack fail as they do where they are not installed.
MASK = """
import ctypes, ctypes.util, sys

PYTHON = {"OpenGL", "glfw", "pyglet", "pyrender", "moderngl", "vtk", "pyvista", "tkinter", "glcontext", "pytorch3d"}
LIBRARIES = ("libGL", "libEGL", "libGLES", "libOSMesa", "libX11", "libvulkan", "libglfw", "libwayland")

class Masked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in PYTHON:
            raise ImportError(f"{name} is masked")

class Library(ctypes.CDLL):
    def __init__(self, name, *rest, **more):
        if name is not None and str(name).split("/")[-1].startswith(LIBRARIES):
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *rest, **more)

sys.meta_path.insert(0, Masked())
ctypes.CDLL = Library
ctypes.util.find_library = lambda name: None
"""

DRAW = """
from pathlib import Path
from fitting.writers import PICTURE_WRITERS, PictureOptions
sys.path.append("tests")
from made_solutions import FakeBody, some_solution

people = [some_solution(person, body=FakeBody(textured=True)) for person in ("000", "001")]
for name, write in PICTURE_WRITERS.items():
    paths = write(people, Path(sys.argv[1]), PictureOptions(panel=64, texture=32))
    print(name, sum(path.stat().st_size > 60 for path in paths), len(paths))
maps = Path("/proc/self/maps")
loaded = {line.split("/")[-1] for line in maps.read_text().splitlines() if "/" in line} if maps.is_file() else set()
print("loaded", sorted(name for name in loaded if name.startswith(LIBRARIES)))
"""


def test_every_picture_without_opengl_or_a_display(tmp_path):
    bare = {
        key: value
        for key, value in os.environ.items()
        if key not in ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
    }
    command = [sys.executable, "-c", MASK + DRAW, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *drawn, loaded = done.stdout.splitlines()
    assert [line.split()[0] for line in drawn] == list(PICTURE_WRITERS)
    for line in drawn:
        _, whole, count = line.split()
        assert whole == count != "0", line
    assert loaded == "loaded []"


def test_the_mask_does_mask(tmp_path):
    tries = """
import importlib

for attempt in (lambda: importlib.import_module("tkinter"), lambda: ctypes.CDLL("libGL.so.1")):
    try:
        attempt()
    except (ImportError, OSError) as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", MASK + tries], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["tkinter is masked", "libGL.so.1: cannot open shared object file"]
