"""What the documentation says is so: links lead somewhere, quoted code is the project's, python blocks run."""

import importlib.util
import re
from pathlib import Path

import pytest

from fitting.config import FitConfig
from fitting.terms import Terms
from fitting.writers import WRITERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "models" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

BLOCK = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
NAMED = re.compile(r"`((?:fitting|cfg_files|models|docs|tests|examples|benchmarks)/[\w./]+\.\w+)`")

# Files that a page speaks of and that are the user's to put there.
LICENSED = "models/FLAME2020/"


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture()
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder with the recipes in it, as the current one."""
    (tmp_path / "cfg_files").symlink_to(ROOT / "cfg_files")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_and_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [page.parent / target for target in LINK.findall(text) if "://" not in target]
    paths = [ROOT / name for name in NAMED.findall(text) if not name.startswith(LICENSED)]
    assert [str(path) for path in links + paths if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_quoted_code_is_the_projects(page):
    """A block that names a file is a passage of it, word by word."""
    quotes = [(path, code) for _, path, code in BLOCK.findall(page.read_text(encoding="utf-8")) if path]
    for path, code in quotes:
        assert code in (ROOT / path).read_text(encoding="utf-8"), f"{page.name} quotes what is not in {path}:\n{code}"


def test_python_blocks_of_the_readme_run(workplace, capsys):
    """Last to first: the block on regressors reads what the block on Python writes."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    runnable = [code for language, path, code in blocks if language == "python" and not path]
    assert len(runnable) == 2
    for code in reversed(runnable):
        exec(compile(code, "README.md", "exec"), {})
    assert (workplace / "start.npz").is_file()
    assert capsys.readouterr().out


def test_configuration_page_is_up_to_date():
    made = load(ROOT / "docs" / "make_configuration.py").page()
    assert made == (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"), "python docs/make_configuration.py"


def test_every_key_of_the_configuration_has_a_meaning():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []


def test_conventions_give_every_terms_sigma():
    page = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d.]+) \|$", page, re.MULTILINE))
    record = Terms(**{name: {} for name in Terms.model_fields})
    assert {name: float(value) for name, value in table.items()} == {n: t.sigma for n, t in record.named().items()}


def test_formats_name_every_output():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [name for name in WRITERS if f"| `{name}` |" not in page] == []


def test_readme_names_every_recipe():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    recipes = sorted((ROOT / "cfg_files").glob("*.yaml"))
    assert [path.name for path in recipes if f"(cfg_files/{path.name})" not in readme] == []
    assert all(FitConfig.load(path).stages for path in recipes)


def test_examples_fit_a_photo_and_read_it(workplace, capsys):
    load(ROOT / "examples" / "01_fit_a_photo.py").main()
    load(ROOT / "examples" / "03_read_results.py").main()
    said = capsys.readouterr().out
    low, high = (re.findall(r"-?\d+\.", re.search(rf"{name}: *(.*)", said)[1]) for name in ("landmarks", "mesh"))
    landmarks, mesh = [float(x) for x in low], [float(x) for x in high]
    # The head reaches beyond its landmarks on every side: the file's K and axes are those of the picture.
    assert mesh[0] < landmarks[0] and mesh[1] < landmarks[1] and mesh[2] > landmarks[2] and mesh[3] > landmarks[3]


def test_example_refines_a_clip(capsys):
    load(ROOT / "examples" / "02_refine_a_clip.py").main(frames=10)
    start, fit = (float(x) for x in re.findall(r"([\d.]+) mm from the truth", capsys.readouterr().out))
    assert fit < 0.4 * start
