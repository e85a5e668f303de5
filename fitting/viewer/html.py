"""How a page looks, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1000px; padding: 0 1rem; color: #1d2329; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #d9dde2; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } th { color: #5b6670; font-weight: 500; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: #5b6670; } .grid { stroke: #e6e8eb; }
.legend { margin: 0 0 0.8rem; color: #5b6670; } figure { margin: 0 0 1.2rem; } figure img { max-width: 100%; }
figcaption { color: #5b6670; } code, pre { font-size: 13px; }
pre { background: #f5f6f8; padding: 1rem; overflow: auto; }
.note { background: #fff6df; padding: 0.4rem 0.8rem; }
"""


def key_table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in rows if value)
    return f"<table>{cells}</table>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are html; columns of numbers stand to the right."""
    rows = list(rows)
    right = [
        bool(rows) and all(row[k] == "nan" or row[k][:1] in "0123456789-" for row in rows) for k in range(len(header))
    ]
    kinds = [' class="n"' if is_right else "" for is_right in right]
    top = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
