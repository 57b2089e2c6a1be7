"""Bytes of a file behind a raster: the same from a local file as through GDAL's file systems."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.rasters.stored_bytes import stored_bytes


def test_a_local_file_is_read_as_gdal_reads_it_in_an_archive(tmp_path: Path) -> None:
    path, archive = tmp_path / "a & b.tif", tmp_path / "a.zip"
    profile = {
        "driver": "GTiff",
        "width": 20,
        "height": 10,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32633",
    }
    with rasterio.open(path, "w", transform=rasterio.Affine(1, 0, 5, 0, -1, 5), **profile) as file:
        file.write(np.arange(200, dtype=np.uint8).reshape(1, 10, 20))
    with zipfile.ZipFile(archive, "w") as into:
        into.write(path, path.name)
    content = path.read_bytes()
    with rasterio.open(path) as here, rasterio.open(f"/vsizip/{archive}/{path.name}") as there:
        for start, size in ((0, 16), (7, 3), (len(content) - 5, 5), (0, len(content))):
            assert (
                stored_bytes(here, start, size) == stored_bytes(there, start, size) == content[start:][:size]
            )
        for start, size in ((len(content) - 5, 6), (10, 2**66), (2**66, 1)):
            with pytest.raises(GDAL_ERRORS):
                stored_bytes(here, start, size)
