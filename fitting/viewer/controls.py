"""Sliders, switches and curves beside the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fitting.viewer.folder import Person
from fitting.viewer.scene import columns_of

CURVES = ("#1f6fb4", "#c8452f", "#2f9e5c", "#b07c12", "#7a4fb5", "#0f8f8f", "#c24d8f", "#5b6670", "#88a53a")


class Controls:
    """What a person sets. `changed` is called after every change."""

    def __init__(self, server: Any, people: Sequence[Person], changed: Callable[[], None]) -> None:
        from viser import uplot

        gui, frames = server.gui, len(people[0])
        self.people = people
        self.frame = gui.add_slider(
            "frame", min=0, max=max(frames - 1, 1), step=1, initial_value=0, disabled=frames < 2
        )
        self.play = gui.add_checkbox("play", False, disabled=frames < 2)
        self.rate = gui.add_number("frames per second", people[0].fps or 2.0, min=0.5, max=120.0)
        self.words = gui.add_markdown("")
        self.camera = gui.add_button("look from the camera")
        with gui.add_folder("show"):
            self.picture = gui.add_checkbox("picture", True)
            self.mesh = gui.add_checkbox("mesh", True)
            self.by_error = gui.add_checkbox("colour by error", False)
            self.start = gui.add_checkbox("start beside it", False, disabled=not any(map(has_start, people)))
            self.landmarks = gui.add_checkbox("landmarks", True)
            self.residuals = gui.add_checkbox("residuals", True)
            self.factor = gui.add_slider("residuals, times", min=1, max=20, step=1, initial_value=4)
            self.opacity = gui.add_slider("opacity", min=0.1, max=1.0, step=0.05, initial_value=1.0)
        with gui.add_folder("curves"):
            who = [person.name for person in people]
            self.person = gui.add_dropdown("person", who, initial_value=who[0], visible=len(who) > 1)
            choices = list(columns_of(people[0]))
            first = "global_orient" if "global_orient" in choices else choices[0]
            self.block = gui.add_dropdown("parameter", choices, initial_value=first)
            data, series = self.curves()
            scales = {"x": uplot.Scale(time=False)}
            self.plot = gui.add_uplot(data=data, series=series, scales=scales, aspect=1.3)
        seen = (self.picture, self.mesh, self.by_error, self.start, self.landmarks, self.residuals)
        for control in (self.frame, self.factor, self.opacity, *seen):
            control.on_update(lambda _: changed())
        for chooser in (self.person, self.block):
            chooser.on_update(lambda _: self.draw_curves())

    def say(self, k: int) -> None:
        """What there is to know about frame `k`."""
        lines = []
        for person in self.people:
            error = person.arrays["error_px"][k]
            how = f"{error:.2f} px, {person.arrays['error_percent'][k]:.2f} %" if np.isfinite(error) else "no landmarks"
            who = f"person {person.name}: " if len(self.people) > 1 else ""
            lines.append(f"{who}**{person.words('names')[k]}** {person.words('source')[k]}, {how}")
        self.words.content = "  \n".join(lines)

    def draw_curves(self) -> None:
        data, series = self.curves()
        self.plot.data, self.plot.series = data, series

    def curves(self) -> tuple:
        """Data and series of the chosen parameter."""
        from viser import uplot

        person = next(p for p in self.people if p.name == self.person.value)
        name, columns = columns_of(person)[self.block.value]
        values = np.atleast_2d(person.arrays[name].astype(np.float64).T)
        frames = np.arange(len(person), dtype=np.float64)
        labels = names_of(person, name, columns)
        series = [
            uplot.Series(label=label, stroke=CURVES[i % len(CURVES)], width=1.5) for i, label in enumerate(labels)
        ]
        return (frames, *values[columns]), (uplot.Series(label="frame"), *series)


def names_of(person: Person, name: str, columns: np.ndarray) -> list[str]:
    if name == "expression" and "expression_names" in person.arrays:
        return [person.words("expression_names")[c] for c in columns]
    return [name] if person.arrays[name].ndim == 1 else [str(c) for c in columns]


def has_start(person: Person) -> bool:
    return "start_transl" in person.arrays
