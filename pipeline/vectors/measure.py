"""Area and perimeter of features, in metres where the raster knows its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.vectors.rings import Polygons

UNIT_SUFFIXES = {"pixel": "px", "micrometer": "um", "millimeter": "mm", "metre": "m"}


@dataclass(frozen=True, slots=True)
class Measure:
    """How areas and perimeters are found: on the ellipsoid, or in the plane times a unit factor."""

    suffix: str
    """Unit of the columns: ``area_m2`` and ``perimeter_m``, or px, um, mm."""
    factor: float
    """Length of one coordinate unit in the unit of the columns; not used on the ellipsoid."""
    ellipsoid: tuple[float, float] | None
    """Semi-major axis and reciprocal flattening where coordinates are longitude and latitude in degrees."""
    degrees: float = 1.0
    """Degrees in one unit of a geographic CRS."""

    @property
    def area_column(self) -> str:
        """Name of the column of areas."""
        return f"area_{self.suffix}2"

    @property
    def perimeter_column(self) -> str:
        """Name of the column of perimeters."""
        return f"perimeter_{self.suffix}"


def measure_of(georef: GeoRef) -> Measure:
    """Return how features of a raster are measured."""
    crs = georef.crs
    if crs is None:
        return Measure(UNIT_SUFFIXES[georef.unit], 1.0, None)
    if crs.is_geographic and crs.ellipsoid is not None:
        ellipsoid = crs.ellipsoid
        degrees = float(np.degrees(crs.axis_info[0].unit_conversion_factor))
        axes = (ellipsoid.semi_major_metre, ellipsoid.inverse_flattening)
        return Measure("m", 1.0, axes, degrees)
    return Measure("m", float(crs.axis_info[0].unit_conversion_factor or 1.0), None)


def areas_and_perimeters(
    measure: Measure, geometries: Polygons, exact_areas: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return area and perimeter of each geometry.

    Parameters
    ----------
    measure : Measure
        The way to measure.
    geometries : array of Polygons and MultiPolygons
        In coordinates of the raster.
    exact_areas : array of float64, optional
        Areas in square coordinate units, from pixel counts; None takes them from the geometries.
        On the ellipsoid areas always come from the geometries.
    """
    if measure.ellipsoid is not None:
        return _geodesic(measure, geometries)
    areas = shapely.area(geometries) if exact_areas is None else exact_areas
    return areas * measure.factor**2, shapely.length(geometries) * measure.factor


def _geodesic(measure: Measure, geometries: Polygons) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the signed geodesic areas (Karney 2013, through PROJ) and the lengths of all rings."""
    semi_major, inverse_flattening = measure.ellipsoid or (0.0, 0.0)
    geod = (
        Geod(a=semi_major, rf=inverse_flattening) if inverse_flattening else Geod(a=semi_major, b=semi_major)
    )
    parts, feature = shapely.get_parts(geometries, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    feature_of_ring = feature[part]
    is_shell = np.concatenate([[True], part[1:] != part[:-1]]) if len(part) else np.empty(0, np.bool_)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    offsets = np.searchsorted(ring, np.arange(len(rings) + 1))
    degrees = coordinates * measure.degrees
    areas, lengths = np.zeros(len(geometries)), np.zeros(len(geometries))
    for number in range(len(rings)):
        vertices = degrees[offsets[number] : offsets[number + 1]]
        area, length = geod.polygon_area_perimeter(vertices[:, 0], vertices[:, 1])
        areas[feature_of_ring[number]] += abs(area) if is_shell[number] else -abs(area)
        lengths[feature_of_ring[number]] += length
    return areas, lengths
