r"""Outlines of edge-connected features from those of their pieces, linked anew where they reach a seam.

A ring goes along pixel edges with its area on the right. Vertices on a seam divide it into chains, which go on inside
one tile, and edges along the seam. What both sides have of these, in opposite directions, is inside the feature and
goes; chains and what is left of the edges are linked to rings::

       before   seam                       after
     ------->--+ +------->----           ------->--------->----
        area   | |     area                  area      area
               v ^
               | |

The work grows with the number of vertices, and only those on seams are sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
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
    ranks,
)


def joined_outlines(pieces: Polygons, features: NDArray[np.int64], side: int) -> Polygons:
    """Return the outline of each feature, with its holes: the union of its pieces, found without an overlay.

    Parameters
    ----------
    pieces : array of shapely Polygons
        In pixels of the raster, x is the column and y the row, with a vertex where a ring turns and nowhere else. Each
        lies in one tile and is connected by edges.
    features : array of int64
        Feature of each piece, 0 to the number of features - 1. The pieces of a feature are connected by edges.
    side : int
        Side of the vector tiles: seams lie at its multiples.
    """
    if len(pieces) == 0:
        return np.empty(0, dtype=np.object_)
    rings = _rings_of(pieces, features)
    at_seams = np.logical_or.reduceat(rings.is_on_seam(side), rings.starts)
    joined = _joined(rings.only(at_seams), side)
    inside = rings.only(~at_seams)  # holes that reach no seam stay as they are
    _, polygons = polygons_of_rings(
        np.concatenate([joined.x, inside.x]),
        np.concatenate([joined.y, inside.y]),
        np.concatenate([joined.starts, inside.starts + len(joined.x)]),
        np.concatenate([joined.owners, inside.owners]),
    )
    return polygons


@dataclass(frozen=True, slots=True)
class _Rings:
    """Rings with their area on the right, one after the other, without the vertex that closes them."""

    x: Index
    y: Index
    starts: Index
    owners: Index
    """Feature of each ring."""

    @property
    def sizes(self) -> Index:
        return np.diff(self.starts, append=len(self.x))

    @property
    def after(self) -> Index:
        """Return the vertex that follows each."""
        after = np.arange(1, len(self.x) + 1)
        after[self.starts + self.sizes - 1] = self.starts
        return after

    def is_on_seam(self, side: int) -> NDArray[np.bool_]:
        return np.asarray((self.x % side == 0) | (self.y % side == 0))

    def only(self, chosen: NDArray[np.bool_]) -> _Rings:
        sizes = self.sizes
        vertices = np.repeat(chosen, sizes)
        return _Rings(
            self.x[vertices],
            self.y[vertices],
            np.cumsum(sizes[chosen]) - sizes[chosen],
            self.owners[chosen],
        )

    def from_seams(self, side: int) -> _Rings:
        """Return the same rings, each beginning at a vertex on a seam; all have one."""
        on_seam = np.flatnonzero(self.is_on_seam(side))
        first = on_seam[np.searchsorted(on_seam, self.starts)]
        starts, sizes = np.repeat(self.starts, self.sizes), np.repeat(self.sizes, self.sizes)
        vertices = starts + (ranks(self.sizes) + np.repeat(first - self.starts, self.sizes)) % sizes
        return _Rings(self.x[vertices], self.y[vertices], self.starts, self.owners)

    def headings(self) -> Index:
        """Return the heading of the edge that begins at each vertex."""
        after = self.after
        right, down = self.x[after] - self.x, self.y[after] - self.y
        return np.where(right != 0, np.where(right > 0, EAST, WEST), np.where(down > 0, SOUTH, NORTH))

    def turns(self, heading: Index) -> Index:
        """Return by how much the heading grows at each vertex: 0 straight on, 1 to the right, 3 to the left."""
        before = np.empty_like(heading)
        before[self.after] = heading
        return (heading - before) % 4

    def corners(self) -> _Rings:
        """Return the rings without the vertices at which they do not turn."""
        turns = self.turns(self.headings()) != 0
        kept = np.concatenate([[0], np.cumsum(turns)])
        return _Rings(self.x[turns], self.y[turns], kept[self.starts], self.owners)


def _rings_of(pieces: Polygons, features: NDArray[np.int64]) -> _Rings:
    # shells clockwise on a screen, where y grows downwards
    oriented = shapely.orient_polygons(pieces, exterior_cw=False)
    _, coordinates, (ring_edges, polygon_edges) = shapely.to_ragged_array(oriented)
    is_kept = np.ones(len(coordinates), dtype=np.bool_)
    is_kept[ring_edges[1:] - 1] = False
    x, y = coordinates[is_kept].T.astype(np.int64)
    starts = ring_edges[:-1].astype(np.int64) - np.arange(len(ring_edges) - 1)
    return _Rings(x, y, starts, np.repeat(features, np.diff(polygon_edges)))


class _Links(NamedTuple):
    """Stretches of outlines between two vertices on seams."""

    owner: Index
    x: Index
    """Of the first vertex."""
    y: Index
    heading: Index
    """At the first vertex."""
    end_x: Index
    """Of the last vertex."""
    end_y: Index
    end_heading: Index
    """At the last vertex."""

    def following(self) -> Index:
        """Return the link that goes on where each ends.

        If a feature touches itself at a vertex, two end and two begin there: the outline turns left, and rings part.
        """
        left = (self.end_heading + 3) % 4
        ends = np.lexsort((left, self.end_x, self.end_y, self.owner))
        begins = np.lexsort((self.heading, self.x, self.y, self.owner))
        following = np.empty(len(self.owner), dtype=np.int64)
        following[ends] = begins
        return following


def _joined(rings: _Rings, side: int) -> _Rings:
    """Return the rings of whole features from those of their pieces, all of which reach a seam."""
    rings = rings.from_seams(side)
    heading = rings.headings()
    is_along = np.where(heading % 2 == 0, rings.y, rings.x) % side == 0
    is_end = rings.is_on_seam(side)
    is_end[_touching(rings, heading)] = True
    chains, first, number = _chains(rings, heading, is_along, is_end)
    edges = _edges_left(rings, heading, is_along)
    links = _Links(*(np.concatenate(both) for both in zip(chains, edges, strict=True)))
    order, starts = in_rings(links.following())
    # the vertices of every link but its last one, with which the next begins
    first = np.concatenate([first, np.arange(len(edges.x)) + len(rings.x)])[order]
    number = np.concatenate([number, np.ones(len(edges.x), dtype=np.int64)])[order]
    vertices = np.repeat(first, number) + ranks(number)
    return _Rings(
        np.concatenate([rings.x, edges.x])[vertices],
        np.concatenate([rings.y, edges.y])[vertices],
        (np.cumsum(number) - number)[starts],
        links.owner[order[starts]],
    ).corners()


def _touching(rings: _Rings, heading: Index) -> Index:
    """Return the vertices at which two pieces of a feature touch inside a tile: as one feature, their rings part there.

    At such a corner both turn right.
    """
    right = np.flatnonzero(rings.turns(heading) == 1)
    position = rings.y[right] * (int(rings.x.max(initial=0)) + 1) + rings.x[right]
    owner = np.repeat(rings.owners, rings.sizes)[right]
    order = np.lexsort((owner, position))
    right, position, owner = right[order], position[order], owner[order]
    same = np.flatnonzero((position[1:] == position[:-1]) & (owner[1:] == owner[:-1]))
    return np.concatenate([right[same], right[same + 1]])


def _chains(
    rings: _Rings, heading: Index, is_along: NDArray[np.bool_], is_end: NDArray[np.bool_]
) -> tuple[_Links, Index, Index]:
    """Return what goes on inside a tile from one of the ends to the next; its first vertex, and how many it has."""
    ends = np.flatnonzero(is_end)  # the first of every ring among them
    number = np.diff(ends, append=len(rings.x))
    is_chain = ~is_along[ends]
    first, number = ends[is_chain], number[is_chain]
    last = first + number - 1
    end = rings.after[last]
    owner = np.repeat(rings.owners, rings.sizes)[first]
    chains = _Links(
        owner, rings.x[first], rings.y[first], heading[first], rings.x[end], rings.y[end], heading[last]
    )
    return chains, first, number


def _edges_left(rings: _Rings, heading: Index, is_along: NDArray[np.bool_]) -> _Links:
    """Return the edges along seams that have no opposite, divided at the vertices of both sides."""
    edge = np.flatnonzero(is_along)
    vertex = np.concatenate([edge, rings.after[edge]])
    owner = np.tile(np.repeat(rings.owners, rings.sizes)[edge], 2)
    is_vertical = np.tile(heading[edge] % 2, 2)
    x, y = rings.x[vertex], rings.y[vertex]
    order = np.lexsort((x, y, owner, is_vertical))
    down = np.lexsort((y, x, owner, is_vertical))
    order = np.concatenate([order[is_vertical[order] == 0], down[is_vertical[down] == 1]])
    # along each line: how many edges go forward from here on, less those that go back
    forward = np.cumsum(np.where(order < len(edge), 1, -1))
    places = np.stack([is_vertical, owner, x, y])[:, order]
    differs = np.append((places[:, 1:] != places[:, :-1]).any(axis=0), [True] * (len(order) > 0))
    forward, places = forward[differs], places[:, differs]
    here = np.flatnonzero(forward)
    goes_back = forward[here] < 0
    first, last = here + goes_back, here + ~goes_back
    is_vertical, owner, x, y = places
    new = is_vertical[here] + 2 * goes_back
    return _Links(owner[here], x[first], y[first], new, x[last], y[last], new)
