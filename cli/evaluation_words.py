"""The words of ``segment-tiles evaluate``, parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from segment_tiles.pipeline.errors import UsageError


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


def parse_polygon_shape(word: str) -> Literal["polygon", "inscribed_ellipse"]:
    """Return a known shape."""
    if word == "polygon":
        return "polygon"
    if word == "inscribed_ellipse":
        return "inscribed_ellipse"
    msg = f"--polygon-shape is {word!r}; it must be polygon or inscribed_ellipse"
    raise UsageError(msg)


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
