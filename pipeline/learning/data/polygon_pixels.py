"""Polygons of a file in pixels of a raster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from segment_tiles.pipeline.errors import TrainingError, UsageError, one_line
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.sources.areas.vector_file import require_finite

Frame = TypeVar("Frame", geopandas.GeoDataFrame, geopandas.GeoSeries)


def bare_class(value: object) -> object:
    """Return the class that QuPath's ``classification``, a mapping, names; any other value as it is."""
    return value.get("name", value) if isinstance(value, Mapping) else value


def in_crs_of(frame: Frame, spec: RasterSpec, path: str, scene: str, whose: str) -> Frame:
    """Return polygons in the CRS of a raster; if that has none, coordinates are pixels, or those of the scene.

    Parameters
    ----------
    frame
        The polygons.
    spec
        The raster.
    path, scene
        Of polygons and raster, for messages.
    whose
        Begins the message about coordinates that are not finite.

    Raises
    ------
    TrainingError
        They have no CRS, or cannot be brought into that of the raster.
    """
    if spec.georef.crs_wkt is None:
        return frame
    if frame.crs is None:
        msg = f"{path} has no CRS, the {scene} has one: write the CRS into the labels"
        raise TrainingError(msg)
    try:
        placed = frame.to_crs(spec.georef.crs_wkt)
    except ProjError as error:
        msg = f"{path} cannot be brought into the CRS of {scene}: {one_line(error)}; convert it first"
        raise TrainingError(msg) from error
    try:
        require_finite(placed.geometry, f"{whose}: in the CRS of the scene, {path} has")
    except UsageError as error:
        raise TrainingError(one_line(error)) from error
    return placed


def in_pixels(geometries: NDArray[np.object_], spec: RasterSpec) -> NDArray[np.object_]:
    """Return geometries in columns and rows of a raster, from its CRS or, if it has none, as users write them."""
    if spec.georef.crs_wkt is None:
        geometries = shapely.transform(geometries, spec.georef.from_user)
    to_pixels: Any = ~spec.georef.affine
    matrix = np.array([[to_pixels.a, to_pixels.d], [to_pixels.b, to_pixels.e]])
    origin = np.array([to_pixels.c, to_pixels.f])
    return np.asarray(shapely.transform(geometries, lambda xy: xy @ matrix + origin), dtype=object)
