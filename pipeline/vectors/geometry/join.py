"""Geometry of features that cross seams: one polygon from its pieces."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.rings import (
    Polygons,
    drop_straight_vertices,
    gather_parts,
    map_polygons,
)

SMALL = 1000
"""Vertices of two pieces below which they are united as they are, many pairs in one call."""


def join_pieces(pieces: Polygons, features: NDArray[np.int64], side: int, *, exact: bool) -> Polygons:
    """Return the geometry of each feature from the geometries of its pieces.

    Parameters
    ----------
    pieces : array of Polygons and MultiPolygons
        In pixels of the raster.
    features : array of int64
        Feature of each piece, 0 to the number of features - 1, each with at least one piece.
    side : int
        Side of the vector tiles: seams lie at its multiples.
    exact : bool
        True where edges are pixel edges: vertices left over on the seam are removed. Simplified
        outlines keep them, since both neighbours have them.
    """
    count = int(features.max()) + 1 if len(features) else 0
    order = np.argsort(features, kind="stable")
    starts = np.searchsorted(features[order], np.arange(count + 1))
    joined = np.empty(count, dtype=np.object_)
    joined[:] = pieces[order[starts[:-1]]]
    number = np.diff(starts)
    pairs = np.flatnonzero(number == 2)
    other = pieces[order[starts[pairs] + 1]]
    small = shapely.get_num_coordinates(joined[pairs]) + shapely.get_num_coordinates(other) < SMALL
    joined[pairs[small]] = shapely.union(joined[pairs[small]], other[small])
    for feature in [*pairs[~small], *np.flatnonzero(number > 2)]:
        joined[feature] = _union(pieces[order[starts[feature] : starts[feature + 1]]], side)
    return map_polygons(joined, drop_straight_vertices) if exact else joined


def _union(members: Polygons, side: int) -> shapely.Geometry:
    """Return the union of the pieces of one feature; only what touches a seam has to be overlaid."""
    polygons = shapely.get_parts(members)
    if shapely.get_type_id(members).max() == shapely.GeometryType.POLYGON:
        return _union_of_shells(polygons, side)
    # parts that touch at corners: one may lie in the hole of another, so holes stay where they are
    on_seam = _touches_seam(polygons, side)
    merged = shapely.get_parts([shapely.union_all(polygons[on_seam])])
    return _collect(np.concatenate([merged, polygons[~on_seam]]))


def _union_of_shells(polygons: Polygons, side: int) -> shapely.Geometry:
    """Return the union of edge-connected pieces; holes that touch no seam are put back unchanged."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    is_shell = np.concatenate([[True], owner[1:] != owner[:-1]])
    set_aside = ~is_shell & ~_touches_seam(rings, side)
    outlines = _polygons_of_rings(rings[~set_aside], owner[~set_aside], len(polygons))
    whole = shapely.union_all(outlines)
    if not set_aside.any():
        return whole
    if whole.geom_type != "Polygon":  # corner contacts: the holes have to take part
        return shapely.union_all(polygons)
    all_rings = np.concatenate([shapely.get_rings([whole]), rings[set_aside]])
    filled: shapely.Geometry = _polygons_of_rings(all_rings, np.zeros(len(all_rings), dtype=np.int64), 1)[0]
    return filled


def _collect(parts: Polygons) -> shapely.Geometry:
    whole: shapely.Geometry = gather_parts(parts, np.zeros(len(parts), dtype=np.int64), 1)[0]
    return whole


def _touches_seam(geometries: Polygons, side: int) -> NDArray[np.bool_]:
    """Return True for geometries of one tile that reach a multiple of the side."""
    bounds = shapely.bounds(geometries)
    low, high = bounds[:, :2], bounds[:, 2:]
    before = np.floor(low / side) * side  # the seam at or before the first coordinate
    return np.asarray(((low == before) | (high >= before + side)).any(axis=1))


def _polygons_of_rings(rings: Polygons, owner: NDArray[np.integer], count: int) -> Polygons:
    """Return polygons of the rings of each owner, the shell first."""
    number = np.bincount(owner, minlength=count)
    offsets = np.concatenate([[0], np.cumsum(number)])
    ring_offsets = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(rings))])
    coordinates = shapely.get_coordinates(rings)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (ring_offsets, offsets))
