"""Cloud-optimised GeoTIFF of an array of the store.

GDAL's COG driver only copies a finished raster, so this goes in two steps, in a temporary folder beside the
target::

    classes.zarr --shard by shard--> tiled sparse GeoTIFF --COG driver--> classes.tif (+ .aux.xml, .qml) --rename-->

The copy is read back before it gets its name: GDAL does not report a disk that becomes full while the last
tiles are flushed. Memory does not depend on the size of the raster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from segment_tiles.pipeline.outputs.stores.class_masks import ClassMasks, masks_of
from segment_tiles.pipeline.outputs.stores.overviews import shard_windows
from segment_tiles.pipeline.outputs.stores.store import (
    array_of,
    read_class_table,
    read_georef,
    read_score_names,
)

TILE: Final = 512
"""Side of a tile of the COG, in pixels."""
SCALE: Final = 1 / 255
"""From the bytes of confidence and scores to probabilities."""

MASKED_OUT: Final = 255
"""In a file of masks: of pixels without data."""
# DEFLATE, because every program that reads GeoTIFF has it; labels gain nothing from a predictor
COG_OPTIONS: Final = {
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
    """Write ``classes``, ``confidence``, ``scores`` or ``masks`` of a store as a cloud-optimised GeoTIFF.

    Classes have mode overviews, a colour table, nodata, class names in ``<path>.aux.xml``, and the style that
    QGIS shows them in, beside it: a TIFF of 8 bits has a palette of 256 entries, used or not.
    Confidence and scores are probability x 255, with the scale by which GDAL's unscaled values are probabilities,
    average overviews and statistics. Confidence has nodata 0. Scores have a band for each class of the model, and a
    mask inside the file: 0 is a legal score. So has confidence if it may be 0, as that of classes that may overlap.
    Masks have a band for each of these classes, 1 if a pixel has it, nodata 255, and mode overviews.

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
    layer, table = _Layer.of(group, name), read_class_table(group)
    if name == "classes":
        # first: the file whose name says that all is done comes last
        write_style(path, raster_style(table.classes))
    with finished_files(auxiliary_path(path), path) as (auxiliary, cog):
        temporary = cog.with_name(f"uncopied-{cog.name}")
        with gdal_environment():
            checksums = _write_temporary(layer, temporary, table, read_georef(group))
            options = _CLASS_OPTIONS if name in {"classes", "masks"} else _VALUE_OPTIONS
            rasterio.shutil.copy(str(temporary), str(cog), **COG_OPTIONS, **options)
            temporary.unlink()
            _check(cog, layer, checksums)
        if name == "classes":
            write_auxiliary_metadata(auxiliary, table, pixel_counts)


@dataclass(frozen=True, slots=True)
class _Layer:
    """An array of a store, and what says which of its pixels hold something."""

    name: str
    values: zarr.Array[Any]
    """rows x columns, or classes x rows x columns."""
    names: tuple[str, ...]
    """Of the bands."""
    codes: zarr.Array[Any] | None
    """rows x columns: class codes, if these tell; None: a value does, or every pixel holds something."""
    masks: ClassMasks | None = None
    """What bands are read from, if they are masks of classes."""

    @classmethod
    def of(cls, group: zarr.Group, name: str) -> _Layer:
        """Return an array of a store by its name."""
        if name == "masks":
            return cls._of_masks(group)
        by_codes = name == "scores" or (name == "confidence" and _may_be_zero(group))
        values = array_of(group, name)
        names = read_score_names(group) if name == "scores" else (name,)
        return cls(name, values, names, array_of(group, "classes") if by_codes else None)

    @classmethod
    def _of_masks(cls, group: zarr.Group) -> _Layer:
        values, masks = array_of(group, "masks"), masks_of(group)
        assert masks is not None  # the array is there
        names = {entry.code: entry.name for entry in read_class_table(group).classes}
        return cls("masks", values, tuple(names[code] for code in masks.of_classes), None, masks)

    @property
    def bands(self) -> int:
        """Bands of the file, which may have a mask beside them."""
        if self.masks is not None:
            return len(self.names)
        return 1 if self.values.ndim == 2 else int(self.values.shape[0])

    def parts(self) -> Iterator[tuple[int, Window]]:
        """Yield band and window of every shard-sized part, in one order for writing and checking; band 0: the mask."""
        for band in range(0 if self.codes is not None else 1, self.bands + 1):
            for window in shard_windows(*self.values.shape[-2:]):
                yield band, window

    def read(self, band: int, window: Window, nodata: int) -> NDArray[Any]:
        """Return a part, rows x columns; of the mask 255 at pixels with a class, else 0."""
        if self.masks is not None:
            found = self.masks.read(self.masks.of_classes[band - 1], window)
            return np.where(self.masks.valid(window), found, MASKED_OUT).astype(np.uint8)
        rows, columns = window.slices()
        if band == 0 and self.codes is not None:
            return np.where(np.asarray(self.codes[rows, columns]) == nodata, 0, 255).astype(np.uint8)
        values = self.values
        return np.asarray(values[rows, columns] if values.ndim == 2 else values[band - 1, rows, columns])


def _may_be_zero(group: zarr.Group) -> bool:
    """Return whether the confidence of a pixel with a class may be the byte 0, which then is no sign of nodata.

    The highest of up to 254 scores that sum up to 1 cannot. That of more can, and that of classes that may overlap. A
    store whose classes were changed since does not tell what the model was: its values do.
    """
    table = read_class_table(group)
    if table.dtype != "uint8" or "masks" in group:
        return True
    confidence, codes = array_of(group, "confidence"), array_of(group, "classes")
    for window in shard_windows(*confidence.shape):
        index = window.slices()
        if ((np.asarray(confidence[index]) == 0) & (np.asarray(codes[index]) != table.nodata)).any():
            return True
    return False


def _write_temporary(layer: _Layer, path: Path, table: ClassTable, georef: GeoRef) -> list[int]:
    """Write the tiled GeoTIFF that is to be copied; return a checksum per band and shard."""
    checksums = []
    name = layer.name
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **_temporary_profile(layer, table, georef)) as dataset,
    ):
        if name == "classes":
            dataset.write_colormap(1, _colors(table))
        elif name != "masks":
            dataset.scales = (SCALE,) * dataset.count
        for band, description in enumerate(layer.names, 1):
            dataset.set_band_description(band, description)
        for band, window in layer.parts():
            values, box = layer.read(band, window, table.nodata), rasterio_window(window)
            if band == 0:
                dataset.write_mask(values, window=box)
            else:
                dataset.write(values, band, window=box)
            checksums.append(_checksum(values))
    return checksums


def tiled_profile(shape: tuple[int, int], bands: int, dtype: str, georef: GeoRef) -> dict[str, Any]:
    """Return how rasterio makes the tiled GeoTIFF of rows x columns that is then copied into a COG."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": shape[0],
        "width": shape[1],
        "count": bands,
        "dtype": dtype,
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
    return profile


def _temporary_profile(layer: _Layer, table: ClassTable, georef: GeoRef) -> dict[str, Any]:
    rows, columns = layer.values.shape[-2:]
    profile = tiled_profile((rows, columns), layer.bands, str(layer.values.dtype), georef)
    nodata = {"classes": table.nodata, "confidence": 0, "masks": MASKED_OUT}.get(layer.name)
    return profile if nodata is None or layer.codes is not None else profile | {"nodata": nodata}


def _colors(table: ClassTable) -> dict[int, tuple[int, int, int, int]]:
    return {entry.code: (*entry.color, 255) for entry in table.classes}


def _checksum(values: NDArray[Any]) -> int:
    return crc32(np.ascontiguousarray(values).tobytes())


def _check(cog: Path, layer: _Layer, checksums: Sequence[int]) -> None:
    """Read the file back, full resolution against the checksums, overviews for being readable.

    Raises
    ------
    OSError
        If it is not whole.
    """
    with rasterio.open(cog) as dataset:
        overviews = len(dataset.overviews(1))
        for (band, window), expected in zip(layer.parts(), checksums, strict=True):
            box = rasterio_window(window)
            values = dataset.read(band, window=box) if band else dataset.dataset_mask(window=box)
            if _checksum(values) != expected:
                what = f"band {band}" if band else "the mask"
                msg = f"{what} is not what was written at row {window.row}, column {window.column}"
                raise OSError(msg)
    for level in range(overviews):
        with rasterio.open(cog, overview_level=level) as dataset:
            for window in shard_windows(dataset.height, dataset.width):
                dataset.read(window=rasterio_window(window))


def rasterio_window(window: Window) -> RasterioWindow:
    """Return a window as rasterio names it."""
    return RasterioWindow(window.column, window.row, window.width, window.height)
