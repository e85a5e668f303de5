"""Which row of the output a file's frame is: row k is frame k of the input, whatever is missing in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fitting.readers.files import frame_numbers
from fitting.readers.options import ReadOptions
from fitting.types import InputError


def row_names(stems: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """The stems; with the missing numbers put in where most of the numbers are there."""
    numbers = frame_numbers(stems)
    if numbers is None or options.sequence == "photos" or len(set(numbers)) != len(numbers):
        return tuple(stems)
    low, high = min(numbers), max(numbers)
    if high - low + 1 > 2 * len(numbers):  # photos that happen to end in numbers
        return tuple(stems)
    named = dict(zip(numbers, stems, strict=True))
    prefix = named[low].rstrip("0123456789")  # in the style of the first: 'frame_0007'
    digits = len(named[low]) - len(prefix)
    return tuple(named.get(k, f"{prefix}{k:0{digits}d}") for k in range(low, high + 1))


def rows_of(path: Path, stems: Sequence[str], names: Sequence[str], what: str = "landmark files") -> list[int]:
    """The row of every stem among `names`: by name, else by number, else in order where there are as many.

    Names that a video gives its frames ('000012') are numbers; so are COCO's image ids. Raises InputError for a stem
    that has no place.
    """
    for key in (str, _number):
        place = {key(name): k for k, name in enumerate(names)}
        if None not in place and len(place) == len(names) and all(key(stem) in place for stem in stems):
            return [place[key(stem)] for stem in stems]
    known = set(names)
    lost = [stem for stem in stems if stem not in known]
    if len(stems) == len(names) and len(lost) == len(stems):
        return list(range(len(stems)))
    raise InputError(
        f"{path}: {len(stems)} {what} but {len(names)} pictures, and no picture for {', '.join(lost[:3])}"
        f"{', ...' if len(lost) > 3 else ''}: give the pictures they belong to, with the same names"
    )


def _number(name: str) -> int | None:
    """What the name ends with: 'walk_000012' -> 12."""
    numbers = frame_numbers([name])
    return numbers[0] if numbers else None
