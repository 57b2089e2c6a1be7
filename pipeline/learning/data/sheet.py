"""A sheet on which slices of a volume lie below each other, so that they are trained on and scored like any raster.

::

    +-----------+
    | slice 40  |  a gap of pixels without data: no window and no boundary
    +- - - - - -+  reaches from one slice into the next
    | (gap)     |
    +-----------+
    | slice 42  |
    +-----------+
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segment_tiles.pipeline.grid.window import Window


@dataclass(frozen=True, slots=True)
class Sheet:
    """The positions of slices on their sheet."""

    numbers: tuple[int, ...]
    """Slice numbers along the axis, from top to bottom."""
    rows: int
    """Rows of a slice."""
    columns: int
    """Columns of a slice."""
    gap: int
    """Rows without data between two slices."""

    @property
    def height(self) -> int:
        """Rows of the sheet."""
        return len(self.numbers) * (self.rows + self.gap) - self.gap

    def slices(self) -> Iterator[tuple[int, Window]]:
        """Yield number and box of every slice, from top to bottom."""
        for position, number in enumerate(self.numbers):
            yield number, Window(position * (self.rows + self.gap), 0, self.rows, self.columns)

    def windows_of(self, first: int, last: int) -> tuple[Window, ...]:
        """Return the boxes of the slices with these numbers, both included."""
        return tuple(box for number, box in self.slices() if first <= number <= last)

    def number_at(self, window: Window) -> int | None:
        """Return the number of the slice that holds a window; None if the window reaches over several."""
        position, row = divmod(window.row, self.rows + self.gap)
        return self.numbers[position] if row + window.height <= self.rows else None

    def parts(self, window: Window) -> Iterator[tuple[int, Window, Window]]:
        """Yield each slice that a window overlaps: its number, the part in the slice, the part in the window."""
        for number, box in self.slices():
            common = window.intersect(box)
            if not common.is_empty:
                yield number, common.relative_to(box), common.relative_to(window)
