"""A NumPy array as a Source: for library use, and for tests of the engine without a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.validity import both, for_bands, marked, valid_pixels


class ArraySource:
    """An array bands x rows x columns, with an optional mask of valid pixels (rows x columns).

    Parameters
    ----------
    values, valid
        Of the whole raster, or of a part of it.
    hidden
        Which values of single bands are missing, though their pixel may hold data: bands x rows x columns.
    part, shape
        Of a part: its window in the raster, and rows and columns of the whole. Only the part can be read.

    Raises
    ------
    SourceError
        If the array is not bands x rows x columns, or mask or part do not have its shape.
    """

    def __init__(
        self,
        values: NDArray[Any],
        *,
        valid: NDArray[np.bool_] | None = None,
        georef: GeoRef | None = None,
        nodata: float | None = None,
        nodata_rule: NodataRule = "all",
        hidden: NDArray[np.bool_] | None = None,
        part: Window | None = None,
        shape: tuple[int, int] | None = None,
    ) -> None:
        if values.ndim != 3:
            msg = f"the array has shape {values.shape}; it must be bands x rows x columns"
            raise SourceError(msg)
        if valid is not None and valid.shape != values.shape[1:]:
            msg = f"the mask has shape {valid.shape}; it must be {values.shape[1:]}, as the array"
            raise SourceError(msg)
        if part is not None and part.shape != values.shape[1:]:
            msg = f"the array has shape {values.shape}; it must be bands x {part.height} x {part.width}, as its part"
            raise SourceError(msg)
        bands, height, width = values.shape
        self._corner = (0, 0) if part is None else (part.row, part.column)
        height, width = shape or (height, width)
        self._values, self._valid, self._rule, self._hidden = values, valid, nodata_rule, hidden
        marks = for_bands(nodata, bands)
        self.spec = RasterSpec(bands, height, width, values.dtype.name, georef or GeoRef.of_pixels(), marks)

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns."""
        return self._values[(slice(None), *self._inside(window).slices())]

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data, or None if all do."""
        mask = None if self._valid is None else self._valid[self._inside(window).slices()]
        return both(mask, valid_pixels(values, self.spec.nodata, self._rule))

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of a window are missing: bands x rows x columns; None if none is."""
        found = marked(values, self.spec.nodata)
        if self._hidden is None:
            return found
        hidden = self._hidden[(slice(None), *self._inside(window).slices())]
        return hidden if found is None else hidden | found

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel."""
        picked = self._picked(window, shape)
        values = self._values[:, *picked]
        mask = None if self._valid is None else self._valid[picked]
        return values, both(mask, valid_pixels(values, self.spec.nodata, self._rule))

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values are missing."""
        values, valid = self.thumbnail(window, shape)
        found = marked(values, self.spec.nodata)
        if self._hidden is None:
            return values, valid, found
        hidden = self._hidden[:, *self._picked(window, shape)]
        return values, valid, hidden if found is None else hidden | found

    def _inside(self, window: Window) -> Window:
        """Return a window of the raster in pixels of the array."""
        row, column = self._corner
        return window.shift(-row, -column)

    def _picked(self, window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows and columns of the array that a thumbnail is made of."""
        window = self._inside(window)
        rows = window.row + (np.arange(shape[0]) * window.height) // shape[0]
        columns = window.column + (np.arange(shape[1]) * window.width) // shape[1]
        return rows[:, None], columns[None, :]

    def close(self) -> None:
        """Nothing to release."""
