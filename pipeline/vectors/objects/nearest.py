"""The nearest seed of each pixel, exactly: squared distances are whole numbers, and ties go to the smaller key.

Of the seeds in one column only the nearest above and below a pixel can be its nearest; so columns are searched once
for all pixels, and then each pixel looks at the columns beside it, from near to far, until none can be nearer::

      . . . S .       column 3: the nearest seed below the row of p is 0 away, above it 1
      . p . S .       p: column 1 has none; columns 2 none; column 3: 0^2 + 2^2 = 4
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = 0
"""Key of a pixel that is no seed, or that no seed reaches."""
_FAR: Final = 1 << 20
"""Rows: farther than any reach, and its square fits."""


def nearest_seeds(keys: NDArray[np.int64], wanted: NDArray[np.bool_], reach: int) -> NDArray[np.int64]:
    """Return the key of the nearest seed of each pixel that is wanted, `NONE` if it is farther than the reach.

    Parameters
    ----------
    keys : array rows x columns of int64
        Key of each pixel of a seed, from 1 on; `NONE` elsewhere.
    wanted : array rows x columns of bool
        Pixels that go to a seed.
    reach : int
        In pixels, from centre to centre; a pixel just as far is reached.

    Returns
    -------
    array of int64
        One key for each wanted pixel, in reading order. Of seeds just as near, the smallest.
    """
    rows, columns = np.nonzero(wanted)
    best = np.full(len(rows), NONE, dtype=np.int64)
    nearest = np.full(len(rows), reach * reach + 1, dtype=np.int64)
    if not len(rows) or not keys.any():
        return best
    above, below = _nearest_rows(keys != NONE)
    looking = np.arange(len(rows))
    for step in range(reach + 1):
        looking = looking[nearest[looking] >= step * step]
        if not len(looking):
            break
        for column in (step, -step) if step else (0,):
            beside = columns[looking] + column
            inside = (beside >= 0) & (beside < keys.shape[1])
            _look(keys, above, below, rows, beside[inside], looking[inside], step, best, nearest)
    best[nearest > reach * reach] = NONE
    return best


def _look(
    keys: NDArray[np.int64],
    above: NDArray[np.int32],
    below: NDArray[np.int32],
    rows: NDArray[np.int64],
    beside: NDArray[np.int64],
    pixels: NDArray[np.int64],
    step: int,
    best: NDArray[np.int64],
    nearest: NDArray[np.int64],
) -> None:
    """Let pixels look at one column each, a step beside them."""
    row = rows[pixels]
    for seed_rows in (above, below):
        seed = seed_rows[row, beside].astype(np.int64)
        distance = (row - seed) ** 2 + step * step
        near = np.flatnonzero(distance <= nearest[pixels])
        if not len(near):
            continue
        pixel, distance = pixels[near], distance[near]
        key = keys[seed[near], beside[near]]
        better = (distance < nearest[pixel]) | (key < best[pixel])
        best[pixel[better]] = key[better]
        nearest[pixel[better]] = distance[better]


def _nearest_rows(seeds: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the row of the nearest seed at or above, and at or below, each pixel; a row far away if there is none."""
    number = np.arange(len(seeds), dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(seeds, number, np.int32(-_FAR)), axis=0)
    below = np.minimum.accumulate(np.where(seeds, number, np.int32(2 * _FAR))[::-1], axis=0)[::-1]
    return np.asarray(above), np.asarray(below)


def squared_distances(outside: NDArray[np.bool_], reach: int) -> NDArray[np.int32]:
    """Return the squared distance of each pixel to the nearest that is outside, at most the square of the reach.

    Parameters
    ----------
    outside : array rows x columns of bool
        Beyond the array nothing is outside.
    reach : int
        In pixels.
    """
    above, below = _nearest_rows(outside)
    number = np.arange(len(outside), dtype=np.int32)[:, None]
    column = np.minimum(np.minimum(number - above, below - number), reach) ** 2
    best = column.copy()
    for step in range(1, min(reach, outside.shape[1] - 1) + 1):
        np.minimum(best[:, step:], column[:, :-step] + step * step, out=best[:, step:])
        np.minimum(best[:, :-step], column[:, step:] + step * step, out=best[:, :-step])
    return np.asarray(np.minimum(best, reach * reach))
