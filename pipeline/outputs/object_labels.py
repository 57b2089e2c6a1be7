"""A label image of objects: a number for each pixel, 0 where none is, as OME-Zarr 0.5 labels or as a COG.

Both are written from a function that gives a window, shard by shard, so that memory does not depend on the size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.cog import COG_OPTIONS, rasterio_window, tiled_profile
from segment_tiles.pipeline.outputs.gdal_environment import gdal_environment
from segment_tiles.pipeline.outputs.masks.ome_zarr_labels import TRANSPARENT, VERSION, multiscale
from segment_tiles.pipeline.outputs.stores.conventions import array_attributes, group_attributes
from segment_tiles.pipeline.outputs.stores.overviews import overview_shapes, shard_windows
from segment_tiles.pipeline.outputs.stores.store import ATTRIBUTE, create_array, own_georef

Read = Callable[[Window], NDArray[np.uint32]]
"""Returns the numbers of a window, rows x columns."""
NO_OBJECT: Final = 0
NO_OBJECT_LABEL: Final = [{"label-value": NO_OBJECT, "class": "no object"}]
"""Properties of labels, by which a label image of objects is known."""
DTYPE: Final = "uint32"


def write_labels_zarr(path: Path, shape: tuple[int, int], georef: GeoRef, read: Read) -> None:
    """Write OME-Zarr labels: a Zarr 3 group with levels, each every second pixel of the one before.

    Parameters
    ----------
    path
        Folder to write; the caller gives it its final name.
    shape
        Rows and columns.
    georef
        Told as in the store of a run: by our own attribute, and its CRS, if it has one, by the conventions ``spatial``
        and ``proj``.
    read
        Gives the numbers.
    """
    shapes = [shape, *overview_shapes(*shape)]
    attributes: dict[str, Any] = {
        ATTRIBUTE: own_georef(georef),
        "ome": {
            "version": VERSION,
            "multiscales": [multiscale(georef, shapes, path.stem, "nearest")],
            "image-label": {
                "colors": [{"label-value": NO_OBJECT, "rgba": TRANSPARENT}],
                "properties": NO_OBJECT_LABEL,
            },
        },
    }
    if georef.crs_wkt is not None:
        attributes |= group_attributes(georef, shape)
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes=attributes)
    for level, size in enumerate(shapes):
        placed = {} if georef.crs_wkt is None else array_attributes(georef, shape, level)
        array = create_array(group, str(level), size, DTYPE, NO_OBJECT, placed)
        for window in shard_windows(*size):
            array[window.slices()] = read(window) if level == 0 else _coarser(group, level - 1, window)


def _coarser(group: zarr.Group, level: int, window: Window) -> NDArray[Any]:
    """Return every second pixel of a level, the first one of each four: numbers are never mixed."""
    array: Any = group[str(level)]
    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in window.slices())
    return np.asarray(array[rows, columns])[::2, ::2]


def write_labels_cog(path: Path, shape: tuple[int, int], georef: GeoRef, read: Read) -> None:
    """Write a cloud-optimised GeoTIFF of 32 bits, 0 as nodata, with overviews of the nearest pixel.

    Raises
    ------
    OSError
        If it cannot be written, or is not what was written when it is read back.
    """
    temporary = path.with_name(f"uncopied-{path.name}")
    checksums = []
    with gdal_environment():
        profile = tiled_profile(shape, 1, DTYPE, georef)
        with rasterio.open(temporary, "w", **profile, nodata=NO_OBJECT) as dataset:
            dataset.set_band_description(1, "object")
            for window in shard_windows(*shape):
                numbers = read(window)
                dataset.write(numbers, 1, window=rasterio_window(window))
                checksums.append(crc32(np.ascontiguousarray(numbers).tobytes()))
        rasterio.shutil.copy(
            str(temporary), str(path), **COG_OPTIONS, predictor="NO", overview_resampling="NEAREST",
            statistics="NO",
        )  # fmt: skip
        temporary.unlink()
        with rasterio.open(path) as dataset:
            for window, expected in zip(shard_windows(*shape), checksums, strict=True):
                if crc32(dataset.read(1, window=rasterio_window(window)).tobytes()) != expected:
                    msg = f"row {window.row}, column {window.column} is not what was written"
                    raise OSError(msg)
