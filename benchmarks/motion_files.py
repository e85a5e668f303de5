"""Motion capture files: Acclaim (asf + amc) and BVH, to world rotations of every bone.

Formats: J. Lander, Working with Motion Capture File Formats, Game Developer 1998; ASF-AMC.html and BVH.html of
research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Motion:
    """World rotations of bones relative to their rest pose, and where these point at rest (y up, z forward)."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the root
    rotations: Float[np.ndarray, "frames bones 3 3"]
    rest: Float[np.ndarray, "bones 3"]  # direction of the bone that the rotation turns; zero where it has none
    fps: float

    def bone(self, name: str) -> Float[np.ndarray, "frames 3 3"]:
        return self.rotations[:, self.names.index(name)]


def chain(parents: tuple[int, ...], local: Float[np.ndarray, "frames bones 3 3"]) -> Float[np.ndarray, "..."]:
    world = local.copy()
    for k, parent in enumerate(parents):
        if parent >= 0:
            world[:, k] = world[:, parent] @ local[:, k]
    return world


# ------------------------------------------------------------------ Acclaim


def read_acclaim(asf: Path, amc: Path, fps: float = 120.0) -> Motion:
    """A bone's rotation is C M C^-1 on top of its parent's: M in the bone's own axes, C those axes in the world."""
    bones = read_asf(asf.read_text())
    names = ("root", *bones.names)
    frames = read_amc(amc.read_text())
    local = np.tile(np.eye(3), (len(frames), len(names), 1, 1))
    local[:, 0] = euler("xyz", np.array([frame["root"][3:6] for frame in frames]))
    for k, name in enumerate(bones.names):
        if not bones.channels[k]:
            continue
        angles = np.zeros((len(frames), 3))
        order = ["rx", "ry", "rz"]
        angles[:, [order.index(channel) for channel in bones.channels[k]]] = [frame[name] for frame in frames]
        axes = euler("xyz", bones.axes[k : k + 1])
        local[:, k + 1] = axes @ euler("xyz", angles) @ axes.transpose(0, 2, 1)
    parents = (-1, *(names.index(parent) for parent in bones.parents))
    rest = np.concatenate([np.zeros((1, 3)), bones.directions])
    return Motion(names, parents, chain(parents, local), rest, fps)


@dataclass(frozen=True)
class AcclaimBones:
    names: tuple[str, ...]
    parents: tuple[str, ...]
    channels: tuple[tuple[str, ...], ...]
    axes: Float[np.ndarray, "bones 3"]  # degrees about x, then y, then z
    directions: Float[np.ndarray, "bones 3"]


def read_asf(text: str) -> AcclaimBones:
    body, tree = text.split(":bonedata")[1].split(":hierarchy")
    found = []
    for part in re.findall(r"begin(.*?)end", body, re.S):
        words = {line.split()[0]: line.split()[1:] for line in part.strip().splitlines() if line.split()}
        found.append(words)
    parent_of = {}
    for line in re.findall(r"^\s*(\S+(?: \S+)+)\s*$", tree.split("begin")[1].split("end")[0], re.M):
        parent, *children = line.split()
        parent_of |= dict.fromkeys(children, parent)
    return AcclaimBones(
        names=tuple(words["name"][0] for words in found),
        parents=tuple(parent_of[words["name"][0]] for words in found),
        channels=tuple(tuple(words.get("dof", ())) for words in found),
        axes=np.array([[float(v) for v in words["axis"][:3]] for words in found]),
        directions=np.array([[float(v) for v in words["direction"]] for words in found]),
    )


def read_amc(text: str) -> list[dict[str, list[float]]]:
    frames: list[dict[str, list[float]]] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1:
            frames.append({})
        else:
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    return frames


def euler(order: str, degrees: Float[np.ndarray, "frames axes"]) -> Float[np.ndarray, "frames 3 3"]:
    """Turns about fixed axes in this order."""
    return Rotation.from_euler(order, degrees, degrees=True).as_matrix()


# ------------------------------------------------------------------ BVH


def read_bvh(path: Path) -> Motion:
    """A joint's rotation is the product of its channels in the order they stand, each about the turned axes."""
    tree, motion = path.read_text().split("MOTION")
    names, parents, offsets, channels, tips = read_hierarchy(tree)
    lines = motion.strip().splitlines()
    fps = 1 / float(lines[1].split(":")[1])
    values = np.array([[float(word) for word in line.split()] for line in lines[2:] if line.strip()])
    local = np.empty((len(values), len(names), 3, 3))
    first = 0
    for k, listed in enumerate(channels):
        turns = [c for c in range(len(listed)) if listed[c].endswith("rotation")]
        order = "".join(listed[c][0] for c in turns).upper()
        local[:, k] = Rotation.from_euler(order, values[:, [first + c for c in turns]], degrees=True).as_matrix()
        first += len(listed)
    rest = np.zeros((len(names), 3))
    for k in range(len(names)):
        ends = [offsets[c] for c in range(len(names)) if parents[c] == k] + tips.get(k, [])
        rest[k] = max(ends, key=np.linalg.norm) if len(ends) == 1 else np.zeros(3)
    return Motion(tuple(names), tuple(parents), chain(tuple(parents), local), rest, fps)


def read_hierarchy(
    text: str,
) -> tuple[list[str], list[int], list[np.ndarray], list[list[str]], dict[int, list[np.ndarray]]]:
    """Names, parents, offsets and channels of the joints, and the offsets of end sites by joint."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[np.ndarray] = []
    channels: list[list[str]] = []
    tips: dict[int, list[np.ndarray]] = {}
    open_joints: list[int] = []  # -1: an end site
    waiting = -1
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in ("ROOT", "JOINT"):
            names.append(words[1].split(":")[-1])
            parents.append(open_joints[-1] if open_joints else -1)
            waiting = len(names) - 1
        elif words[0] == "End":
            waiting = -1
        elif words[0] == "{":
            open_joints.append(waiting)
        elif words[0] == "}":
            open_joints.pop()
        elif words[0] == "OFFSET":
            offset = np.array([float(word) for word in words[1:4]])
            if open_joints[-1] < 0:
                tips.setdefault(open_joints[-2], []).append(offset)
            else:
                offsets.append(offset)
        elif words[0] == "CHANNELS":
            channels.append(words[2:])
    return names, parents, offsets, channels, tips
