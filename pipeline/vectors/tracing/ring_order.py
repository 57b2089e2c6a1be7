"""Rings put together from what follows what, and polygons from rings that go with their area on the right."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

Polygons = NDArray[np.object_]
Index = NDArray[np.int64]
EAST, SOUTH, WEST, NORTH = range(4)
"""Headings, as on a screen: rows grow downwards."""


def in_rings(following: Index) -> tuple[Index, Index]:
    """Return the corners ring by ring, each along its ring, and where the rings start.

    Every corner looks twice as far ahead in each round, until it knows the first corner of its ring, and then how far
    it is. Rounds are for those alone that do not know it yet: most rings are short.
    """
    first = _first_of_ring(following)
    is_first = first == np.arange(len(following))
    ahead, left = following.copy(), np.ones(len(following), dtype=np.int64)
    left[is_first] = 0
    looking = np.flatnonzero(~is_first & ~is_first[ahead])
    while len(looking):
        left[looking] += left[ahead[looking]]
        ahead[looking] = ahead[ahead[looking]]
        looking = looking[~is_first[ahead[looking]]]
    left[is_first] = len(following)  # corners to the end of the ring: most at its first
    order = np.lexsort((-left, first))
    return order, np.flatnonzero(is_first[order])


def ranks(numbers: Index) -> Index:
    """Return 0, 1, ... n - 1 for each number n, one after the other."""
    return np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)


def _first_of_ring(following: Index) -> Index:
    """Return the smallest index on the ring of each corner."""
    first, ahead = np.arange(len(following)), following.copy()
    looking = np.arange(len(following))
    while len(looking):
        first[looking] = np.minimum(first[looking], first[ahead[looking]])
        ahead[looking] = ahead[ahead[looking]]
        # one that is also the smallest of those after it has been all around
        looking = looking[first[following[first[looking]]] != first[looking]]
    return first


def polygons_of_rings(
    x: Index, y: Index, starts: Index, owners: NDArray[np.signedinteger]
) -> tuple[NDArray[np.signedinteger], Polygons]:
    """Return one polygon of all rings of each owner.

    Parameters
    ----------
    x, y : arrays of int64
        Corners, ring by ring, each once.
    starts : array of int64
        Where the rings start.
    owners : array of integers
        Owner of each ring. Of those of an owner one runs clockwise on a screen: it is the shell.

    Returns
    -------
    owners : array of integers
        Ascending.
    polygons : array of shapely Polygons
        In the order of their owners.
    """
    sizes = np.diff(starts, append=len(x))
    after = np.arange(1, len(x) + 1)
    after[starts + sizes - 1] = starts
    # what overflows on the way is right again in the sum: twice an area fits
    is_hole = np.add.reduceat(x * y[after] - x[after] * y, starts) < 0
    rings = np.lexsort((is_hole, owners))
    sizes, starts = sizes[rings], starts[rings]
    ring_edges = np.concatenate([[0], np.cumsum(sizes + 1)])
    # the corners of each ring, and the first again
    within = np.arange(ring_edges[-1]) - np.repeat(ring_edges[:-1], sizes + 1)
    corner = np.repeat(starts, sizes + 1) + within % np.repeat(sizes, sizes + 1)
    shells = np.flatnonzero(~is_hole[rings])
    polygon_edges = np.append(shells, len(rings))
    coordinates = np.stack([x[corner], y[corner]], axis=1).astype(np.float64)
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, coordinates, (ring_edges, polygon_edges)
    )
    return owners[rings[shells]], polygons
