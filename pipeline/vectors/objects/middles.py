"""Seeds of a class without a border class: its middles, where the distance to what is around it is greatest.

They are h-maxima of the distance transform, each step of which looks no farther than a fixed number of pixels, so that
a part of the raster gives what the whole does:

1. the distance to the nearest pixel of no such class, up to the reach, smoothed by the weights 1 2 1 along both axes;
2. a pixel is a top if within ``reach`` steps no higher one can be reached without going down by the depth or more;
3. a middle is a top with all that can be reached from it within ``reach`` steps without going down by as much;
4. what lies farther than the reach from every middle is a seed of its own, so that all of the class has an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.objects.nearest import squared_distances

SCALE: Final = 256
"""Steps of a pixel of distance: whole numbers are the same in every part of a raster."""
WEIGHTS: Final = 16
"""Sum of the weights of smoothing."""
_NO_LEVEL: Final = np.int32(np.iinfo(np.int32).min)


def halo_of(reach: int) -> int:
    """Return how many pixels around a window decide on the seeds inside."""
    return 4 * reach + 2


def middles(member: NDArray[np.bool_], reach: int, depth: float, connectivity: int) -> NDArray[np.bool_]:
    """Return the seeds of a class.

    Parameters
    ----------
    member : array rows x columns of bool
        Pixels of the class, with the halo.
    reach : int
        In pixels.
    depth : float
        In pixels.
    connectivity : int
        4 or 8: how paths go.
    """
    height = _smoothed(_distances(member, reach))
    fall = max(1, round(depth * SCALE * WEIGHTS))
    tops = _tops(height, member, fall, reach, connectivity)
    seeds = _around(tops, height, member, fall, reach, connectivity)
    is_far = squared_distances(seeds, reach + 1) > reach * reach
    return np.asarray(seeds | (member & is_far))


def _distances(member: NDArray[np.bool_], reach: int) -> NDArray[np.int32]:
    distances: NDArray[np.float64] = np.sqrt(squared_distances(~member, reach))
    return np.asarray(np.floor(SCALE * distances), dtype=np.int32)


def _smoothed(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return sums over 3 x 3 pixels with the weights 1 2 1 along both axes; beyond the edge the nearest counts."""
    framed = np.pad(values, 1, mode="edge")
    down = framed[:-2] + 2 * framed[1:-1] + framed[2:]
    return np.asarray(down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:])


def _tops(
    height: NDArray[np.int32], member: NDArray[np.bool_], fall: int, steps: int, connectivity: int
) -> NDArray[np.bool_]:
    """Return the pixels from which no higher one is reached: the reconstruction of height - fall leaves them as low."""
    start = np.where(member, height - fall, _NO_LEVEL)
    level, limit = start.copy(), np.where(member, height, _NO_LEVEL)
    for _ in range(steps):
        before = level.copy()
        for here, there in _neighbours(level.shape, connectivity):
            np.maximum(level[here], before[there], out=level[here])
        np.minimum(level, limit, out=level)
        if np.array_equal(level, before):
            break
    return np.asarray(member & (level == start))


def _around(
    tops: NDArray[np.bool_],
    height: NDArray[np.int32],
    member: NDArray[np.bool_],
    fall: int,
    steps: int,
    connectivity: int,
) -> NDArray[np.bool_]:
    """Return the tops with what is reached from them above their height less the fall."""
    level = np.where(tops, height - fall, _NO_LEVEL)
    for _ in range(steps):
        before = level.copy()
        for here, there in _neighbours(level.shape, connectivity):
            other = before[there]
            reached = (other > level[here]) & (height[here] > other) & member[here]
            np.copyto(level[here], other, where=reached)
        if np.array_equal(level, before):
            break
    return np.asarray(level != _NO_LEVEL)


def _neighbours(
    shape: tuple[int, ...], connectivity: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the index of all pixels with a neighbour in one direction, and that of these neighbours."""
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if (down or right) and (connectivity == 8 or not (down and right)):
                yield (
                    (_inside(shape[0], down), _inside(shape[1], right)),
                    (_inside(shape[0], -down), _inside(shape[1], -right)),
                )


def _inside(side: int, step: int) -> slice:
    return slice(max(0, -step), min(side, side - step))
