r"""Outlines of areas that are connected by edges, from their corners alone.

A ring goes along pixel edges with its area on the right. It is known where it turns::

    heading     ahead left is of the area            left     (if the area touches itself at a corner, the rings part)
    ----> +     else ahead right is of the area      straight: no corner
     area       else                                 right

Along a line of pixel edges, stretches with the area on one side do not overlap: the first corner at which one
begins belongs to the first at which one ends, the second to the second. So corners are linked by sorting, and what
it costs depends on the pixels only where neighbours are compared.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

Polygons = NDArray[np.object_]
Index = NDArray[np.int64]
EAST, SOUTH, WEST, NORTH = range(4)


def connected_outlines(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], Polygons]:
    """Return the outline of every label, with its holes.

    Parameters
    ----------
    labels : array rows x columns of int32
        Labels; 0 is not labelled. The pixels of any other label are connected by their edges: a label of several
        areas would get one polygon that is none.

    Returns
    -------
    labels : array of int32
        Label of each polygon, ascending.
    polygons : array of shapely Polygons
        In pixels: x is the column and y the row, of pixel corners.
    """
    vertex, owner, heading = _corners(labels)
    if len(vertex) == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.object_)
    rows, columns = np.divmod(vertex, labels.shape[1] + 1)
    following = _following(rows, columns, heading, labels.shape)
    order, starts = _in_rings(following)
    return _polygons(columns[order], rows[order], owner[order], starts)


def _corners(labels: NDArray[np.int32]) -> tuple[Index, NDArray[np.int32], NDArray[np.int8]]:
    """Return vertex, owner and heading, 2 x corners: before and after the turn, of every corner of a ring.

    Vertices are numbered row by row; a row has one more than there are columns.
    """
    framed = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), dtype=np.int32)
    framed[1:-1, 1:-1] = labels
    beside, below = framed[:, :-1] != framed[:, 1:], framed[:-1] != framed[1:]
    # a vertex that no line ends at or bends at has differences along one axis alone
    vertices = np.flatnonzero((beside[:-1] | beside[1:]) & (below[:, :-1] | below[:, 1:]))
    rows, columns = np.divmod(vertices, labels.shape[1] + 1)
    at = rows * framed.shape[1] + columns
    flat = framed.ravel()
    nw, ne, sw, se = (flat[at + step] for step in (0, 1, framed.shape[1], framed.shape[1] + 1))
    # of each heading: the area, behind on the right; then behind left, ahead left, ahead right
    around = {
        EAST: (sw, nw, ne, se),
        SOUTH: (nw, ne, se, sw),
        WEST: (ne, se, sw, nw),
        NORTH: (se, sw, nw, ne),
    }
    found = []
    for heading, (area, other, left, right) in around.items():
        turns_left = left == area
        turns = np.flatnonzero((area != other) & (area > 0) & (turns_left | (right != area)))
        after = (heading + np.where(turns_left[turns], 3, 1)) % 4
        found.append((vertices[turns], area[turns], np.stack([np.full(len(turns), heading), after])))
    return (
        np.concatenate([corner[0] for corner in found]),
        np.concatenate([corner[1] for corner in found]),
        np.concatenate([corner[2] for corner in found], axis=1).astype(np.int8),
    )


def _following(rows: Index, columns: Index, heading: NDArray[np.int8], shape: tuple[int, ...]) -> Index:
    """Return the corner that follows each on its ring."""
    along_row, along_column = rows * (shape[1] + 1) + columns, columns * (shape[0] + 1) + rows
    before, after = heading
    following = np.empty(len(rows), dtype=np.int64)
    for direction, position in (
        (EAST, along_row),
        (WEST, along_row),
        (SOUTH, along_column),
        (NORTH, along_column),
    ):
        begins, ends = np.flatnonzero(after == direction), np.flatnonzero(before == direction)
        begins = begins[np.argsort(position[begins], kind="stable")]
        following[begins] = ends[np.argsort(position[ends], kind="stable")]
    return following


def _in_rings(following: Index) -> tuple[Index, Index]:
    """Return the corners ring by ring, each along its ring, and where the rings start.

    Every corner looks twice as far ahead in each round, until it knows the first corner of its ring, and then how far
    it is.
    """
    first, ahead = np.arange(len(following)), following
    while True:
        nearest = np.minimum(first, first[ahead])
        if np.array_equal(nearest, first):
            break
        first, ahead = nearest, ahead[ahead]
    is_first = first == np.arange(len(following))
    ahead = np.where(is_first, np.arange(len(following)), following)
    left = (~is_first).astype(np.int64)
    while True:
        more = left[ahead]
        if not more.any():
            break
        left, ahead = left + more, ahead[ahead]
    left[is_first] = len(following)  # corners to the end of the ring: most at its first
    order = np.lexsort((-left, first))
    return order, np.flatnonzero(is_first[order])


def _polygons(
    x: Index, y: Index, owner: NDArray[np.int32], starts: Index
) -> tuple[NDArray[np.int32], Polygons]:
    """Return label and polygon of all rings of each owner; the one that runs clockwise on a screen is its shell."""
    sizes = np.diff(starts, append=len(x))
    after = np.arange(1, len(x) + 1)
    after[starts + sizes - 1] = starts
    is_hole = np.add.reduceat(x * y[after] - x[after] * y, starts) < 0
    rings = np.lexsort((is_hole, owner[starts]))
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
    return owner[starts[shells]], polygons
