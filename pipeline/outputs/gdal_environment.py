"""How this package calls GDAL to write: settings, legal warnings, and errors that say what failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from segment_tiles.pipeline.errors import one_line
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB, block_cache_of_mib


@contextlib.contextmanager
def gdal_environment() -> Iterator[None]:
    """Write rasters inside this: bounded cache, no warning for rasters without georeference.

    Raises
    ------
    OSError
        If GDAL reports an error, with its text. (rasterio lets errors of the copy through as a
        class of its own that is no OSError.)
    """
    with rasterio.Env(), block_cache_of_mib(DEFAULT_MIB):
        try:
            yield
        except (CPLE_BaseError, RasterioError) as error:
            # rasterio's own text is "see previous exception"; what GDAL said is in the cause
            raise OSError(one_line(error.__cause__ or error)) from error
