"""Area and perimeter of features: on the ground if the raster is georeferenced, else in its own units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import Ground, ground_of, metres_of_unit
from segment_tiles.pipeline.vectors.geometry.rings import Polygons

UNIT_SUFFIXES = {"pixel": "px", "map unit": "map", "micrometer": "um", "millimeter": "mm", "metre": "m"}


@dataclass(frozen=True, slots=True)
class Measure:
    """How areas and perimeters are found: on the ellipsoid, or in the plane of the coordinates."""

    suffix: str
    """Unit of the columns: ``area_m2`` and ``perimeter_m``, or px, map, um, mm."""
    factor: float
    """Length of one coordinate unit in the unit of the columns; 1 if coordinates are angles."""
    ground: Ground | None = None
    """The ellipsoid; None: planar."""

    @property
    def area_column(self) -> str:
        """Name of the column of areas."""
        return f"area_{self.suffix}2"

    @property
    def planar_column(self) -> str | None:
        """Name of the column of areas in the plane of the CRS; None if there is no other area, or no length."""
        return None if self.ground is None or self.ground.is_geographic else f"area_planar_{self.suffix}2"

    @property
    def perimeter_column(self) -> str:
        """Name of the column of perimeters."""
        return f"perimeter_{self.suffix}"


def measure_of(georef: GeoRef) -> Measure:
    """Return how features of a raster are measured."""
    crs = georef.crs
    if crs is None:
        return Measure(UNIT_SUFFIXES[georef.unit], 1.0)
    return Measure("m", metres_of_unit(crs) or 1.0, ground_of(georef))


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured of features."""

    areas: NDArray[np.float64]
    """In the square of the unit of the columns, on the ground if there is one."""
    planar_areas: NDArray[np.float64]
    """In the plane of the coordinates."""
    perimeters: NDArray[np.float64]
    """As areas."""


def sizes_of(measure: Measure, geometries: Polygons, exact_areas: NDArray[np.float64] | None) -> Sizes:
    """Measure geometries.

    Parameters
    ----------
    measure : Measure
        The way to measure.
    geometries : array of Polygons and MultiPolygons
        In coordinates of the raster.
    exact_areas : array of float64, optional
        Areas in square coordinate units, from pixel counts; None takes them from the geometries.
    """
    planar = shapely.area(geometries) if exact_areas is None else exact_areas
    in_units = planar * measure.factor**2
    if measure.ground is None:
        return Sizes(in_units, in_units, shapely.length(geometries) * measure.factor)
    areas, perimeters = measure.ground.measured(geometries, planar)
    return Sizes(areas, in_units, perimeters)
