"""Right-angled outlines for buildings."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.rings import Polygons

STAIRCASE = 1.5
"""Pixels: smaller steps are the staircase of the pixel grid and say nothing of a wall."""
SMALLEST_OVERLAP = 0.7
"""Intersection over union with the traced outline below which the traced outline is kept."""


def right_angled(geometries: Polygons, tolerance: float) -> Polygons:
    """Return outlines whose edges run in two directions at right angles.

    Each outline is freed of its staircase (Douglas-Peucker), turned so that its main direction lies
    along x, and its edges become horizontal or vertical: neighbours of one kind merge into one line
    at their mean, weighted by length, and lines meet at right angles. Where the result is not valid
    or no longer covers the traced outline, the outline stays as it was.

    Right-angled outlines no longer share their borders with their neighbours.

    Parameters
    ----------
    geometries : array of Polygons and MultiPolygons
        In pixels.
    tolerance : float
        Of the removal of the staircase, in pixels; at least ``STAIRCASE``.
    """
    result = np.empty(len(geometries), dtype=np.object_)
    for number, geometry in enumerate(geometries):
        parts = [
            _right_angled_polygon(part, max(tolerance, STAIRCASE)) for part in shapely.get_parts(geometry)
        ]
        whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
        result[number] = whole if whole.is_valid else geometry
    return result


def main_direction(coordinates: NDArray[np.float64]) -> float:
    """Return the direction of most edge length, modulo a quarter turn, in radians.

    The length-weighted mean of four times the edge directions: walls at right angles agree.

    >>> square = np.array([[0, 0], [1, 1], [0, 2], [-1, 1], [0, 0]], dtype=float)
    >>> round(abs(np.degrees(main_direction(square))))
    45
    """
    steps = np.diff(coordinates, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    fourfold = np.exp(4j * np.arctan2(steps[:, 1], steps[:, 0]))
    return float(np.angle((lengths * fourfold).sum()) / 4)


def _right_angled_polygon(polygon: shapely.Polygon, tolerance: float) -> shapely.Polygon:
    simple = polygon.simplify(tolerance)
    is_usable = isinstance(simple, shapely.Polygon) and shapely.get_num_coordinates(simple) >= 5
    smooth = simple if is_usable and isinstance(simple, shapely.Polygon) else polygon
    direction = main_direction(shapely.get_coordinates(smooth.exterior))
    turn = np.array([[np.cos(direction), -np.sin(direction)], [np.sin(direction), np.cos(direction)]])
    origin = shapely.get_coordinates(smooth.exterior)[0]
    rings = []
    for ring in (smooth.exterior, *smooth.interiors):
        squared = _squared_ring((shapely.get_coordinates(ring) - origin) @ turn)
        rings.append(shapely.get_coordinates(ring) if squared is None else squared @ turn.T + origin)
    candidate = shapely.Polygon(rings[0], rings[1:])
    if not candidate.is_valid:
        return polygon
    overlap = candidate.intersection(polygon).area / candidate.union(polygon).area
    return candidate if overlap >= SMALLEST_OVERLAP else polygon


def _squared_ring(coordinates: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return a closed ring of horizontal and vertical edges, or None if there are too few."""
    steps = np.diff(coordinates, axis=0)
    horizontal = np.abs(steps[:, 0]) >= np.abs(steps[:, 1])
    changes = np.flatnonzero(horizontal != np.roll(horizontal, 1))
    if len(changes) < 4:
        return None
    start = changes[0]  # begin where a line begins, so that no line wraps around
    horizontal, steps = np.roll(horizontal, -start), np.roll(steps, -start, axis=0)
    middles = np.roll((coordinates[:-1] + coordinates[1:]) / 2, -start, axis=0)
    line = np.cumsum(np.concatenate([[False], horizontal[1:] != horizontal[:-1]]))
    is_horizontal = horizontal[np.searchsorted(line, np.arange(line[-1] + 1))]
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    across = np.where(horizontal, middles[:, 1], middles[:, 0])
    coordinate = np.bincount(line, lengths * across) / np.bincount(line, lengths)
    following = np.roll(coordinate, -1)
    corners = np.stack(
        [np.where(is_horizontal, following, coordinate), np.where(is_horizontal, coordinate, following)],
        axis=1,
    )
    return np.concatenate([corners, corners[:1]])
