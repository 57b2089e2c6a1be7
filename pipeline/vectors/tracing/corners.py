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
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.tracing.ring_order import (
    EAST,
    NORTH,
    SOUTH,
    WEST,
    Index,
    Polygons,
    in_rings,
    polygons_of_rings,
)


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
    order, starts = in_rings(following)
    owners, polygons = polygons_of_rings(columns[order], rows[order], starts, owner[order[starts]])
    return owners.astype(np.int32, copy=False), polygons


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
