"""RasterSpec: what is known of a raster without reading a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window


@dataclass(frozen=True, slots=True)
class RasterSpec:
    """Shape, type and place of a raster; the values that a Plan is made from."""

    bands: int
    """Number of bands that are read."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    dtype: str
    """NumPy name of the type of a value, such as uint16."""
    georef: GeoRef
    """Pixel to world."""
    nodata: float | None = None
    """Value that marks an invalid pixel, or None."""
    band_names: tuple[str, ...] = ()
    """Names from the file, in the order read; empty where it has none."""
    chunk: tuple[int, int] = (256, 256)
    """Rows and columns of the unit in which the source is stored."""

    @property
    def window(self) -> Window:
        """The whole raster as a Window."""
        return Window(0, 0, self.height, self.width)

    @property
    def item_size(self) -> int:
        """Bytes of one value."""
        return int(np.dtype(self.dtype).itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole raster, uncompressed."""
        return self.bands * self.height * self.width * self.item_size
