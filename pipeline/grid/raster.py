"""RasterSpec: what is known of a raster without reading a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window


def json_number(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it: NaN and infinity become text.

    >>> json_number(7.0), json_number(float("nan"))
    (7.0, 'nan')
    """
    return value if value is None or math.isfinite(value) else str(value)


@dataclass(frozen=True, slots=True)
class RasterSpec:
    """Shape, type and position of a raster; the values that a Plan is made from."""

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
    nodata: tuple[float | None, ...] = ()
    """Value that marks a missing value, for each band that is read; empty if no band has one."""
    band_names: tuple[str, ...] = ()
    """Names from the file, in the order read; empty if it has none."""
    band_numbers: tuple[int, ...] = ()
    """1-based bands of the file, in the order read; empty: all of them."""
    chunk: tuple[int, int] = (256, 256)
    """Rows and columns of the unit in which the source is stored."""
    decoded_bytes: int | None = None
    """Bytes that the reader's cache holds for one pixel of this raster, if that is not the size of the
    pixel itself: a slide is decoded with four channels, and a finer Level may be read and resampled."""
    levels: tuple[tuple[int, int], ...] = ()
    """Rows and columns of every Level of the source, full resolution first; empty if it has only one."""
    scale_offsets: tuple[tuple[float, float], ...] = ()
    """Scale and offset by which stored values of each band that is read become physical; empty if no band has any."""
    reductions: tuple[float, ...] = ()
    """How many times fewer rows than this raster its overviews have, in their order; empty if it has none, or none was
    looked for."""
    work_bytes: int = 0
    """Bytes that one handle takes on the way from what is decoded to what it returns."""
    downsample: tuple[float, float] | None = None
    """Full-resolution pixels in one of this raster, down and across, if it is resampled; None: the sides tell."""
    has_no_holes: bool = False
    """No pixel can be missing: nothing marks one, and every value is a number."""

    color_tables: tuple[int, ...] = ()
    """1-based bands that hold positions in a colour table, of which no mean can be made; of those that are read."""

    @property
    def window(self) -> Window:
        """The whole raster as a Window."""
        return Window(0, 0, self.height, self.width)

    @property
    def nodata_summary(self) -> Any:
        """For JSON: the nodata value if all bands have the same, else a list; None if there is none."""
        marks = [json_number(value) for value in self.nodata]
        return marks[0] if len(set(marks)) == 1 else marks or None

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
