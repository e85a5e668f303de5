"""Json of unknown origin: loaded once, its lists of numbers checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.readers.files import read_text, with_size
from fitting.types import InputError


def load(path: Path) -> Any:
    """Raises InputError where the file is empty, not text or not json."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{with_size(path)}: not valid json ({error}); is the file cut off?") from error


def triples(path: Path, values: Any, what: str) -> Float[np.ndarray, "points 3"]:
    """x, y, confidence of every point from a flat list; null and what is not finite are nothing seen.

    Raises InputError where there are no numbers, or not three for every point.
    """
    try:
        numbers = np.array(values, dtype=np.float64)  # null becomes NaN
    except (TypeError, ValueError) as error:
        raise InputError(f"{with_size(path)}: {what}: expected numbers x, y, c, x, y, c, ...: {error}") from error
    if numbers.ndim != 1 or len(numbers) % 3:
        raise InputError(f"{with_size(path)}: {what}: expected three numbers for a point, found {numbers.shape}")
    points = numbers.reshape(-1, 3)
    return np.where(np.isfinite(points).all(axis=1, keepdims=True), points, 0.0)


def outline(content: Any) -> str:
    """What a json is, for messages: its keys, or what its list holds."""
    if isinstance(content, dict):
        return f"an object with {', '.join(map(repr, list(content)[:6])) or 'nothing in it'}"
    if isinstance(content, list):
        return f"a list of {len(content)}, the first: {outline(content[0])}" if content else "an empty list"
    return f"{type(content).__name__} {str(content)[:40]!r}"
