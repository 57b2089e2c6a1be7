"""The words of ``segment-tiles evaluate``, parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

from segment_tiles.pipeline.errors import UsageError

if TYPE_CHECKING:
    from segment_tiles.pipeline.accepted import PolygonShape


def parse_class_values(words: Sequence[str]) -> dict[str, str]:
    """Return value -> class name.

    >>> parse_class_values(["tree=tree canopy"])
    {'tree': 'tree canopy'}
    """
    values = {}
    for word in words:
        value, equals, name = word.partition("=")
        if not equals or not value or not name:
            msg = f"--class-value is {word!r}; it must be VALUE=CLASS, such as tree=forest"
            raise UsageError(msg)
        values[value.strip()] = name.strip()
    return values


def parse_polygon_shape(word: str) -> PolygonShape:
    """Return a known shape."""
    from segment_tiles.pipeline.accepted import PolygonShape

    for shape in get_args(PolygonShape):
        if word == shape:
            return cast("PolygonShape", shape)
    msg = f"--polygon-shape is {word!r}; it must be one of {', '.join(get_args(PolygonShape))}"
    raise UsageError(msg)


def parse_slices(text: str) -> tuple[int, int]:
    """Return the numbers of the first and the last slice.

    >>> parse_slices("85,104")
    (85, 104)
    """
    first, _, last = text.partition(",")
    if not (first.strip().isdigit() and last.strip().isdigit()):
        msg = f"--slices is {text!r}; it must be FIRST,LAST, two slice numbers from 0, such as 85,104"
        raise UsageError(msg)
    return int(first), int(last)


def parse_widths(option: str, text: str) -> tuple[int, ...]:
    """Return widths in pixels.

    >>> parse_widths("--boundary-width", "1,5")
    (1, 5)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{option} is {text!r}; it must be whole numbers of pixels, such as 1,2,5"
        raise UsageError(msg) from error
