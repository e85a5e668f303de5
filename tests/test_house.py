"""The house: which room may import which. Arrows point one way only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "fitting"

# A room may import itself and what stands in its list; what is not named here does not exist.
ALLOWED = {
    "camera": set(),
    "compiled": set(),
    "places": set(),
    "types": {"camera"},
    "layouts": {"types", "camera"},
    "contact": {"unpickle", "types"},
    "terms": {"contact", "layouts", "turns", "types", "camera"},
    "solvers": {"compiled", "types"},
    "readers": {"layouts", "places", "types", "camera"},
    "detectors": {"layouts", "types", "camera"},
    "unpickle": {"types"},
    "bodies": {"compiled", "layouts", "places", "unpickle", "types", "camera"},
    "render": {"types", "camera"},
    "writers": {"render", "types", "camera"},
    "smplifyx_keys": {"types"},
    "smplifyx_yaml": {"layouts", "smplifyx_keys"},
    "config": {"contact", "smplifyx_keys", "smplifyx_yaml", "terms", "types"},
    "evidence": {"terms", "types", "camera"},
    "pixels": {"problem", "solvers", "terms", "types", "camera"},
    "turns": set(),
    "beliefs": {"problem", "solvers", "terms", "turns"},
    "motion": {"beliefs", "problem", "terms", "turns", "types"},
    "curvature": {"beliefs", "geodesic", "motion", "pixels", "problem", "slopes", "solvers", "steering", "terms"},
    "problem": {"terms", "types", "camera"},
    "anew": {"problem", "types"},
    "journal": {"config", "places", "problem", "types", "unpickle", "writers"},
    "rigid": {"camera"},
    "posture": {"types"},
    "gaps": set(),
    "track": {"gaps", "types"},
    "worlds": {"track", "types", "camera"},
    "codes": {"track", "worlds", "unpickle", "types", "camera"},
    "action_units": {"types"},
    "doctor": {"bodies", "codes", "types", "unpickle"},
    "training": {"action_units", "bodies", "codes", "readers", "render", "track", "types"},
    "exports": {"action_units", "layouts", "track", "worlds", "render", "writers", "types", "camera"},
    "crop_camera": {"track", "worlds", "types", "camera"},
    "coded_pose": {"track", "types"},
    "transfer": {"track", "types"},
    "start_codes": {"coded_pose", "crop_camera", "track", "worlds", "transfer", "types"},
    "convert": {
        "bodies", "coded_pose", "codes", "config", "crop_camera", "exports", "track", "transfer", "types", "worlds",
    },
    "start": {"config", "evidence", "gaps", "posture", "rigid", "types", "camera"},
    "calm": {"types"},
    "path": set(),
    "rivals": {"config", "journal", "problem", "solve", "types"},
    "hypotheses": {
        "calm", "config", "evidence", "journal", "layouts", "path", "problem", "rivals", "solve", "start", "terms",
        "types",
    },
    "stagnation": {"problem", "types"},
    "summary": {"evidence", "problem", "start", "types", "camera"},
    "steering": {"problem"},
    "geodesic": {"problem", "steering", "terms"},
    "excerpt": {"curvature", "problem", "solvers", "types"},
    "slopes": {"problem", "terms", "turns", "camera"},
    "newton": {"beliefs", "compiled", "pixels", "problem", "solvers", "terms", "turns", "types", "camera"},
    "lens": {"curvature", "pixels", "problem"},
    "posterior": {"curvature", "pixels", "problem", "solvers", "types", "camera"},
    "ambiguity": {"curvature", "pixels", "posterior", "problem", "types"},
    "uncertainty": {"curvature", "lens", "pixels", "posterior", "problem", "solvers", "terms", "types", "camera"},
    "solve": {
        "ambiguity", "anew", "compiled",
        "config", "curvature", "evidence", "excerpt", "journal", "newton", "problem", "solvers", "stagnation",
        "summary", "terms", "types", "uncertainty", "camera",
    },
    "viewer": {"bodies", "config", "readers", "render", "writers", "types", "camera"},
    "quality": {"types"},
    "together": {"types"},
    "truth": {"types", "camera"},
    "samples": {"evidence", "render", "types", "camera"},
    "pipeline": {
        "action_units",
        "bodies", "codes", "config", "detectors", "evidence", "exports", "hypotheses", "journal", "layouts", "quality",
        "readers", "samples", "solve",
        "start", "start_codes", "together", "track", "truth",
        "types", "writers",
    },
    "cli": {"config", "convert", "doctor", "pipeline", "places", "types", "viewer"},
}  # fmt: skip

# Making the open models renders and detects: it is a workshop beside the house, nothing of the house imports it.
WORKSHOP = "fitting/bodies/open_model"


def modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if not p.relative_to(ROOT.parent).as_posix().startswith(WORKSHOP))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms of this package that a file imports, wherever in the file."""
    package = ("fitting", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (base + (node.module or "")).strip(".")
            names = [module] if module != "fitting" else [f"fitting.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("fitting.")}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    here = room(path)
    if here == "__init__":
        return
    assert here in ALLOWED, f"{here} is a room without a place in the house: add it to ALLOWED"
    assert imported(path) - {here} <= ALLOWED[here]


def test_the_house_has_no_circles():
    def below(name, seen):
        assert name not in seen, f"circle: {' -> '.join([*seen, name])}"
        for child in ALLOWED[name]:
            below(child, [*seen, name])

    for name in ALLOWED:
        below(name, [])


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_prints_or_exits_below_the_command_line(path):
    if path.name == "cli.py":
        return
    calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    names = {f.id for f in calls if isinstance(f, ast.Name)} | {
        f"{f.value.id}.{f.attr}" for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)
    }
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "pickle.load", "pickle.loads", "eval", "exec"}
    assert not names & forbidden
