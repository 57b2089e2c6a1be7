"""How this package calls GDAL to write: settings, legal warnings, and errors that say what failed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Final

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from segment_tiles.pipeline.errors import one_line

CACHE_MEGABYTES: Final = 64
"""GDAL's cache of raster blocks; its default is 5 % of the machine's memory."""


@contextlib.contextmanager
def gdal_environment() -> Iterator[None]:
    """Write rasters inside this: bounded cache, no warning for rasters without georeference.

    Raises
    ------
    OSError
        Where GDAL reports an error, with its words. (rasterio lets errors of the copy through as a
        class of its own that is no OSError.)
    """
    with warnings.catch_warnings():
        # a picture without georeference is a legal result here, in pixel coordinates
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES):
            try:
                yield
            except (CPLE_BaseError, RasterioError) as error:
                # rasterio's own text is "see previous exception"; what GDAL said is in the cause
                raise OSError(one_line(error.__cause__ or error)) from error
