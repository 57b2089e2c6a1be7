"""Cloud-optimised GeoTIFF of an array of the store.

GDAL's COG driver only copies a finished raster, so this goes in two steps, in a temporary folder beside the
target::

    classes.zarr --shard by shard--> tiled sparse GeoTIFF --COG driver--> classes.tif (+ .aux.xml, .qml) --rename-->

The copy is read back before it gets its name: GDAL does not report a disk that becomes full while the last
tiles are flushed. Memory does not depend on the size of the raster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.auxiliary_metadata import auxiliary_path, write_auxiliary_metadata
from segment_tiles.pipeline.outputs.finished_file import finished_files
from segment_tiles.pipeline.outputs.gdal_environment import gdal_environment
from segment_tiles.pipeline.outputs.qgis_style import raster_style, write_style
from segment_tiles.pipeline.outputs.stores.overviews import shard_windows
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table, read_georef

TILE: Final = 512
"""Side of a tile of the COG, in pixels."""

# DEFLATE, because every program that reads GeoTIFF has it; labels gain nothing from a predictor
_COG_OPTIONS: Final = {
    "driver": "COG",
    "blocksize": TILE,
    "compress": "DEFLATE",
    "bigtiff": "IF_SAFER",
    "sparse_ok": "TRUE",
    "num_threads": "ALL_CPUS",
}
_CLASS_OPTIONS: Final = {"predictor": "NO", "overview_resampling": "MODE", "statistics": "NO"}
_VALUE_OPTIONS: Final = {"predictor": "YES", "overview_resampling": "AVERAGE", "statistics": "YES"}


def write_cog(
    group: zarr.Group,
    path: Path,
    *,
    name: str = "classes",
    pixel_counts: Sequence[int] | None = None,
) -> None:
    """Write ``classes``, ``confidence`` or ``scores`` of a store as a cloud-optimised GeoTIFF.

    Classes have mode overviews, a colour table, nodata, class names in ``<path>.aux.xml``, and the style that
    QGIS shows them in, beside it: a TIFF of 8 bits has a palette of 256 entries, used or not.
    Confidence has nodata 0; it and the scores (one band per class, probability x 255, no nodata, because
    0 is a legal score) have average overviews and statistics.

    Parameters
    ----------
    group
        The store of a run.
    path
        The file to write or replace.
    name
        The array.
    pixel_counts
        Pixels of each class, for the attribute table of ``classes``.

    Raises
    ------
    OutputError
        If the store has no such array.
    WriteFailedError
        If the disk is full, read-only, or fails; nothing stands under the final name then.
    """
    array, table = array_of(group, name), read_class_table(group)
    if name == "classes":
        # first: the file whose name says that all is done comes last
        write_style(path, raster_style(table.classes))
    with finished_files(auxiliary_path(path), path) as (auxiliary, cog):
        temporary = cog.with_name(f"uncopied-{cog.name}")
        with gdal_environment():
            checksums = _write_temporary(array, temporary, name, table, read_georef(group))
            options = _CLASS_OPTIONS if name == "classes" else _VALUE_OPTIONS
            rasterio.shutil.copy(str(temporary), str(cog), **_COG_OPTIONS, **options)
            temporary.unlink()
            _check(cog, checksums)
        if name == "classes":
            write_auxiliary_metadata(auxiliary, table, pixel_counts)


def _write_temporary(
    array: zarr.Array[Any], path: Path, name: str, table: ClassTable, georef: GeoRef
) -> list[int]:
    """Write the tiled GeoTIFF that is to be copied; return a checksum per band and shard."""
    checksums = []
    with rasterio.open(path, "w", **_temporary_profile(array, name, table, georef)) as dataset:
        if name == "classes":
            dataset.write_colormap(1, _colors(table))
        for band, description in enumerate(_descriptions(name, table), 1):
            dataset.set_band_description(band, description)
        for band, window in _parts(dataset.count, dataset.height, dataset.width):
            rows, columns = window.slices()
            values = np.asarray(array[rows, columns] if array.ndim == 2 else array[band - 1, rows, columns])
            dataset.write(values, band, window=_rasterio_window(window))
            checksums.append(_checksum(values))
    return checksums


def _temporary_profile(
    array: zarr.Array[Any], name: str, table: ClassTable, georef: GeoRef
) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": array.shape[-2],
        "width": array.shape[-1],
        "count": 1 if array.ndim == 2 else array.shape[0],
        "dtype": str(array.dtype),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "band",
        "compress": "DEFLATE",
        "zlevel": 1,
        "sparse_ok": True,
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }
    if georef.crs_wkt is not None:
        profile["crs"] = CRS.from_wkt(georef.crs_wkt)
    if georef != GeoRef.of_pixels():
        # a plain picture stays one: written out, its transform would turn it upside down in a GIS
        profile["transform"] = georef.affine
    nodata = {"classes": table.nodata, "confidence": 0}.get(name)
    return profile if nodata is None else profile | {"nodata": nodata}


def _colors(table: ClassTable) -> dict[int, tuple[int, int, int, int]]:
    return {entry.code: (*entry.color, 255) for entry in table.classes}


def _descriptions(name: str, table: ClassTable) -> Sequence[str]:
    return table.names if name == "scores" else (name,)


def _parts(bands: int, height: int, width: int) -> Iterator[tuple[int, Window]]:
    """Yield band and window of every shard-sized part, in one order for writing and checking."""
    for band in range(1, bands + 1):
        for window in shard_windows(height, width):
            yield band, window


def _checksum(values: NDArray[Any]) -> int:
    return crc32(np.ascontiguousarray(values).tobytes())


def _check(cog: Path, checksums: Sequence[int]) -> None:
    """Read the file back, full resolution against the checksums, overviews for being readable.

    Raises
    ------
    OSError
        If it is not whole.
    """
    with rasterio.open(cog) as dataset:
        overviews = len(dataset.overviews(1))
        parts = _parts(dataset.count, dataset.height, dataset.width)
        for (band, window), expected in zip(parts, checksums, strict=True):
            if _checksum(dataset.read(band, window=_rasterio_window(window))) != expected:
                msg = f"band {band} is not what was written at row {window.row}, column {window.column}"
                raise OSError(msg)
    for level in range(overviews):
        with rasterio.open(cog, overview_level=level) as dataset:
            for window in shard_windows(dataset.height, dataset.width):
                dataset.read(window=_rasterio_window(window))


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.column, window.row, window.width, window.height)
