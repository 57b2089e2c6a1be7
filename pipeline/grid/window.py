"""Window: a half-open box of pixels, rows first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open integer box in pixels of one Level: rows [row, row + height), columns likewise.

    ::

        (row, column) +----------------+
                      |                | height
                      +----------------+ (row_stop, column_stop), exclusive
                            width

    >>> Window(2, 3, 10, 20).intersect(Window(0, 20, 5, 5))
    Window(row=2, column=20, height=3, width=3)
    """

    row: int
    """First row."""
    column: int
    """First column."""
    height: int
    """Number of rows, 0 for an empty box."""
    width: int
    """Number of columns, 0 for an empty box."""

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            msg = f"a Window has height {self.height} and width {self.width}; both must be 0 or more"
            raise ValueError(msg)

    @classmethod
    def from_edges(cls, row: int, column: int, row_stop: int, column_stop: int) -> Window:
        """Return the box between two corners, empty if the second lies before the first."""
        return cls(row, column, max(0, row_stop - row), max(0, column_stop - column))

    @property
    def row_stop(self) -> int:
        """Row after the last."""
        return self.row + self.height

    @property
    def column_stop(self) -> int:
        """Column after the last."""
        return self.column + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def is_empty(self) -> bool:
        """True if there is no pixel."""
        return self.height == 0 or self.width == 0

    def intersect(self, other: Window) -> Window:
        """Return the pixels that both have; an empty box keeps the later corner."""
        row, column = max(self.row, other.row), max(self.column, other.column)
        return Window.from_edges(
            row, column, min(self.row_stop, other.row_stop), min(self.column_stop, other.column_stop)
        )

    def contains(self, other: Window) -> bool:
        """True if every pixel of ``other`` is in this box."""
        return self.intersect(other).area == other.area

    def shift(self, rows: int, columns: int) -> Window:
        """Return the box moved down by ``rows`` and right by ``columns``."""
        return Window(self.row + rows, self.column + columns, self.height, self.width)

    def relative_to(self, outer: Window) -> Window:
        """Return this box in the pixels of ``outer``, whose corner becomes (0, 0)."""
        return self.shift(-outer.row, -outer.column)

    def grow(self, pixels: int) -> Window:
        """Return the box with ``pixels`` more on every side."""
        return Window.from_edges(
            self.row - pixels, self.column - pixels, self.row_stop + pixels, self.column_stop + pixels
        )

    def parts(self, height: int, width: int) -> Iterator[Window]:
        """Yield parts of so many rows and columns at most, row by row of parts.

        >>> [part.shape for part in Window(0, 0, 3, 5).parts(2, 4)]
        [(2, 4), (2, 1), (1, 4), (1, 1)]
        """
        for row in range(self.row, self.row_stop, height):
            for column in range(self.column, self.column_stop, width):
                yield Window(row, column, height, width).intersect(self)

    def slices(self) -> tuple[slice, slice]:
        """Return the slices that cut this box out of an array rows x columns."""
        return slice(self.row, self.row_stop), slice(self.column, self.column_stop)
