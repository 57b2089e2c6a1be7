"""Bytes of a file as GDAL names it: local, in an archive, or on a server, from what GDAL has fetched of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import rasterio

_ALLOWED: Final = {"GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "ALL"}
"""GDAL reads raw bytes for a virtual raster of its own folder alone, unless told otherwise; this one is ours."""


def stored_bytes(dataset: Any, start: int, size: int) -> bytes:
    """Return some bytes of the file behind an open raster, or what there is of them.

    Of another file than a local one as a virtual raster of one row of raw bytes: rasterio has no other way to GDAL's
    file systems.

    Raises
    ------
    OSError
        If a local file does not reach so far, or cannot be read.
    RasterioError
        If another cannot be read; of what lies beyond its end GDAL makes zeros.
    """
    name = next(iter(dataset.files), dataset.name)
    if Path(name).is_file():
        if Path(name).stat().st_size < start + size:  # a damaged header may ask for more than fits in memory
            msg = f"{name} ends before byte {start + size}"
            raise OSError(msg)
        with Path(name).open("rb") as file:
            file.seek(start)
            return file.read(size)
    document = (
        f'<VRTDataset rasterXSize="{size}" rasterYSize="1">'
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename><ImageOffset>{start}</ImageOffset>'
        f"<PixelOffset>1</PixelOffset><LineOffset>{size}</LineOffset></VRTRasterBand></VRTDataset>"
    )
    with rasterio.Env(**_ALLOWED), rasterio.open(document) as row:
        return bytes(row.read(1).tobytes())
