"""A picture that GDAL reads, such as a PNG cut from a slide, as a pyramid: its pixel size is given by the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.pyramids.pyramid import PyramidFacts
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile


class RasterPyramid:
    """A raster without CRS and its overviews.

    Parameters
    ----------
    uri
        Names it in messages.
    opened
        Opens it at a ``level``.

    Raises
    ------
    SourceError
        If GDAL cannot open it.
    UsageError
        If it has a CRS: its pixels are measured in that, not in micrometres.
    """

    def __init__(self, uri: str, opened: Callable[..., RasterFile]) -> None:
        self._levels = [opened(level=0)]
        if self._levels[0].spec.georef.crs_wkt is not None:
            self.close()
            msg = f"{uri}: has a CRS, so --mpp and --source-mpp mean nothing here; choose a --level"
            raise UsageError(msg)
        self._levels += [opened(level=level) for level in range(1, self._levels[0].level_count)]
        spec = self._levels[0].spec
        self.facts = PyramidFacts(
            kind="raster",
            bands=spec.bands,
            dtype=spec.dtype,
            levels=tuple(level.spec.window.shape for level in self._levels),
            chunks=tuple(level.spec.chunk for level in self._levels),
            mpp=None,
            band_names=spec.band_names,
            band_numbers=spec.band_numbers,
            decoded_bytes=spec.decoded_bytes,
            color_tables=spec.color_tables,
        )

    def read(
        self, level: int, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window of a Level: bands x rows x columns, and which pixels hold data."""
        source = self._levels[level]
        values = source.read(window)
        return values[list(bands)], source.valid(window, values)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file says that the user should know."""
        return self._levels[0].notes

    def close(self) -> None:
        """Release all handles."""
        for level in self._levels:
            level.close()
