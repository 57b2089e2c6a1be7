"""A raster whose values under objects are measured: on the grid of the class raster, read window by window."""

from __future__ import annotations

from typing import Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.errors import ReadFailedError, VectorError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName

APART: Final = 1e-3
"""Pixels that the corners of two grids may be apart: what rounding of coordinates makes."""


class MeasuredRaster:
    """Any raster of numbers that GDAL reads, of which the class raster may be a part, as that of a run with ``--roi``.

    Raises
    ------
    VectorError
        If it cannot be opened, its values are complex, or the class raster lies on another grid or beyond it.
    """

    def __init__(self, name: RasterName, spec: ClassRasterSpec) -> None:
        self._shown = shown_name(str(name))
        try:
            self._dataset = rasterio.open(str(name))
        except RasterioError as error:
            msg = f"--measure {self._shown} cannot be read: {one_line(error)}; give a raster"
            raise VectorError(msg) from error
        self.bands: int = self._dataset.count
        self._scales, self._offsets = (
            np.array(numbers, dtype=np.float64)[:, None, None]
            for numbers in (self._dataset.scales, self._dataset.offsets)
        )
        self._first = (0, 0)
        self._is_packed = bool((self._scales != 1).any() or (self._offsets != 0).any())
        try:
            self._check(spec)
        except VectorError:
            self._dataset.close()
            raise

    def _check(self, spec: ClassRasterSpec) -> None:
        dataset = self._dataset
        if self.bands == 0 or any(np.dtype(dtype).kind not in "uif" for dtype in dataset.dtypes):
            msg = f"--measure {self._shown} has bands of {', '.join(dataset.dtypes) or 'nothing'}; numbers are needed"
            raise VectorError(msg)
        if self._is_placed(spec):
            self._first = self._first_pixel(spec)
        has_its_size = (dataset.height, dataset.width) == (spec.height, spec.width)
        if not has_its_size and not (self._is_placed(spec) and self._holds(spec)):
            msg = (
                f"--measure {self._shown} has {dataset.height} x {dataset.width} pixels, the class map {spec.height} x "
                f"{spec.width}; give a raster on the grid of the map"
            )
            raise VectorError(msg)
        if self._is_placed(spec) and not self._holds(spec):
            apart = self._apart(spec, (0, 0))
            msg = (
                f"--measure {self._shown} lies elsewhere than the class map, by {apart:.3g} pixels; give a raster on "
                "the grid of the map"
            )
            raise VectorError(msg)
        crs = spec.georef.crs
        if (
            crs is not None
            and dataset.crs is not None
            and rasterio.crs.CRS.from_wkt(crs.to_wkt()) != dataset.crs
        ):
            msg = f"--measure {self._shown} has another CRS than the class map, {crs.name}; give one on its grid"
            raise VectorError(msg)

    def _is_placed(self, spec: ClassRasterSpec) -> bool:
        return spec.georef != GeoRef.of_pixels() and not self._dataset.transform.is_identity

    def notes(self, spec: ClassRasterSpec) -> tuple[str, ...]:
        """Return what the user should know: that it does not say, or not all of, where it lies."""
        if spec.georef == GeoRef.of_pixels():
            return ()
        missing = "position" if not self._is_placed(spec) else "CRS"
        if missing == "CRS" and (spec.georef.crs is None or self._dataset.crs is not None):
            return ()
        return (
            f"--measure {self._shown} has no {missing}: it is taken to lie as the class map does, pixel by pixel",
        )

    def _first_pixel(self, spec: ClassRasterSpec) -> tuple[int, int]:
        """Return the row and column of this raster nearest to the first pixel of the class raster."""
        column, row = ~self._dataset.transform @ spec.georef.affine @ (0, 0)
        return round(row), round(column)

    def _holds(self, spec: ClassRasterSpec) -> bool:
        """Return whether the pixels of the class raster are pixels of this one: all, or a part of them."""
        row, column = self._first
        is_inside = row >= 0 and row + spec.height <= self._dataset.height
        is_inside = is_inside and column >= 0 and column + spec.width <= self._dataset.width
        return is_inside and self._apart(spec, self._first) <= APART

    def _apart(self, spec: ClassRasterSpec, first: tuple[int, int]) -> float:
        """Return how far corners of both grids are apart, in pixels of this raster, from a pixel of it on."""
        there = ~self._dataset.transform @ spec.georef.affine
        corners = [(x, y) for x in (0, spec.width) for y in (0, spec.height)]
        return max(
            float(np.hypot(*np.subtract(there @ corner, np.add(corner, first[::-1])))) for corner in corners
        )

    def read(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return values, with scale and offset of the file, and which of them are any, bands x rows x columns.

        Raises
        ------
        ReadFailedError
            If GDAL cannot read.
        """
        row, column = self._first
        box = RasterioWindow(column + window.column, row + window.row, window.width, window.height)
        try:
            values = self._dataset.read(window=box).astype(np.float64)
            valid = self._dataset.read_masks(window=box) > 0
        except RasterioError as error:
            msg = f"reading rows {window.row} to {window.row_stop} of {self._shown} failed: {one_line(error)}"
            raise ReadFailedError(msg) from error
        if self._is_packed:
            values = values * self._scales + self._offsets
        return values, valid & np.isfinite(values)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()
