"""Areas of classes on the ground, from pixel counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyproj import Geod

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.store import shard_shape

SQUARE_MILLIMETERS = {"micrometer": 1e-6, "millimeter": 1.0}
"""Of a square unit in which a raster without CRS is measured."""


def area_unit(georef: GeoRef) -> str:
    """Return the unit of areas: m2 where there is a CRS, mm2 of slides, else pixels."""
    return "m2" if georef.crs_wkt is not None else {"pixel": "pixels"}.get(georef.unit, "mm2")


def class_areas(
    shards: Mapping[tuple[int, int], Sequence[int]], shape: tuple[int, int], georef: GeoRef
) -> list[float]:
    """Return the area of every class, nodata last.

    In a projected CRS this is exact: count x area of a pixel. In degrees a pixel's geodesic area
    changes with latitude, so each row of shards uses the pixel at its centre.

    Parameters
    ----------
    shards
        Counts by (shard row, shard column), as the ledger has them.
    shape
        Rows and columns of the result.
    georef
        Of the result.
    """
    columns = len(next(iter(shards.values()))) if shards else 0
    areas = [0.0] * columns
    crs = georef.crs
    if crs is None or not crs.is_geographic:
        factor = SQUARE_MILLIMETERS.get(georef.unit, 1.0)
        if crs is not None and crs.axis_info:
            factor = crs.axis_info[0].unit_conversion_factor ** 2
        for i in range(columns):
            areas[i] = sum(counts[i] for counts in shards.values()) * georef.pixel_area * factor
        return areas
    rows, side = shard_shape(shape[1])
    geod = crs.get_geod() or Geod(ellps="WGS84")
    for (row, column), counts in sorted(shards.items()):
        top, left = row * rows, column * side
        centre = Window(
            (top + min(top + rows, shape[0])) // 2, (left + min(left + side, shape[1])) // 2, 1, 1
        )
        xs, ys = zip(*georef.corners(centre), strict=True)
        area, _ = geod.polygon_area_perimeter(xs, ys)
        for i in range(columns):
            areas[i] += counts[i] * abs(area)
    return areas
