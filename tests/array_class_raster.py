"""Class rasters in memory, for tests of what reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec


class ArrayClassRaster:
    """A small class raster in memory."""

    def __init__(
        self,
        codes: NDArray[np.integer],
        *,
        nodata: int | None = None,
        georef: GeoRef | None = None,
        classes: tuple[MapClass, ...] = (),
        confidence: NDArray[np.uint8] | None = None,
    ) -> None:
        self._codes = codes
        self._confidence = confidence
        height, width = codes.shape
        self.spec = ClassRasterSpec(
            height, width, codes.dtype.name, nodata, georef or GeoRef.of_pixels(), classes,
            confidence is not None,
        )  # fmt: skip

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns."""
        return self._codes[window.slices()]

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns."""
        if self._confidence is None:
            msg = "this class raster has no confidence"
            raise ValueError(msg)
        return self._confidence[window.slices()]

    def close(self) -> None:
        """Do nothing: there is no file to release."""
