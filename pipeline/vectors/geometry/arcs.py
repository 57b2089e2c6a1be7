"""Arcs: the borders that neighbours share, each kept once, as TopoJSON does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.rings import Polygons
from segment_tiles.pipeline.vectors.tracing.ring_order import ranks

Marks = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Arcs:
    """Polygons of a coverage as the lines between its nodes.

    ::

        +-----o-----+     o  node: three borders meet, or a border meets the frame of the tile
        |     |     |        (here also a corner of the frame); nodes never move
        |  a  |  b  |     Every line from node to node is one arc. The arc between a and b is a part
        |     |     |     of both outlines, once forwards and once backwards: what happens to it
        +-----o-----+     happens to both, so no gap and no overlap can open.
    """

    vertices: Numbers
    """Vertices x 2: columns and rows of pixel corners, arc after arc. No arc ends where it begins."""
    offsets: Numbers
    """Where each arc begins in ``vertices``, and the number of vertices."""
    ring_arcs: Numbers
    """Arc after arc of the rings of all polygons."""
    backwards: Marks
    """True where the ring runs through the arc from its end."""
    ring_offsets: Numbers
    """Where each ring begins in ``ring_arcs``, and their number."""
    polygon_offsets: Numbers
    """Where each polygon begins in the rings, shell first, and the number of rings."""

    def numbers_of(self, vertices: Numbers) -> Numbers:
        """Return one number for each vertex that no other corner of the tile has."""
        return np.asarray(vertices[:, 1] * (self.vertices[:, 0].max() + 1) + vertices[:, 0])

    @property
    def numbers(self) -> Numbers:
        """The number of each vertex of the arcs."""
        return self.numbers_of(self.vertices)

    @property
    def owners(self) -> Numbers:
        """Number of the arc of each vertex."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def keep(self, kept: Marks) -> Arcs:
        """Return the arcs with only these vertices; first and last vertices have to be among them."""
        count = np.concatenate([[0], np.cumsum(kept)])
        return replace(self, vertices=self.vertices[kept], offsets=count[self.offsets])

    def polygons(self) -> Polygons:
        """Return the polygons, put together from their arcs."""
        # each arc gives all its vertices but the last as the ring runs: the next arc begins with it
        sizes = np.diff(self.offsets)[self.ring_arcs] - 1
        first = np.where(self.backwards, self.offsets[self.ring_arcs + 1] - 1, self.offsets[self.ring_arcs])
        step = np.repeat(np.where(self.backwards, -1, 1), sizes)
        open_rings = self.vertices[np.repeat(first, sizes) + step * ranks(sizes)]
        starts = np.concatenate([[0], np.cumsum(sizes)])[self.ring_offsets]
        closed = np.insert(open_rings, starts[1:], open_rings[starts[:-1]], axis=0)
        rings = starts + np.arange(len(starts))
        return shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, closed.astype(np.float64), (rings, self.polygon_offsets)
        )


def arcs_of(polygons: Polygons, nodes: Marks) -> Arcs:
    """Cut the outlines of a coverage at its nodes.

    A ring without a node is cut at its first vertex in row-major order. An arc that ends where it
    begins is cut once more, at the vertex that is farthest away. Both neighbours cut alike.

    Parameters
    ----------
    polygons : array of Polygons
        At least one; corners of pixels; neighbours have the same vertices along their common border.
    nodes : array (rows + 1) x (columns + 1) of bool
        True at every pixel corner that is a node.
    """
    _, coordinates, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons)
    rings = _Rings.of(coordinates, ring_offsets.astype(np.int64), nodes.shape[1])
    cuts = rings.with_first_vertices(nodes.ravel()[rings.numbers])
    cuts = rings.with_farthest_vertices(cuts)
    starts = np.flatnonzero(cuts)
    ends, sizes = rings.arc_ends(starts)
    # a pixel edge belongs to one arc, so that its first edge, from one of its ends, is a name for it
    from_start, from_end = rings.edge_names(starts, 1), rings.edge_names(ends, -1)
    _, chosen, arc = np.unique(np.minimum(from_start, from_end), return_index=True, return_inverse=True)
    is_backwards = from_end < from_start
    begin, step = np.where(is_backwards, ends, starts)[chosen], np.where(is_backwards, -1, 1)[chosen]
    sizes = sizes[chosen]
    taken = rings.around(np.repeat(begin, sizes), np.repeat(step, sizes) * ranks(sizes))
    return Arcs(
        rings.vertices[taken],
        np.concatenate([[0], np.cumsum(sizes)]),
        arc,
        is_backwards,
        np.searchsorted(starts, rings.offsets),
        polygon_offsets.astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class _Rings:
    """All rings of all polygons, open: the last vertex does not repeat the first."""

    vertices: Numbers
    """Vertices x 2: columns and rows."""
    numbers: Numbers
    """Row-major number of each vertex among the corners of the tile."""
    offsets: Numbers
    """Where each ring begins, and the number of vertices."""

    @classmethod
    def of(cls, coordinates: NDArray[np.float64], offsets: Numbers, columns: int) -> _Rings:
        is_open = np.ones(len(coordinates), dtype=np.bool_)
        is_open[offsets[1:] - 1] = False
        vertices = coordinates[is_open].astype(np.int64)
        numbers = vertices[:, 1] * columns + vertices[:, 0]
        return cls(vertices, numbers, offsets - np.arange(len(offsets)))

    @property
    def owners(self) -> Numbers:
        """Number of the ring of each vertex."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def around(self, positions: Numbers, steps: Numbers | int) -> Numbers:
        """Return the positions some steps further in their rings."""
        ring = np.searchsorted(self.offsets, positions, side="right") - 1
        begin, length = self.offsets[ring], np.diff(self.offsets)[ring]
        return np.asarray(begin + (positions - begin + steps) % length)

    def arc_ends(self, starts: Numbers) -> tuple[Numbers, Numbers]:
        """Return the last vertex of the arc from each cut, and its number of vertices, both ends counted."""
        ring = np.searchsorted(self.offsets, starts, side="right") - 1
        ends = np.append(starts[1:], starts[:1])
        is_last = np.append(ring[1:] != ring[:-1], True)
        ends[is_last] = starts[np.searchsorted(starts, self.offsets[:-1])]
        length = np.diff(self.offsets)[ring]
        steps = (ends - starts) % length
        return ends, np.where(steps == 0, length, steps) + 1

    def edge_names(self, positions: Numbers, step: int) -> Numbers:
        """Return a number for the edge along the pixel grid to the next vertex: corner and direction."""
        way = np.sign(self.vertices[self.around(positions, step)] - self.vertices[positions])
        return np.asarray(self.numbers[positions] * 5 + way[:, 0] + 2 * way[:, 1] + 2)

    def with_first_vertices(self, cuts: Marks) -> Marks:
        """Cut the rings that have no node at their first vertex in row-major order."""
        is_cut = np.logical_or.reduceat(cuts, self.offsets[:-1])
        first = np.minimum.reduceat(self.numbers, self.offsets[:-1])
        result: Marks = cuts | (~is_cut[self.owners] & (self.numbers == first[self.owners]))
        return result

    def with_farthest_vertices(self, cuts: Marks) -> Marks:
        """Cut the arcs that end where they begin at their farthest vertex; of several, at the last by number."""
        starts = np.flatnonzero(cuts)
        ends, _ = self.arc_ends(starts)
        arc = np.cumsum(cuts) - 1
        begins, stops = np.searchsorted(starts, self.offsets[:-1]), np.searchsorted(starts, self.offsets[1:])
        wraps = arc < begins[self.owners]  # before the first cut of a ring: part of its last arc
        arc[wraps] = stops[self.owners[wraps]] - 1
        inside = np.flatnonzero((self.numbers[starts] == self.numbers[ends])[arc])
        away = self.vertices[inside] - self.vertices[starts[arc[inside]]]
        order = np.lexsort((self.numbers[inside], (away**2).sum(axis=1), arc[inside]))
        is_farthest = np.append(np.diff(arc[inside[order]]) > 0, True)[: len(inside)]
        result = cuts.copy()
        result[inside[order[is_farthest]]] = True
        return result
