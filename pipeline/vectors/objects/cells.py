"""Pixels with a class, counted by cells of the raster: how much ground they cover differs from cell to cell."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.amounts import pixel_area
from segment_tiles.pipeline.vectors.geometry.measure import measure_of, sizes_of
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

CELLS: Final = (512, 8)
"""Cells along rows and columns at most: the scale of maps of the world changes from north to south above all."""


def counted_by_cells(marked: NDArray[np.bool_], window: Window, spec: ClassRasterSpec) -> NDArray[np.int64]:
    """Return how many pixels of a window are marked in each cell of the raster, in reading order.

    Parameters
    ----------
    marked : array rows x columns of bool
    window
        Of the pixels.
    spec
        The raster.
    """
    height, width = _sides(spec)
    rows = np.arange(window.row, window.row_stop) // height
    columns = np.arange(window.column, window.column_stop) // width
    row_starts, column_starts = (np.flatnonzero(np.diff(cells, prepend=-1)) for cells in (rows, columns))
    sums = np.add.reduceat(marked, row_starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, column_starts, axis=1)
    found = np.zeros((-(-spec.height // height), -(-spec.width // width)), dtype=np.int64)
    found[np.ix_(rows[row_starts], columns[column_starts])] = sums
    return found.ravel()


def area_of_cells(counts: NDArray[np.int64], spec: ClassRasterSpec) -> float:
    """Return the area of so many pixels of each cell, each as large as the one in the middle of its cell.

    In square metres, or in square units of a raster without CRS. What is not on the ground counts as the middle of the
    raster.
    """
    if measure_of(spec.georef).ground is None:
        return int(counts.sum()) * pixel_area(spec)
    height, width = _sides(spec)
    cells = np.flatnonzero(counts)
    rows, columns = np.divmod(cells, -(-spec.width // width))
    middles = zip(
        np.minimum(rows * height + height // 2, spec.height - 1).tolist(),
        np.minimum(columns * width + width // 2, spec.width - 1).tolist(),
        strict=True,
    )
    pixels = [shapely.Polygon(spec.georef.corners(Window(row, column, 1, 1))) for row, column in middles]
    areas = sizes_of(measure_of(spec.georef), np.array(pixels, dtype=np.object_), None).areas
    known = np.where(areas > 0, areas, pixel_area(spec))
    return float((counts[cells] * known).sum())


def _sides(spec: ClassRasterSpec) -> tuple[int, int]:
    """Return rows and columns of a cell."""
    return -(-spec.height // CELLS[0]), -(-spec.width // CELLS[1])
