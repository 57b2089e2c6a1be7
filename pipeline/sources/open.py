"""The one door to every kind of input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segment_tiles.pipeline.sources.protocol import NodataRule, Source
from segment_tiles.pipeline.sources.raster_file import RasterFile


def open_source(
    uri: str,
    *,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    nodata_rule: NodataRule = "all",
    level: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Source:
    """Open a raster by path or URL.

    Parameters
    ----------
    uri
        Path, ``https://`` or ``s3://`` name, or a GDAL name such as ``/vsicurl/...``.
    bands
        1-based indices in the order wanted; None for all but an alpha band.
    nodata
        Value of missing pixels, in place of the declared one.
    nodata_rule
        ``all`` or ``any`` of the bands must be missing.
    level
        Overview level, 0 for full resolution.
    settings
        GDAL configuration options, such as credentials.

    Raises
    ------
    SourceError
        Where it cannot be opened as a raster.
    UsageError
        Where a band or the nodata value cannot be one of this raster.
    """
    return RasterFile(
        uri, bands=bands, nodata=nodata, nodata_rule=nodata_rule, level=level, settings=settings
    )
