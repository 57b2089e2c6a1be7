"""ClassTable: codes, names and colours of a class map."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from segment_tiles.pipeline.errors import ModelError


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of classes in a list with commas; a name with a comma stands in double quotes, as in CSV.

    >>> split_names('water, "trees, tall", say "hi" [x]')
    ('water', 'trees, tall', 'say "hi" [x]')
    """
    row = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in row) or ("",)


@dataclass(frozen=True, slots=True)
class MapClass:
    """One class of a class map."""

    code: int
    """Value in the class map, 0 to count - 1."""
    name: str
    """Name for people."""
    color: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The classes of a model in the order of their codes, and the code that is no class."""

    classes: tuple[MapClass, ...]

    def __post_init__(self) -> None:
        codes = [c.code for c in self.classes]
        if not codes or codes != list(range(len(codes))):
            msg = f"class codes are {codes}; they must be 0, 1, 2, ... in order"
            raise ModelError(msg)
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            msg = f"class names {names} repeat; each must be different"
            raise ModelError(msg)

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of their codes."""
        return tuple(c.name for c in self.classes)

    @property
    def dtype(self) -> str:
        """Smallest unsigned type that holds every code and nodata."""
        return "uint8" if self.count <= 255 else "uint16"

    @property
    def nodata(self) -> int:
        """Code of pixels without a class: the largest value of the type, never a class."""
        return 255 if self.count <= 255 else 65535
