"""Majority smoothing: a pixel takes the class that is most frequent around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster


def majority_codes(raster: ClassRaster, window: Window, side: int) -> NDArray[np.integer]:
    """Return the codes of a window after majority smoothing.

    The square around a pixel is cut off at the edge of the raster. Nodata pixels stay nodata and are
    not counted. Where several classes are equally frequent, the pixel keeps its own if it is one of
    them, and takes the smallest code otherwise.

    Parameters
    ----------
    raster : ClassRaster
        Codes.
    window : Window
        The pixels wanted; as much more is read as the square needs.
    side : int
        Side of the square in pixels, odd.
    """
    outer = window.grow(side // 2).intersect(raster.spec.window)
    codes = raster.read(outer)
    inside = window.relative_to(outer)
    own = codes[inside.slices()]
    best, best_count = own.copy(), np.full(own.shape, -1, dtype=np.int32)
    for code in np.unique(codes):
        if code == raster.spec.nodata:
            continue
        count = 2 * _count_around(codes == code, inside, side) + (own == code)
        better = count > best_count
        best[better] = code
        best_count[better] = count[better]
    if raster.spec.nodata is not None:
        best[own == raster.spec.nodata] = raster.spec.nodata
    return best


def _count_around(member: NDArray[np.bool_], inside: Window, side: int) -> NDArray[np.int32]:
    """Return how many members lie in the square around each pixel inside, by a summed-area table."""
    table = np.zeros((member.shape[0] + 1, member.shape[1] + 1), dtype=np.int32)
    np.cumsum(member, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    half = side // 2
    rows = np.arange(inside.row, inside.row_stop)
    columns = np.arange(inside.column, inside.column_stop)
    top, bottom = np.maximum(rows - half, 0), np.minimum(rows + half + 1, member.shape[0])
    left, right = np.maximum(columns - half, 0), np.minimum(columns + half + 1, member.shape[1])
    upper, lower = table[top], table[bottom]
    return lower[:, right] - lower[:, left] - upper[:, right] + upper[:, left]
