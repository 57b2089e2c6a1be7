"""Polygons as longitude and latitude, cut where they cross 180 degrees (RFC 7946, section 3.1.9).

::

      179      180     181             179      180   -180   -179
       |--------|-------|       =>      |--------|       |-------|
       one polygon                      one MultiPolygon of two parts

GDAL cuts for GeoJSON, but not for lines of GeoJSON, and its tiles of a polygon from 179 to -179 span the globe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.affinity import translate

from segment_tiles.pipeline.vectors.geometry.rings import Polygons

WGS84 = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class GlobePolygons:
    """Polygons in WGS 84."""

    geometries: Polygons
    """Longitude, latitude; between -180 and 180 degrees, but for those around a pole."""
    around_pole: int
    """How many go around a pole: as longitude and latitude they have no outline that is a ring."""


def on_the_globe(geometries: Polygons, crs: CRS) -> GlobePolygons:
    """Return polygons of any CRS in WGS 84, cut at 180 degrees and at the poles.

    Longitudes are first counted from the middle of each polygon, so that they do not jump inside it, however
    wide it is.
    """
    bounds = shapely.bounds(geometries)
    middles = np.column_stack([(bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2])
    to_wgs84 = Transformer.from_crs(crs, WGS84, always_xy=True)
    middle, _ = to_wgs84.transform(middles[:, 0], middles[:, 1])
    points, owner = shapely.get_coordinates(geometries, return_index=True)
    longitudes, latitudes = to_wgs84.transform(points[:, 0], points[:, 1])
    degrees = 180 / np.pi * crs.axis_info[0].unit_conversion_factor if crs.is_geographic else None
    if degrees is None:
        longitudes = middle[owner] + _nearest(longitudes - middle[owner])
    else:  # these coordinates do not jump, even if they go beyond 180 degrees
        middle = _continued(middle, middles[:, 0] * degrees)
        longitudes = _continued(longitudes, points[:, 0] * degrees)
    whole_turns = 360 * np.floor((middle + 180) / 360)
    placed = shapely.set_coordinates(
        np.array(geometries, copy=True), np.column_stack([longitudes - whole_turns[owner], latitudes])
    )
    around = 0 if degrees is not None else _around_pole(placed, geometries, to_wgs84)
    return GlobePolygons(_cut(placed), around)


def _nearest(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return differences of longitude between -180 and 180; both ends stay what they are."""
    turns = np.round(difference / 360 * (1 - 1e-9))
    return np.asarray(difference - 360 * turns)


def _continued(wrapped: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return longitudes with the whole turns that others have, from which they differ by less than half a turn."""
    return np.asarray(wrapped + 360 * np.round((like - wrapped) / 360))


def _around_pole(placed: Polygons, geometries: Polygons, to_wgs84: Transformer) -> int:
    """Count polygons with an edge of more than half a turn of which the middle lies on the other side."""
    before, owner = shapely.get_coordinates(geometries, return_index=True)
    after = shapely.get_coordinates(placed)
    wide = np.flatnonzero(
        (np.abs(np.diff(after[:, 0])) > 180) & (owner[1:] == owner[:-1]) & ~_begins_ring(geometries)[1:]
    )
    if not len(wide):
        return 0
    middles = (before[wide] + before[wide + 1]) / 2
    found, _ = to_wgs84.transform(middles[:, 0], middles[:, 1])
    expected = (after[wide, 0] + after[wide + 1, 0]) / 2
    differs = np.abs(_nearest(found - expected)) > 90
    return len(np.unique(owner[wide[differs]]))


def _begins_ring(geometries: Polygons) -> NDArray[np.bool_]:
    _, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(geometries)), return_index=True)
    return np.concatenate([[True], ring[1:] != ring[:-1]])


def _cut(geometries: Polygons) -> Polygons:
    bounds = shapely.bounds(geometries)
    # global grids whose outermost pixels are centred on the poles reach half a pixel beyond them
    beyond = np.flatnonzero(
        (bounds < [-180, -90, -180, -90]).any(axis=1) | (bounds > [180, 90, 180, 90]).any(axis=1)
    )
    for index in beyond:
        geometries[index] = _parts_within_180(geometries[index])
    return geometries


def _parts_within_180(polygon: shapely.Polygon | shapely.MultiPolygon) -> shapely.MultiPolygon:
    parts: list[shapely.Polygon] = []
    for turn in (-360, 0, 360):
        inside = shapely.intersection(polygon, shapely.box(-180 + turn, -90, 180 + turn, 90))
        # what else a cut leaves behind, lines and points, has no area
        whole = [part for part in shapely.get_parts(inside) if isinstance(part, shapely.Polygon)]
        parts.extend(translate(part, xoff=-turn) for part in whole)
    return shapely.MultiPolygon(parts)
