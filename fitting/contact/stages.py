"""The stages that the switch `contact` adds to a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GENTLE = 20.0  # times its sigma: what is deep must find its way out before it is held to it
WIDE = 2.0  # times the keypoints' kernel width meanwhile: a limb on its way out must not be let go of
STAGES = (("apart", GENTLE, WIDE, 20), ("clear", 1.0, 1.0, 40))  # name, both factors, iterations
HELD = frozenset(("shape", "betas", "size", "scale", "expression"))  # a body must not starve to be clear of itself


def with_contact(recipe: Mapping[str, Any], sigma: float) -> Mapping[str, Any]:
    """A recipe's tree with `contact` replaced by its last stage twice more, without shape: with the term
    `interpenetration`, at twenty times its sigma (metres; `sigma` where the recipe says none) and then at its sigma.
    What the recipe says of the term goes for these two stages alone. A tree in which anything of this is not what it
    should be comes back as it is."""
    terms, stages = recipe.get("terms", {}), recipe.get("stages")
    if not isinstance(terms, Mapping) or not isinstance(stages, (list, tuple)) or not stages:
        return recipe
    last, settings = stages[-1], terms.get("interpenetration") or {}
    if not isinstance(last, Mapping) or not isinstance(settings, Mapping):
        return recipe
    size, changes = settings.get("sigma", sigma), last.get("terms", {})
    if not isinstance(size, (int, float)) or not isinstance(changes, Mapping):
        return recipe
    free = [word for word in last.get("free", ()) if word not in HELD]
    width = kernel_width(changes, terms)
    added = []
    for name, factor, wider, iterations in STAGES:
        found = {**changes, "interpenetration": {**settings, "sigma": factor * size}}
        if width is not None and wider != 1:
            found["keypoints"] = {**(changes.get("keypoints") or {}), "kernel_width": wider * width}
        added.append({**last, "name": name, "free": free, "iterations": iterations, "terms": found})
    return {**recipe, "contact": False, "terms": {**terms, "interpenetration": None}, "stages": [*stages, *added]}


def kernel_width(*levels: Mapping[str, Any]) -> float | None:
    """Of the keypoints, as the first of some trees of terms says that says anything."""
    for terms in levels:
        keypoints = terms.get("keypoints")
        width = keypoints.get("kernel_width") if isinstance(keypoints, Mapping) else None
        if isinstance(width, (int, float)):
            return width
    return None
