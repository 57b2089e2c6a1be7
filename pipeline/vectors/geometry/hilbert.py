"""Position along a Hilbert curve: features near each other in the file are near each other on the map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ORDER = 16
"""Steps of the curve: 65536 x 65536 cells over the raster."""


def hilbert_distance(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distance along the Hilbert curve of each cell.

    The textbook iteration from the coarsest quadrant to the finest (Hacker's Delight, section 16-1),
    for all cells at once.

    Parameters
    ----------
    columns, rows : arrays of int64
        Cells, 0 to 2**16 - 1.
    """
    x, y = columns.copy(), rows.copy()
    distance = np.zeros_like(x)
    for step in reversed(range(ORDER)):
        size = np.int64(1) << step
        right, lower = (x & size) > 0, (y & size) > 0
        distance += size * size * ((3 * right) ^ lower)
        flip = right & ~lower
        x[flip], y[flip] = (
            2 * size - 1 - (x[flip] & (2 * size - 1)),
            2 * size - 1 - (y[flip] & (2 * size - 1)),
        )
        swap = ~lower
        x[swap], y[swap] = y[swap], x[swap]
    return distance
