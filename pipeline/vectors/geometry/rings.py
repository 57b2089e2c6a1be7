"""Vertices of pixel-edge polygons: shared nodes in, straight vertices out."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.tracing.ring_order import ranks

Polygons = NDArray[np.object_]
"""Array of shapely Polygons."""


def map_polygons(geometries: Polygons, change: object) -> Polygons:
    """Apply a function of polygon arrays to Polygons and, part by part, to MultiPolygons."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    changed = change(parts)  # type: ignore[operator]
    return gather_parts(changed, owner, len(geometries))


def gather_parts(parts: Polygons, owner: NDArray[np.integer], count: int) -> Polygons:
    """Return one geometry for each owner 0 to count - 1: a Polygon, or a MultiPolygon of its parts."""
    order = np.argsort(owner, kind="stable")
    parts, owner = parts[order], np.asarray(owner)[order]
    result = np.empty(count, dtype=np.object_)
    number = np.bincount(owner, minlength=count)
    is_single = number[owner] == 1
    result[owner[is_single]] = parts[is_single]
    if not is_single.all():
        several = owner[~is_single]
        members, compact = np.unique(several, return_inverse=True)
        result[members] = shapely.multipolygons(parts[~is_single], indices=compact)
    return result


def drop_straight_vertices(polygons: Polygons) -> Polygons:
    """Remove the vertices at which a ring does not turn, such as those that a seam left behind."""
    if len(polygons) == 0:
        return polygons
    kind, coordinates, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons)
    last = ring_offsets[1:] - 1
    before, after = np.arange(-1, len(coordinates) - 1), np.arange(1, len(coordinates) + 1)
    before[ring_offsets[:-1]] = last - 1  # the last vertex repeats the first
    after[last] = 0
    step_in = coordinates - coordinates[before]
    step_out = coordinates[after] - coordinates
    turns = step_in[:, 0] * step_out[:, 1] != step_in[:, 1] * step_out[:, 0]
    turns[last] = False
    kept = np.concatenate([[0], np.cumsum(turns)])
    sizes = kept[ring_offsets[1:]] - kept[ring_offsets[:-1]]
    offsets = np.concatenate([[0], np.cumsum(sizes + 1)])
    closed = np.empty((offsets[-1], 2))
    corners = coordinates[turns]
    ring_of_corner = np.repeat(np.arange(len(sizes)), sizes)
    closed[np.arange(len(corners)) + ring_of_corner] = corners
    closed[offsets[1:] - 1] = closed[offsets[:-1]]
    return shapely.from_ragged_array(kind, closed, (offsets, polygon_offsets))


def junctions(codes: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixel corners where three or four borders between different codes meet.

    ::

        a | a        a | b       a corner is a junction where at least three of the four
        --+--        --+--       half-lines around it separate different codes
        b | c        b | a

    Parameters
    ----------
    codes : array (rows + 2) x (columns + 2)
        Codes with one pixel more on every side.

    Returns
    -------
    rows, columns : arrays of int64
        Corners, 0 to rows and 0 to columns, in row-major order.
    """
    above, below = codes[:-1], codes[1:]
    borders = (above[:, :-1] != above[:, 1:]).astype(np.int8)
    borders += below[:, :-1] != below[:, 1:]
    borders += above[:, :-1] != below[:, :-1]
    borders += above[:, 1:] != below[:, 1:]
    rows, columns = np.nonzero(borders >= 3)
    return rows, columns


def insert_vertices(
    polygons: Polygons, rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> Polygons:
    """Put a vertex on every edge that passes one of these pixel corners.

    GDAL gives a polygon the corners at which its own outline turns. Where the borders of two
    neighbours meet in the middle of its edge, a coverage needs a vertex there too.

    Parameters
    ----------
    polygons : array of Polygons
        Axis-parallel edges on whole coordinates, x = column 0 to columns, y = row 0 to rows.
    rows, columns : arrays of int64
        Corners in row-major order.
    shape : tuple of int
        Rows and columns of the array.
    """
    if len(polygons) == 0:
        return polygons
    kind, coordinates, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons)
    stride = max(shape) + 2
    lines = np.sort(rows * stride + columns), np.sort(columns * stride + rows)
    edge, corners = _corners_on_edges(
        coordinates.astype(np.int64), ring_offsets.astype(np.int64), lines, stride
    )
    inserted = np.bincount(edge, minlength=len(coordinates))
    begin_at = np.concatenate([[0], np.cumsum(inserted + 1)])
    result = np.empty((begin_at[-1], 2))
    result[begin_at[:-1]] = coordinates
    result[begin_at[edge] + 1 + ranks(inserted)] = corners
    return shapely.from_ragged_array(kind, result, (begin_at[ring_offsets], polygon_offsets))


def _corners_on_edges(
    vertices: NDArray[np.int64],
    ring_offsets: NDArray[np.int64],
    lines: tuple[NDArray[np.int64], NDArray[np.int64]],
    stride: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the corners strictly inside edges, along the rings, and the edge of each.

    ``lines`` are the corners by row and by column, each as one sorted number: line * stride + position.
    Edge ``k`` runs from vertex ``k`` to the next; the last vertex of a ring begins none.
    """
    ends = np.roll(vertices, -1, axis=0)
    last = ring_offsets[1:] - 1
    ends[last] = vertices[last]
    is_horizontal = vertices[:, 1] == ends[:, 1]
    edges = np.arange(len(vertices))
    along = np.where(is_horizontal, 0, 1)  # the coordinate that changes
    base = vertices[edges, 1 - along] * stride
    start, end = vertices[edges, along], ends[edges, along]
    low, high = base + np.minimum(start, end) + 1, base + np.maximum(start, end)
    first = np.where(is_horizontal, np.searchsorted(lines[0], low), np.searchsorted(lines[1], low))
    stop = np.where(is_horizontal, np.searchsorted(lines[0], high), np.searchsorted(lines[1], high))
    number = np.maximum(stop - first, 0)
    edge, rank = np.repeat(edges, number), ranks(number)
    which = np.where(end[edge] > start[edge], first[edge] + rank, stop[edge] - 1 - rank)
    corners = vertices[edge]
    for axis, line in enumerate(lines):
        here = along[edge] == axis
        corners[here, axis] = line[which[here]] - base[edge[here]]
    return edge, corners
