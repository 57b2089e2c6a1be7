"""An AOI on the grid of the result, as the computation asks it on its own grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.grid_map import GridMap
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.area_of_interest import Area

DRAWN_AT_ONCE: Final = 2**22
"""Pixels of the result."""


class ComputedArea:
    """An AOI of the result as the computation asks it: a computed pixel is in it if a pixel taken from it is.

    Parameters
    ----------
    area
        On the grid of the result.
    grid
        From there to what is computed.
    """

    def __init__(self, area: Area, grid: GridMap) -> None:
        self._area, self._grid = area, grid

    def meets(self, window: Window) -> bool:
        """Return whether a window of computed pixels may have one in it."""
        there = self._grid.taken_from(window)
        return not there.is_empty and self._area.meets(there)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window of computed ones are in it: rows x columns."""
        found = np.zeros(window.shape, dtype=bool)
        for rows in _strips(self._grid, window):
            there = self._grid.taken_from(rows)
            if there.is_empty:
                continue
            inside = self._area.mask(there)
            down = self._grid.rows.indices(there.row, there.row_stop) - window.row
            across = self._grid.columns.indices(there.column, there.column_stop) - window.column
            some = np.logical_or.reduceat(inside, _starts(down), axis=0)
            some = np.logical_or.reduceat(some, _starts(across), axis=1)
            found[np.ix_(np.unique(down), np.unique(across))] = some
        return found


def _starts(ascending: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each value of a run begins."""
    return np.unique(ascending, return_index=True)[1]


def _strips(grid: GridMap, window: Window) -> Iterator[Window]:
    """Divide a window of computed pixels so that few pixels of the result are taken from a strip."""
    across = grid.taken_from(window).width
    rows = max(1, int(DRAWN_AT_ONCE / max(1.0, across * grid.rows.factor)))
    for row in range(window.row, window.row_stop, rows):
        yield Window(row, window.column, rows, window.width).intersect(window)
