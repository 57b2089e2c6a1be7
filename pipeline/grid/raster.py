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
    decoded_bytes: int | None = None
    """Bytes that the reader's cache holds for one pixel of this raster, where that is not the size of the
    pixel itself: a slide is decoded with four channels, and a finer Level may be read and resampled."""
    levels: tuple[tuple[int, int], ...] = ()
    """Rows and columns of every Level of the source, full resolution first; empty where it has one only."""

    @property
    def window(self) -> Window:
        """The whole raster as a Window."""
        return Window(0, 0, self.height, self.width)

    @property
    def item_size(self) -> int:
        """Bytes of one value."""
        return int(np.dtype(self.dtype).itemsize)

    @property
    def cached_bytes(self) -> int:
        """Bytes of one pixel in the reader's cache."""
        return self.bands * self.item_size if self.decoded_bytes is None else self.decoded_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of the whole raster, uncompressed."""
        return self.bands * self.height * self.width * self.item_size
