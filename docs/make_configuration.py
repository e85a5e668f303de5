"""Writes docs/configuration.md from the configuration's own records: python docs/make_configuration.py"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from fitting.config import (  # noqa: E402
    ALIASES,
    BodyConfig,
    CameraConfig,
    CodesConfig,
    DetectorConfig,
    FitConfig,
    ReadConfig,
    RenderConfig,
    SearchConfig,
    StageConfig,
)
from fitting.terms import Term, Terms  # noqa: E402

TARGET = ROOT / "docs" / "configuration.md"
SECTIONS = {
    "body": BodyConfig,
    "camera": CameraConfig,
    "read": ReadConfig,
    "codes": CodesConfig,
    "detector": DetectorConfig,
    "render": RenderConfig,
    "search": SearchConfig,
}

HEAD = """# Configuration

<!-- Made by docs/make_configuration.py: change the descriptions in fitting/, then run it again. -->

A recipe is a YAML file (`cfg_files/`). Every key can be given on the command line too, dotted, with a value in YAML:
`--camera.focal 1400 --body.betas 50 --read.image_size "[1280, 720]"`. Lists of words take commas: `--outputs obj,npy`.
An unknown key is an error that names the nearest known one. A run writes its whole configuration to `conf.yaml`.
"""

STAGE_WORDS = """
`free` takes the names of blocks, or these words:

| word | blocks |
|---|---|
{rows}

`terms` of a stage holds changes to the recipe's terms for this stage alone: `terms: {{keypoints: {{sigma: 0.04}}}}`.
A term set to null takes no part in the stage.
"""

TERMS = """
## terms

A term that a recipe does not name takes no part. The default below is the term's own, used where the recipe names the
term and leaves the key out: `jaw: {}` is a jaw term with every default. What each sigma is measured in is said in
[conventions.md](conventions.md). Every term has these keys:
"""


def main() -> None:
    TARGET.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole file."""
    parts = [HEAD, "## The recipe\n", table(FitConfig, skip={*SECTIONS, "terms", "stages"})]
    for name, record in SECTIONS.items():
        parts += [f"\n## {name}\n\n{sentence(record)}\n", table(record, prefix=f"{name}.")]
    rows = "\n".join(f"| `{word}` | {', '.join(f'`{b}`' for b in blocks)} |" for word, blocks in ALIASES.items())
    parts += [f"\n## stages\n\nA list. {sentence(StageConfig)}\n", table(StageConfig), STAGE_WORDS.format(rows=rows)]
    parts += [TERMS, table(Term)]
    for name, field in Terms.model_fields.items():
        record = next(a for a in get_args(field.annotation) if isinstance(a, type) and issubclass(a, Term))
        own = {key for key in record.model_fields if key not in Term.model_fields or key == "sigma"}
        skip = set(record.model_fields) - own
        parts += [f"\n### {name}\n\n{sentence(record)}\n", table(record, prefix=f"terms.{name}.", skip=skip)]
    return "\n".join(parts).rstrip() + "\n"


def sentence(record: type[BaseModel]) -> str:
    return " ".join((record.__doc__ or "").split("\n\n")[0].split())


def table(record: type[BaseModel], prefix: str = "", skip: set[str] | frozenset[str] = frozenset()) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in record.model_fields.items():
        if key not in skip:
            cells = (f"`{prefix}{key}`", value_kind(field), default(field), meaning(key, field))
            safe = [cell.replace("|", "\\|").replace("<", "&lt;") if "`" not in cell else cell for cell in cells]
            lines.append("| " + " | ".join(safe) + " |")
    return "\n".join(lines)


def meaning(key: str, field: FieldInfo) -> str:
    """A subclass that replaces `sigma` leaves its sentence to the base class."""
    return field.description or (Term.model_fields[key].description if key in Term.model_fields else None) or ""


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{plain(field.default)}`"


def plain(value: Any) -> str:
    """As YAML writes it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    return str(value)


def value_kind(field: FieldInfo) -> str:
    limits = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in limits.items() if hasattr(m, name)]
    return ", ".join([kind(field.annotation), *found])


def kind(annotation: Any) -> str:
    """A type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inside)
    if origin is tuple:
        return f"list of {kind(inside[0])}" if inside[-1] is ... else f"[{', '.join(kind(i) for i in inside)}]"
    if origin is dict:
        return "mapping to numbers" if inside[1] is float else "mapping"
    if inside:
        return " or ".join(kind(item) for item in inside)
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true, false", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)).lower()
    )


if __name__ == "__main__":
    main()
