"""GridMap: which pixel that was computed each pixel of the result is taken from.

A model may want larger or smaller pixels than the source has, while the result lies on the source's own grid. Both
grids start at the same corner, and only the size of their pixels differs::

    result     |  0  |  1  |  2  |  3  |  4  |        f = 2.5 pixels of the result in one that is computed
    computed   |      0       |       1      |        the one in which the middle of the pixel lies

Where nothing is resampled the map is the identity, and a pixel is taken from itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window

PIXELS_AT_ONCE: Final = 2**20
"""Of a result on another grid than was computed, in rows that are made together."""


@dataclass(frozen=True, slots=True)
class AxisMap:
    """The map along one side.

    >>> axis = AxisMap(size=5, computed=2, factor=2.5)
    >>> axis.indices(0, 5).tolist(), axis.covering(1, 3), axis.taken_from(1, 2)
    ([0, 0, 1, 1, 1], (0, 2), (2, 5))
    """

    size: int
    """Pixels of the grid of the result."""
    computed: int
    """Pixels of the grid that is computed."""
    factor: float
    """Pixels of the result in one that is computed; below 1 the result is the coarser one."""

    def indices(self, start: int, stop: int) -> NDArray[np.intp]:
        """Return the computed pixel of each pixel [start, stop) of the result, ascending."""
        return self.of(np.arange(start, stop))

    def of(self, pixels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the computed pixel of each of these pixels of the result."""
        return np.minimum(((pixels + 0.5) / self.factor).astype(np.intp), self.computed - 1)

    def covering(self, start: int, stop: int) -> tuple[int, int]:
        """Return the half-open interval of computed pixels that pixels [start, stop) of the result are taken from."""
        first, last = self.indices(start, start + 1)[0], self.indices(stop - 1, stop)[0]
        return int(first), int(last) + 1

    def taken_from(self, start: int, stop: int) -> tuple[int, int]:
        """Return the half-open interval of the result whose pixels are taken from computed pixels [start, stop)."""
        return self._first(start), self._first(stop)

    def _first(self, computed: int) -> int:
        """Return the first pixel of the result that is taken from this computed pixel or one after it."""
        if computed >= self.computed:
            return self.size
        # the rounding of this product and of the quotient in `indices` may differ by one pixel
        found = max(0, math.ceil(computed * self.factor - 0.5) - 1)
        while found < self.size and self.indices(found, found + 1)[0] < computed:
            found += 1
        return found


@dataclass(frozen=True, slots=True)
class GridMap:
    """The map of a plane."""

    rows: AxisMap
    """From top to bottom."""
    columns: AxisMap
    """From left to right."""

    @classmethod
    def identity(cls, height: int, width: int) -> GridMap:
        """Return the map of a result on the very pixels that are computed."""
        return cls(AxisMap(height, height, 1.0), AxisMap(width, width, 1.0))

    @property
    def is_identity(self) -> bool:
        """Whether every pixel is taken from itself."""
        return all(axis.factor == 1 and axis.size == axis.computed for axis in (self.rows, self.columns))

    def covering(self, window: Window) -> Window:
        """Return the computed pixels that a window of the result, with at least one pixel, is taken from."""
        top, bottom = self.rows.covering(window.row, window.row_stop)
        left, right = self.columns.covering(window.column, window.column_stop)
        return Window.from_edges(top, left, bottom, right)

    def taken_from(self, window: Window) -> Window:
        """Return the pixels of the result that are taken from a window of the computed ones; it may be empty."""
        top, bottom = self.rows.taken_from(window.row, window.row_stop)
        left, right = self.columns.taken_from(window.column, window.column_stop)
        return Window.from_edges(top, left, bottom, right)
