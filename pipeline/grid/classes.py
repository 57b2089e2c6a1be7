"""ClassTable: codes, names and colours of a class map."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Final

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.objects import ObjectRule, check_rules

LARGEST_CODE: Final = 65_534
"""Of a class; the code above it is nodata of maps of 16 bits."""

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


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
    """Value in the class map; of a model 0 to count - 1."""
    name: str
    """Name for people."""
    color: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The classes of a map in the order of their codes, and the code that is no class.

    Those of a model have the codes 0, 1, 2, ...; a reclass may leave gaps.
    """

    classes: tuple[MapClass, ...]
    objects: tuple[ObjectRule, ...] = ()
    """How classes become objects."""

    def __post_init__(self) -> None:
        codes = [c.code for c in self.classes]
        if not codes or codes != sorted(set(codes)) or codes[0] < 0 or codes[-1] > LARGEST_CODE:
            msg = f"class codes are {codes}; they must be different, in order, from 0 to {LARGEST_CODE}"
            raise ModelError(msg)
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            msg = f"class names {names} repeat; each must be different"
            raise ModelError(msg)
        try:
            check_rules(self.objects, names, "the class map")
        except UsageError as error:
            raise ModelError(str(error)) from error

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
        return "uint8" if self.classes[-1].code < 255 else "uint16"

    @property
    def nodata(self) -> int:
        """Code of pixels without a class: the largest value of the type, never a class."""
        return 255 if self.classes[-1].code < 255 else 65535

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes, in order."""
        return tuple(c.code for c in self.classes)

    @property
    def is_dense(self) -> bool:
        """Whether the codes are 0, 1, 2, ... without a gap."""
        return self.classes[-1].code == self.count - 1


@dataclass(frozen=True, slots=True)
class Target:
    """One class as it will be."""

    name: str
    """Of the new class."""
    sources: tuple[str, ...]
    """Names, or codes, of the classes that become it."""
    color: Color | None = None
    """None: that of the class of this name, else of the one with the lowest code."""
    code: int | None = None
    """None: the lowest code of its classes."""


def model_table(classes: tuple[MapClass, ...]) -> ClassTable:
    """Return the classes of a model: the code of a class is its position among the outputs of the network.

    Raises
    ------
    ModelError
        If codes are not 0, 1, 2, ..., or a name comes twice.
    """
    codes = [entry.code for entry in classes]
    if not codes or codes != list(range(len(codes))):
        msg = f"class codes are {codes}; they must be 0, 1, 2, ... in order"
        raise ModelError(msg)
    return ClassTable(classes)
