"""report.html: one page that says how a run went. Everything is inside: it opens from disk without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from fitting.viewer import measures
from fitting.viewer.folder import Person, Results, read_results
from fitting.viewer.frames import data_uri, overlays
from fitting.viewer.html import STYLE, key_table, table
from fitting.viewer.svg import Line, Shade, line_chart
from fitting.writers.atomic import write_text

WORST = 8
"""Pictures of frames per person."""
FITTED, MEASURED, START = "#1f6fb4", "#2f9e5c", "#a0a7b0"
AXES = ("#c8452f", "#2f9e5c", "#1f6fb4")
MARKS = {"interpolated": "#f6e3b4", "held": "#f3d3c4", "missing": "#e6e8eb"}


def write_page(folder: Path) -> Path:
    """`report.html` in an output folder. Raises InputError where it is none, OutputError where it cannot be written."""
    results = read_results(folder)
    return write_text(results.folder / "report.html", page(results))


def page(results: Results) -> str:
    source = str(results.report.get("input") or config_value(results.config, "input") or results.folder.name)
    parts = [f"<h1>{escape(source)}</h1>", summary(results)]
    for person in results.people:
        if len(results.people) > 1:
            parts.append(f"<h1>Person {escape(person.name)}</h1>")
        parts += [gaps(person), worst(results, person), over_time(person), cost_table(person), error_bars(person)]
    parts += [truth(results), configuration(results)]
    title = f"Keyfit: {escape(source)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(part for part in parts if part)
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"


# ------------------------------------------------------------------ what there is


def summary(results: Results) -> str:
    first = results.people[0]
    rows = [
        ("model", f"{first.text('model')} <code>{first.text('model_sha256')[:16]}</code>"),
        ("configuration", f"<code>{results.config_sha256[:16]}</code>" if results.config else "conf.yaml is not there"),
        ("made with", escape(", ".join(first.words("versions")) if "versions" in first.arrays else "")),
        ("time of the solver", f"{results.report['seconds']:.1f} s" if "seconds" in results.report else ""),
    ]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in remarks(results))
    return key_table(rows) + people_table(results.people) + notes


def people_table(people: Sequence[Person]) -> str:
    header = ("person", "frames", "fitted", "error px", "error %", "median px", "worst px", "start px")
    rows = []
    for person in people:
        error = person.arrays["error_px"]
        numbers = (
            np.nanmean(error), np.nanmean(person.arrays["error_percent"]), np.nanmedian(error), np.nanmax(error),
            np.nanmean(person.arrays["start_error_px"]),
        ) if np.isfinite(error).any() else (np.nan,) * 5  # fmt: skip
        counts = (str(len(person)), str(int(person.arrays["valid"].sum())))
        rows.append((escape(person.name), *counts, *(f"{number:.2f}" for number in numbers)))
    return table(header, rows)


def remarks(results: Results) -> Iterable[str]:
    """Cuts, and what the evidence left open."""
    for person, frames in (results.report.get("cuts") or {}).items():
        yield f"Person {person}: the picture cuts before frame {', '.join(map(str, frames))}."
    for person, bars in (results.report.get("error_bars") or {}).items():
        for text in bars.get("ambiguities") or ():
            yield f"Person {person}: {text}"


def gaps(person: Person) -> str:
    """What was not fitted, where its rows come from, and why."""
    found = measures.stretches(person)
    if not found:
        return f"<p>Every frame of person {escape(person.name)} was fitted.</p>"
    names = person.words("names")
    rows = [
        (
            span(s, names),
            str(s.last - s.first + 1),
            f'<span style="background:{MARKS[s.source]}">{s.source}</span>',
            s.why,
        )
        for s in found
    ]
    return "<h2>Frames without a fit of their own</h2>" + table(("frames", "number", "their rows are", "because"), rows)


def span(stretch: measures.Stretch, names: tuple[str, ...]) -> str:
    if stretch.first == stretch.last:
        return escape(names[stretch.first])
    return f"{escape(names[stretch.first])} to {escape(names[stretch.last])}"


def worst(results: Results, person: Person) -> str:
    """The frames with the largest error, with their pictures."""
    chosen, names = measures.worst_frames(person, WORST), person.words("names")
    pictures = overlays(results.folder, names, chosen)
    figures = []
    for k in chosen:
        caption = (
            f"frame {escape(names[k])}: {person.arrays['error_px'][k]:.2f} px, "
            f"{person.arrays['error_percent'][k]:.2f} %, start {person.arrays['start_error_px'][k]:.2f} px, "
            f"{escape(person.words('stop')[k])} after {int(person.arrays['iterations'][k])} iterations"
        )
        image = (
            f'<img alt="overlay of frame {escape(names[k])}" src="{data_uri(pictures[k])}">' if k in pictures else ""
        )
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    hint = "" if pictures else "<p>No overlays lie in the folder: fit with <code>--outputs params,overlay</code>.</p>"
    return "<h2>Worst frames first</h2>" + hint + "".join(figures)


# ------------------------------------------------------------------ over time


def over_time(person: Person) -> str:
    if len(person) < 3 or person.fps is None:
        return ""
    shades = [Shade(s.first, s.last, MARKS[s.source]) for s in measures.stretches(person)]
    deviations = np.array([np.nan if row.get("sd_px") is None else row["sd_px"] for row in person.rows], dtype=float)
    error = Line("fitted", person.arrays["error_px"], FITTED)
    start = Line("start", person.arrays["start_error_px"], START)
    parts = ["<h2>Error over time</h2>", line_chart([start, error], "mean landmark error, px", shades)]
    if np.isfinite(deviations).any():
        bars = Line("mean standard deviation of the projected landmarks", deviations, FITTED)
        parts += [line_chart([bars], "standard deviation, px", shades)]
    jitter = [
        Line("measured", measures.jitter_px(measures.measured_points(person)), MEASURED),
        Line("fitted", measures.jitter_px(np.asarray(person.arrays["projected"], dtype=np.float64)), FITTED),
    ]
    parts += ["<h2>Jitter over time</h2>", line_chart(jitter, "second difference of landmarks, px per frame", shades)]
    return "".join(parts) + courses(person, shades)


def courses(person: Person, shades: Sequence[Shade]) -> str:
    """How the body's root turns and moves, with error bars; places from their median, or movement would not show."""
    parts = []
    for name, unit, factor in (("global_orient", "degrees", 180 / np.pi), ("transl", "mm from the median", 1000.0)):
        if name not in person.arrays:
            continue
        values = person.arrays[name][:, :3].astype(np.float64) * factor
        if name == "transl":
            values = values - np.median(values, axis=0)
        bars = person.arrays.get(f"{name}_sd")
        lines = [
            Line(axis, values[:, k], colour, None if bars is None else bars[:, k].astype(np.float64) * factor)
            for k, (axis, colour) in enumerate(zip("xyz", AXES, strict=True))
        ]
        parts.append(f"<h2><code>{name}</code></h2>" + line_chart(lines, unit, shades))
    return "".join(parts)


# ------------------------------------------------------------------ tables


def cost_table(person: Person) -> str:
    found = measures.costs(person)
    if not found:
        return ""
    total = [sum(pair[side] for pair in found.values()) for side in (0, 1)]
    rows = [(escape(term), f"{start:.1f}", f"{end:.1f}", share(end, total[1])) for term, (start, end) in found.items()]
    rows.append(("all", f"{total[0]:.1f}", f"{total[1]:.1f}", ""))
    return "<h2>Cost of each term, last stage</h2>" + table(("term", "at the start", "at the end", "of the end"), rows)


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole > 0 else ""


def error_bars(person: Person) -> str:
    """Standard deviations of every block, over frames and coefficients."""
    rows = []
    for name, kind in zip(person.words("block_names"), person.words("block_kinds"), strict=True):
        values = person.arrays.get(f"{name}_sd")
        if values is None or not np.isfinite(values).any():
            continue
        factor, unit = (
            (180 / np.pi, "degrees") if kind == "rotation" else (1000.0, "mm") if name == "transl" else (1, "")
        )
        mean, largest = np.sqrt(np.nanmean(values.astype(np.float64) ** 2)), np.nanmax(values)
        rows.append((f"<code>{escape(name)}</code>", f"{factor * mean:.3g}", f"{factor * largest:.3g}", unit))
    header = ("block", "standard deviation, root mean square", "largest", "unit")
    return "<h2>Error bars</h2>" + table(header, rows) if rows else ""


def truth(results: Results) -> str:
    """What a comparison with known parameters found."""
    known = results.report.get("truth")
    if not known:
        return ""
    parts = ["<h2>Against the truth</h2>"]
    for who, found in known.items():
        keys = sorted({*found.get("start", {}), *found.get("fit", {})})
        rows = [(escape(key), number(found["start"].get(key)), number(found["fit"].get(key))) for key in keys]
        parts.append(f"<p>Person {escape(who)}</p>" + table(("", "start", "fit"), rows))
    return "".join(parts)


def number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else escape(str(value))


def configuration(results: Results) -> str:
    return (
        f"<h2>Configuration</h2><details><summary>conf.yaml, sha256 <code>{results.config_sha256}</code></summary>"
        f"<pre>{escape(results.config)}</pre></details>"
        f"<p>Model sha256 <code>{escape(results.people[0].text('model_sha256'))}</code></p>"
    )


def config_value(config: str, key: str) -> str | None:
    """A top-level scalar of conf.yaml."""
    for line in config.splitlines():
        if line.startswith(f"{key}: "):
            return line.split(": ", 1)[1].strip("'\"")
    return None
