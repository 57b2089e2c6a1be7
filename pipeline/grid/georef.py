"""GeoRef: where pixels are in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from segment_tiles.pipeline.grid.window import Window

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""What GDAL gives for a raster without a transform."""
PICTURE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""GDAL's and QGIS's y of such a raster: from 0 at its top to minus its height (docs/decisions/0069)."""


def transformed(affine: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points, each a row x, y, moved by a transform."""
    x, y = points[:, 0], points[:, 1]
    moved_x = affine.a * x + affine.b * y + affine.c
    return np.column_stack([moved_x, affine.d * x + affine.e * y + affine.f])


@lru_cache(maxsize=8)
def _crs_of(wkt: str) -> CRS:
    """Return the CRS of a text; all scenes of a batch have the same. Within, pyproj has one for each thread."""
    return CRS.from_wkt(wkt)


@dataclass(frozen=True, slots=True)
class GeoRef:
    """Affine transform and CRS, or spacing and origin with a unit.

    Pixel (column, row) of the top-left *corner* maps to the world as
    ``x = a * column + b * row + c``, ``y = d * column + e * row + f``.

    >>> GeoRef.of_pixels().pixel_area
    1.0
    """

    transform: tuple[float, float, float, float, float, float]
    """a, b, c, d, e, f: the order of rasterio and of the Affine class."""
    crs_wkt: str | None = None
    """CRS as WKT 2, or None if the raster has none: coordinates are then pixels or ``unit``."""
    unit: str = "pixel"
    """Unit of the coordinates if there is no CRS: pixel, map unit, micrometer or millimeter."""
    full_resolution: tuple[float, float, float, float, float, float] | None = None
    """Transform of the full-resolution pixels of a slide or a picture, whatever Level this one is of: what people
    type and draw there (QuPath, AOI files) counts in them. None if they type coordinates."""

    @classmethod
    def of_pixels(cls) -> GeoRef:
        """Return the georeference of a plain picture: x is the column, y minus the row, as GDAL and QGIS have it."""
        return cls(PICTURE, full_resolution=PICTURE)

    @classmethod
    def from_affine(cls, affine: Affine, crs_wkt: str | None) -> GeoRef:
        """Return the georeference of an Affine of GDAL; without a CRS, an identity says that there is none."""
        transform = (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f)
        if crs_wkt is not None:
            return cls(transform, crs_wkt)
        return cls.of_pixels() if transform in {PICTURE, IDENTITY} else cls(transform, unit="map unit")

    @property
    def affine(self) -> Affine:
        """The transform as an Affine."""
        return Affine(*self.transform)

    @property
    def user_to_world(self) -> Affine:
        """From the coordinates that users type and draw in to those of the world.

        Full-resolution pixels of a slide or a picture; for any other raster both are the same.
        """
        return Affine.identity() if self.full_resolution is None else Affine(*self.full_resolution)

    def from_user(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return world coordinates of points that users typed or drew, rows x, y, all of one box or file.

        On a slide or a picture they are full-resolution pixels, y down. If more of the points lies above the top
        edge than below it, they cannot be such pixels: they are coordinates as results have them, drawn in QGIS.
        """
        return (
            points
            if self.full_resolution is None or self.are_of_results(points)
            else self.of_pixels_drawn(points)
        )

    @staticmethod
    def are_of_results(points: NDArray[np.float64]) -> bool:
        """Return whether points on a picture lie more above its top edge than below it."""
        return bool(len(points) and -points[:, 1].min() > points[:, 1].max())

    def of_pixels_drawn(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return world coordinates of points that surely are full-resolution pixels of a slide or a picture."""
        return transformed(self.user_to_world, points)

    @property
    def crs(self) -> CRS | None:
        """The CRS as a pyproj object, or None."""
        return None if self.crs_wkt is None else _crs_of(self.crs_wkt)

    @property
    def pixel_area(self) -> float:
        """Area of one pixel in square units of the coordinates."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    def of_window(self, window: Window) -> GeoRef:
        """Return the georeference of a crop: same pixels, other corner."""
        return self._with(self.affine @ Affine.translation(window.column, window.row))

    def scaled(self, rows: float, columns: float) -> GeoRef:
        """Return the georeference of a Level whose pixels are this many times higher and wider."""
        return self._with(self.affine @ Affine.scale(columns, rows))

    def _with(self, affine: Affine) -> GeoRef:
        return replace(self, transform=(affine.a, affine.b, affine.c, affine.d, affine.e, affine.f))

    def corners(self, window: Window) -> list[tuple[float, float]]:
        """Return the four corners of a window as (x, y), clockwise in pixels from the top left."""
        pixel_corners = [
            (window.column, window.row),
            (window.column_stop, window.row),
            (window.column_stop, window.row_stop),
            (window.column, window.row_stop),
        ]
        return [self.affine @ corner for corner in pixel_corners]

    def bounds(self, window: Window) -> tuple[float, float, float, float]:
        """Return min x, min y, max x, max y of a window."""
        xs, ys = zip(*self.corners(window), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def pixel_box(self, bounds: Sequence[float]) -> tuple[float, float, float, float]:
        """Return the box of fractional pixels (row, column, row stop, column stop) around world bounds."""
        min_x, min_y, max_x, max_y = bounds
        inverse = ~self.affine
        corners = [inverse @ (x, y) for x in (min_x, max_x) for y in (min_y, max_y)]
        columns, rows = zip(*corners, strict=True)
        return min(rows), min(columns), max(rows), max(columns)
