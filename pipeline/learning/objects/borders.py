"""Pixels of a border class, made from the numbers of objects.

::

    touching, width 1            all, width 1
    1 1 1 # # 2 2                # # # # # # #
    1 1 1 # # 2 2                # 1 # # # 2 #
    1 1 1 . . 2 2                # 1 # . # 2 #     # border, . no object
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from segment_tiles.pipeline.learning.object_settings import BorderRule


def border_pixels(numbers: NDArray[np.int64], width: int, where: BorderRule) -> NDArray[np.bool_]:
    """Return which pixels are border.

    Parameters
    ----------
    numbers
        rows x columns; 0: no object. Any other number is an object, in one piece or in several.
    width
        Pixels, diagonals counted as one.
    where
        ``touching``: pixels, of an object or between objects, that have two objects within ``width`` pixels.
        ``all``: pixels of an object that have one that is not of it within ``width`` pixels, too.

    Notes
    -----
    A pixel depends on those within ``width`` of it alone; what lies outside the array is no object's edge.
    """
    side = 2 * width + 1
    highest, lowest = _extremes(numbers, side)
    border = highest > lowest
    if where == "all":
        # beyond the edge of a raster an object may go on
        least = minimum_filter(numbers, size=side, mode="nearest")
        border |= (numbers > 0) & (least == 0)
    return np.asarray(border, dtype=bool)


def _extremes(numbers: NDArray[np.int64], side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the highest and the lowest number of an object within reach; equal if there is at most one."""
    none = np.iinfo(np.int64).max
    highest = maximum_filter(numbers, size=side, mode="constant", cval=0)
    # the filters count in float64, so the mark for "none" is the highest number of the array plus one
    mark = min(int(numbers.max(initial=0)) + 1, none)
    lowest = minimum_filter(np.where(numbers == 0, mark, numbers), size=side, mode="constant", cval=mark)
    return highest, np.where(lowest == mark, highest, lowest)
