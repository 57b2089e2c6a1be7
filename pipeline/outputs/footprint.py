"""Footprint of a raster on the globe: what catalogues search by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.polygon import orient

from segment_tiles.pipeline.grid.georef import GeoRef

POINTS_PER_EDGE: Final = 8
"""A straight edge of the raster is a curve on the globe; it becomes so many straight pieces."""
DECIMALS: Final = 8
"""Of a degree: about a millimetre."""


def footprint(georef: GeoRef, shape: tuple[int, int]) -> tuple[dict[str, Any], list[float]] | None:
    """Return the outline of a raster as GeoJSON geometry in WGS 84, and its bounding box.

    Follows RFC 7946: longitude first, outer rings counter-clockwise; an outline that crosses the
    antimeridian is cut there, and its box has west greater than east.

    Parameters
    ----------
    georef
        Georeference of the raster.
    shape
        Rows and columns.

    Returns
    -------
    tuple or None
        Geometry and [west, south, east, north]; None for a raster without CRS, or with one that has
        no position on Earth.
    """
    ring = _longitude_latitude_ring(georef, shape)
    if ring is None:
        return None
    outline = _outline(ring)
    if not outline.is_valid or outline.is_empty:
        return None
    parts = list(_parts_within_180(outline))
    geometry = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    return _rounded(mapping(geometry)), _bounding_box(outline)


def _outline(ring: Any) -> Polygon:
    """Return the outline with longitudes that do not jump at the antimeridian: from -180 to below 540."""
    around = np.unwrap([*ring[:, 0], ring[0, 0]], period=360)
    if abs(around[-1] - around[0]) > 180:
        # it goes round a pole: take everything up to there
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        return box(-180, min(pole, ring[:, 1].min()), 180, max(pole, ring[:, 1].max()))
    longitudes = around[:-1] - 360 * np.floor((around.min() + 180) / 360)
    return orient(Polygon(np.column_stack([longitudes, ring[:, 1]])))


def _bounding_box(outline: Polygon) -> list[float]:
    west, south, east, north = (round(float(side), DECIMALS) for side in outline.bounds)
    if east - west >= 360:
        west, east = -180.0, 180.0
    return [west, south, east - 360 if east > 180 else east, north]


def _longitude_latitude_ring(georef: GeoRef, shape: tuple[int, int]) -> Any:
    crs = georef.crs
    if crs is None:
        return None
    height, width = shape
    steps = np.linspace(0, 1, POINTS_PER_EDGE, endpoint=False)
    columns = width * np.concatenate([steps, np.ones_like(steps), 1 - steps, np.zeros_like(steps)])
    rows = height * np.concatenate([np.zeros_like(steps), steps, np.ones_like(steps), 1 - steps])
    a, b, c, d, e, f = georef.transform
    try:
        to_wgs84 = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        longitude, latitude = to_wgs84.transform(
            a * columns + b * rows + c, d * columns + e * rows + f, errcheck=True
        )
    except ProjError:
        # an engineering CRS, another planet, or coordinates outside what the projection can show
        return None
    ring = np.column_stack([longitude, latitude])
    return ring if np.isfinite(ring).all() else None


def _parts_within_180(outline: Polygon) -> Iterator[Polygon]:
    """Yield the parts of an outline of which the longitudes may go beyond 180 degrees, brought back."""
    for shift in (0, 360):
        part = shapely.intersection(outline, box(-180 + shift, -90, 180 + shift, 90))
        if isinstance(part, Polygon) and part.area > 0:
            yield orient(translate(part, xoff=-shift))


def _rounded(geometry: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, DECIMALS)
        return [plain(entry) for entry in value]

    return {"type": geometry["type"], "coordinates": plain(geometry["coordinates"])}
